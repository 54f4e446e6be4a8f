"""How a detector's calls are classed: what alerts key on."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from facequality.detectors.observed import DetectorCall, ObservedDetector
from facequality.detectors.outcome import Outcome, outcome_of
from facequality.errors import (
    DeadlineExceeded,
    ErrorReason,
    InvalidRequest,
    LimitReached,
    OperatorFault,
    Overloaded,
    UpstreamFault,
)
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused, Reason

from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector

REFUSED = PhotoRefused(Reason.NO_FACE, "code", "id")


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (EXAMPLE_2, Outcome.OK),
        (REFUSED, Outcome.PHOTO_REFUSED),
        (UpstreamFault(ErrorReason.UPSTREAM_NETWORK, "x"), Outcome.NETWORK),
        (UpstreamFault(ErrorReason.UPSTREAM_BREAKER_OPEN, "x"), Outcome.BREAKER_OPEN),
        (OperatorFault(ErrorReason.UPSTREAM_CREDENTIALS, "x"), Outcome.CREDENTIALS),
        (OperatorFault(ErrorReason.MODEL_VERSION_NOT_ALLOWED, "x"), Outcome.CONFIGURATION),
        # Whoever asked for the model is to blame.
        (InvalidRequest(ErrorReason.MODEL_VERSION_NOT_ALLOWED, "x"), Outcome.CALLER),
        (LimitReached(ErrorReason.UPSTREAM_QUOTA, "x"), Outcome.QUOTA),
        (Overloaded("much"), Outcome.OVERLOADED),
        (DeadlineExceeded(1.0, "answer"), Outcome.DEADLINE),
        (asyncio.CancelledError(), Outcome.CANCELLED),
        (ZeroDivisionError(), Outcome.BUG),
    ],
)
async def test_every_ending_has_its_class(ending: Detection | PhotoRefused | BaseException, outcome: Outcome) -> None:
    """And the time that it took; the caller gets what the detector gave."""
    seen: list[DetectorCall] = []
    clock, inner = iter([10.0, 12.5]), FakeDetector()
    inner.answer = ending
    detector = ObservedDetector(inner, seen.append, clock=lambda: next(clock))
    if isinstance(ending, BaseException):
        with pytest.raises(type(ending)):
            await detector.detect(PhotoBytes(b"x"), DetectOptions())
    else:
        assert await detector.detect(PhotoBytes(b"x"), DetectOptions()) is ending
    assert seen == [DetectorCall(inner.info, outcome, 2.5)]


@pytest.mark.parametrize(
    ("outcome", "reasons"),
    [
        ("caller", ("MESSAGE_MALFORMED PARAMETER_MISSING PARAMETER_INVALID IMAGE_EMPTY URL_INVALID URL_FORBIDDEN FACE_NUM_LIMIT "
                   "POLICY_NOT_FOUND IMAGE_DOWNLOAD_FAILED")),
        ("credentials", "UPSTREAM_CREDENTIALS UPSTREAM_TOKEN"),
        ("permission", "UPSTREAM_PERMISSION UPSTREAM_IP_DENIED"),
        ("account", "UPSTREAM_ACCOUNT UPSTREAM_ACCOUNT_PROVISIONING"),
        ("configuration", "UPSTREAM_CONFIG UPSTREAM_CLOCK_SKEW MODEL_VERSION_NOT_ALLOWED"),
        ("throttled", "UPSTREAM_RATE_LIMIT"),
        ("quota", "UPSTREAM_QUOTA"),
        ("overloaded", "OVERLOADED"),
        ("breaker_open", "UPSTREAM_BREAKER_OPEN"),
        ("network", "UPSTREAM_NETWORK"),
        ("upstream", ("UPSTREAM_TIMEOUT UPSTREAM_INTERNAL UPSTREAM_HTTP_STATUS UPSTREAM_RESPONSE_TOO_LARGE UPSTREAM_UNKNOWN "
                     "UPSTREAM_UNEXPECTED")),
        ("malformed", "UPSTREAM_MALFORMED"),
        ("deadline", "DEADLINE"),
        ("bug", "GATE_BUG"),
    ],
)  # fmt: skip
def test_alerts_can_rely_on_the_class_of_each_reason(outcome: str, reasons: str) -> None:
    """The runbook says what to do about each class."""
    for reason in reasons.split():
        assert outcome_of(OperatorFault(ErrorReason(reason), "x")) == outcome


@pytest.mark.parametrize("answer", [EXAMPLE_2, REFUSED])
async def test_an_answer_from_the_cache_was_no_call(answer: Detection | PhotoRefused) -> None:
    """The vendor was not asked."""
    seen: list[DetectorCall] = []
    inner = FakeDetector()
    inner.answer = dataclasses.replace(answer, cached=True)
    await ObservedDetector(inner, seen.append).detect(PhotoBytes(b"x"), DetectOptions())
    assert seen == []
