"""What a person sees of verdicts and policies on a terminal."""

from __future__ import annotations

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facequality.measure import MEASURES
from facequality.model import Measure
from facequality.policy import DOMINANT_MAX_PERCENT, FaceRule, PolicySet
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

_MEASURES = {verdict_pb2.Measure.Value(f"MEASURE_{m.name}"): m for m in Measure}


_FACE_RULES = {
    FaceRule.LARGEST: "the largest is judged",
    FaceRule.DOMINANT: f"rejects if the second has over {DOMINANT_MAX_PERCENT} % of the first's area",
    FaceRule.EXACTLY_ONE: "rejects unless exactly one",
}


def verdict_table() -> Table:
    """Start a table of verdicts."""
    table = Table("photo", "verdict", "reason", "found")
    table.columns[0].overflow = "fold"
    table.columns[2].no_wrap = True
    return table


def add_verdict(table: Table, photo: str, response: pb.CheckFaceQualityResponse) -> None:
    """Add one photo's verdict: a row for each finding that is no pass, the most significant first, else one."""
    accepted = response.verdict == verdict_pb2.VERDICT_ACCEPTED
    verdict = Text("accepted", "green") if accepted else Text("rejected", "red")
    order = {reason: rank for rank, reason in enumerate(response.reasons)}
    failing = [f for f in response.findings if f.status != verdict_pb2.FINDING_STATUS_PASS]
    failing.sort(key=lambda finding: order.get(finding.reason, len(order)))
    rows = [(_reason(finding.reason) if finding.blocking else "(advisory)", _finding(finding)) for finding in failing]
    told = {finding.reason for finding in failing}
    rows += [(_reason(reason), "") for reason in response.reasons if reason not in told]
    for number, row in enumerate(rows or [("", "")]):
        table.add_row(*((Text(_printable(photo)), verdict) if number == 0 else ("", "")), *map(Text, map(_printable, row)))
    calibrated = "" if response.detector.cloud_calibrated else ", whose scores are not the cloud's"
    policy = f"{response.policy} (revision {response.policy_revision})"
    table.caption = Text(_printable(f"policy {policy}; detector {response.detector.name}{calibrated}"))


def add_error(table: Table, photo: str, code: str, reason: str, message: str) -> None:
    """Add a photo that could not be judged."""
    table.add_row(Text(_printable(photo)), Text("error", "yellow"), Text(_printable(reason or code)), Text(_printable(message)))


def show_policies(console: Console, policies: PolicySet, names: list[str]) -> None:
    """Print policies, resolved."""
    for policy in (policies.get(name) for name in names):
        default = ", default" if policy.name == policies.default else ""
        title = f"{policy.name} (revision {policy.revision}, {policies.source}{default})"
        table = Table("measure", "min", "max", "unit", "failing it", title=Text(title), caption=Text(policy.description))
        table.add_row("faces", "", "", "", _FACE_RULES[policy.face_rule])
        for measure, bound in policy.bounds.items():
            effect = "is reported" if measure in policy.advisory else "rejects"
            table.add_row(measure.value, _number(bound.minimum), _number(bound.maximum), MEASURES[measure].unit, effect)
        console.print(table)


def _finding(finding: verdict_pb2.Finding) -> str:
    """Describe the bound that was missed; for measures without a number, return the guidance."""
    measure = _MEASURES.get(finding.measure)
    if measure is not None and MEASURES[measure].is_flag and finding.HasField("observed"):
        return finding.guidance
    name = measure.value if measure is not None else _name(verdict_pb2.Measure, finding.measure, "MEASURE_")
    low, high = map(_amount, (finding.min, finding.max))
    if not finding.HasField("observed"):
        sides = [f"≥ {low}"] * finding.HasField("min") + [f"≤ {high}"] * finding.HasField("max")
        return f"{name} not measured ({' and '.join(sides)})" if sides else f"{name} not measured"
    missed = f"> {high}" if finding.HasField("max") and finding.observed > finding.max else f"< {low}"
    unit = MEASURES[measure].unit if measure is not None else ""
    return f"{name} {_amount(finding.observed)} {missed} {unit}".rstrip()


def _reason(reason: int) -> str:
    return _name(verdict_pb2.Reason, reason, "REASON_")


def _printable(text: str) -> str:
    """Escape what would steer the terminal: names of files and a gate's texts are anybody's."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def _name(enum: EnumTypeWrapper, value: int, prefix: str) -> str:
    """Name an enum's value; a newer gate may send one that this version has no name for."""
    return enum.Name(value).removeprefix(prefix) if value in enum.values() else str(value)


def _amount(value: float) -> str:
    return f"{round(value, 3):,.10g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
