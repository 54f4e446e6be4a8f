"""Notes of a call: what each of its log lines says of it. Never: image bytes, URI queries, secrets."""

from __future__ import annotations

from contextvars import ContextVar
from typing import cast

from facequality.detectors.observed import DetectorCall
from facequality.gate import CheckResult
from facequality.image import ImageInfo
from facequality.model import Detection, PhotoRefused
from facequality.policy import Policy

_notes: ContextVar[dict[str, object] | None] = ContextVar("facequality_notes", default=None)


def current() -> dict[str, object]:
    """Return the notes of the call that runs; outside a call there are none."""
    return _notes.get() or {}


def begin(**fields: object) -> None:
    """Begin a call's notes: they stand on each of its log lines."""
    _notes.set(fields)


def add(**fields: object) -> None:
    """Add to the call's notes."""
    notes = _notes.get()
    if notes is not None:
        notes.update(fields)


def add_detector_call(call: DetectorCall) -> None:
    """Add how long the detector took."""
    add(detector=call.detector.name, detector_milliseconds=round(1000 * call.seconds, 1))


def add_paid_call() -> None:
    """Count a request that the vendor bills on the line of the call that it was made for, not of those that share it."""
    notes = _notes.get()
    if notes is not None:
        notes["paid_calls"] = cast("int", notes.get("paid_calls", 0)) + 1


def add_unjudged(policy: Policy, image: ImageInfo | None) -> None:
    """Add what was asked of a check that the detector failed."""
    add(**_asked(policy, image))


def add_check(result: CheckResult) -> None:
    """Add a check's result to its call's log line."""
    answer = result.answer
    fields = {
        **_asked(result.policy, result.image),
        "verdict": result.judgement.verdict.value,
        "reasons": [reason.value for reason in result.judgement.reasons],
        "detector": result.detector.name,
        "detector_called": not result.refused_locally and not (answer is not None and answer.cached),
    }
    if isinstance(answer, Detection):
        fields |= {"faces": len(answer.faces), "upstream_request_id": answer.request_id}
    if isinstance(answer, PhotoRefused):
        fields |= {"upstream_code": answer.upstream_code, "upstream_request_id": answer.request_id}
    if result.shadow is not None:
        shadow = result.shadow
        fields |= {"shadow_policy": shadow.policy.name, "shadow_revision": shadow.policy.revision}
        fields["shadow_verdict"] = shadow.judgement.verdict.value
        fields["shadow_reasons"] = [reason.value for reason in shadow.judgement.reasons]
    add(**fields)


def _asked(policy: Policy, image: ImageInfo | None) -> dict[str, object]:
    fields: dict[str, object] = {"policy": policy.name, "policy_revision": policy.revision}
    if image is not None:
        fields |= {"image_format": image.format.value, "image_bytes": image.size}
        fields |= {"image_width": image.width, "image_height": image.height}
    return fields
