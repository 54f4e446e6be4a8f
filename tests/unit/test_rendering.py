"""What a person sees on a terminal."""

from __future__ import annotations

import io

from facequality.rendering import add_error, add_verdict, verdict_table
from facequality.v1 import face_quality_service_pb2 as pb
from rich.console import Console


def test_nothing_of_a_gates_steers_the_terminal() -> None:
    """Nor is it markup: a policy's name, a detector's, a reason, a text."""
    table = verdict_table()
    hostile = "\x1b[31m[red]evil"
    add_verdict(table, hostile, pb.CheckFaceQualityResponse(policy=hostile, policy_revision=hostile, detector={"name": hostile}))
    add_error(table, "photo", hostile, "", hostile)
    add_error(table, "photo", "CODE", hostile, "")
    console = Console(file=io.StringIO(), width=400)
    console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert shown.count(r"\x1b[31m[red]evil") == 7
