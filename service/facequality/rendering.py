"""What a person sees of verdicts and policies on a terminal."""

from __future__ import annotations

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facequality.measure import MEASURES
from facequality.model import Measure
from facequality.policy import PolicySet
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

_MEASURES = {verdict_pb2.Measure.Value(f"MEASURE_{m.name}"): m for m in Measure}


def verdict_table() -> Table:
    """Start a table of verdicts."""
    table = Table("photo", "verdict", "reasons", "findings that fail")
    for column in table.columns:
        column.overflow = "fold"
    return table


def add_verdict(table: Table, photo: str, response: pb.CheckFaceQualityResponse) -> None:
    """Add one photo's verdict."""
    accepted = response.verdict == verdict_pb2.VERDICT_ACCEPTED
    verdict = Text("accepted", "green") if accepted else Text("rejected", "red")
    reasons = "\n".join(_name(verdict_pb2.Reason, reason, "REASON_") for reason in response.reasons)
    failing = [f for f in response.findings if f.status != verdict_pb2.FINDING_STATUS_PASS]
    table.add_row(Text(photo), verdict, reasons, "\n".join(_finding(finding) for finding in failing))
    calibrated = "" if response.detector.cloud_calibrated else ", whose scores are not the cloud's"
    policy = f"{response.policy} (revision {response.policy_revision})"
    table.caption = f"policy {policy}; detector {response.detector.name}{calibrated}"


def add_error(table: Table, photo: str, code: str, reason: str, message: str) -> None:
    """Add a photo that could not be judged."""
    table.add_row(Text(photo), Text("error", "yellow"), reason or code, Text(message))


def show_policies(console: Console, policies: PolicySet, names: list[str]) -> None:
    """Print policies, resolved."""
    for policy in (policies.get(name) for name in names):
        default = ", default" if policy.name == policies.default else ""
        title = f"{policy.name} (revision {policy.revision}, {policies.source}{default})"
        table = Table("measure", "min", "max", "unit", "failing it", title=title, caption=policy.description)
        table.add_row("faces", "", "", "", f"rejects unless {policy.face_rule.value.replace('_', ' ')}")
        for measure, bound in policy.bounds.items():
            effect = "is reported" if measure in policy.advisory else "rejects"
            table.add_row(measure.value, _number(bound.minimum), _number(bound.maximum), MEASURES[measure].unit, effect)
        console.print(table)


def _finding(finding: verdict_pb2.Finding) -> str:
    measure = _MEASURES.get(finding.measure)
    name = measure.value if measure is not None else _name(verdict_pb2.Measure, finding.measure, "MEASURE_")
    unit = MEASURES[measure].unit if measure is not None else ""
    observed = f"{finding.observed:g}{unit}" if finding.HasField("observed") else "not measured"
    low = f"at least {finding.min:g}" if finding.HasField("min") else ""
    high = f"at most {finding.max:g}" if finding.HasField("max") else ""
    needed = f" ({' and '.join(side for side in (low, high) if side)})" if low or high else ""
    advisory = "" if finding.blocking else ", advisory"
    return f"{name} {observed}{needed}{advisory}"


def _name(enum: EnumTypeWrapper, value: int, prefix: str) -> str:
    """Name an enum's value; a newer gate may send one that this version has no name for."""
    return enum.Name(value).removeprefix(prefix) if value in enum.values() else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
