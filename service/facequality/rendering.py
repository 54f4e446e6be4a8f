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
    table = Table("photo", "verdict", "reasons", "details")
    table.columns[0].overflow = "fold"
    table.columns[2].no_wrap = True
    return table


def add_verdict(table: Table, photo: str, response: pb.CheckFaceQualityResponse) -> None:
    """Add one photo's verdict."""
    accepted = response.verdict == verdict_pb2.VERDICT_ACCEPTED
    verdict = Text("accepted", "green") if accepted else Text("rejected", "red")
    reasons = "\n".join(_name(verdict_pb2.Reason, reason, "REASON_") for reason in response.reasons)
    order = {reason: rank for rank, reason in enumerate(response.reasons)}
    failing = [f for f in response.findings if f.status != verdict_pb2.FINDING_STATUS_PASS]
    failing.sort(key=lambda finding: order.get(finding.reason, len(order)))
    table.add_row(Text(_printable(photo)), verdict, reasons, "\n".join(_finding(finding) for finding in failing))
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
    measure = _MEASURES.get(finding.measure)
    name = measure.value if measure is not None else _name(verdict_pb2.Measure, finding.measure, "MEASURE_")
    unit = MEASURES[measure].unit if measure is not None else ""
    observed = f"{_amount(finding.observed)}{unit}" if finding.HasField("observed") else "not measured"
    low = f"at least {_amount(finding.min)}" if finding.HasField("min") else ""
    high = f"at most {_amount(finding.max)}" if finding.HasField("max") else ""
    needed = f" ({' and '.join(side for side in (low, high) if side)})" if low or high else ""
    advisory = "" if finding.blocking else ", advisory"
    return f"{name} {observed}{needed}{advisory}"


def _printable(text: str) -> str:
    """Escape what would steer the terminal: names of files and a gate's texts are anybody's."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def _name(enum: EnumTypeWrapper, value: int, prefix: str) -> str:
    """Name an enum's value; a newer gate may send one that this version has no name for."""
    return enum.Name(value).removeprefix(prefix) if value in enum.values() else str(value)


def _amount(value: float) -> str:
    return f"{value:,.10g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
