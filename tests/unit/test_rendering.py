"""What a person sees on a terminal."""

from __future__ import annotations

import io
from typing import Any

from facequality.rendering import add_error, add_verdict, verdict_table
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2 as v
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


def test_each_reason_stands_beside_what_was_found() -> None:
    """The most significant first; of a flag, what to do; a reason that has no finding, or no name here, too."""
    fail, missing = v.FINDING_STATUS_FAIL, v.FINDING_STATUS_UNDETERMINED
    findings = [
        v.Finding(measure=v.MEASURE_SHARPNESS, observed=22.5, min=80, status=fail, blocking=True, reason=v.REASON_TOO_BLURRY),
        v.Finding(measure=v.MEASURE_SCORE, observed=90, min=70, status=v.FINDING_STATUS_PASS, blocking=True),
        v.Finding(measure=v.MEASURE_BRIGHTNESS, observed=81, min=30, max=70, status=fail, reason=v.REASON_TOO_BRIGHT),
        v.Finding(
            measure=v.MEASURE_MASK, observed=1, max=0, status=fail, blocking=True, reason=v.REASON_MASK_WORN, guidance="Off."
        ),
        v.Finding(measure=v.MEASURE_YAW, min=-10, max=10, status=missing, blocking=True, reason=v.REASON_MEASUREMENT_MISSING),
        v.Finding(
            measure=v.MEASURE_IMAGE_BYTES, observed=4e6, max=3932160, status=fail, blocking=True, reason=v.REASON_IMAGE_TOO_LARGE
        ),
    ]
    reasons: Any = [v.REASON_IMAGE_TOO_LARGE, v.REASON_MASK_WORN, v.REASON_TOO_BLURRY, v.REASON_MEASUREMENT_MISSING, 99]
    table = verdict_table()
    add_verdict(table, "p.jpg", pb.CheckFaceQualityResponse(verdict=v.VERDICT_REJECTED, findings=findings, reasons=reasons))
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert rows == [
        ["p.jpg", "rejected", "IMAGE_TOO_LARGE", "image_bytes 4,000,000 > 3,932,160 B"],
        ["", "", "MASK_WORN", "Off."],
        ["", "", "TOO_BLURRY", "sharpness 22.5 < 80"],
        ["", "", "MEASUREMENT_MISSING", "yaw not measured (≥ -10 and ≤ 10)"],
        ["", "", "(advisory)", "brightness 81 > 70"],
        ["", "", "99", ""],
    ]
