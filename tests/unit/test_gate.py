"""The use case, with a recording detector."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from facequality.errors import ErrorReason, PolicyNotFound, UpstreamFault
from facequality.gate import CheckRequest, CheckResult, Gate
from facequality.model import (
    DetectOptions,
    Measure,
    PhotoBytes,
    PhotoRefused,
    PhotoUri,
    Reason,
    Verdict,
)
from facequality.policy import PRESETS, PolicySet, built_in

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PHOTO = PhotoBytes(photos.encode(photos.cat(), "JPEG"))


def gate_with(detector: RecordingDetector, seen: list[CheckResult] | None = None) -> Gate:
    served = built_in(NOW)
    return Gate(lambda: served, detector, observers=(seen.append,) if seen is not None else ())


async def test_a_photo_goes_through() -> None:
    """Detector asked once, answer kept whole, the observer told."""
    seen: list[CheckResult] = []
    detector = RecordingDetector(EXAMPLE_2)
    result = await gate_with(detector, seen).check(CheckRequest(PHOTO, "loose"))
    assert result.judgement.verdict is Verdict.ACCEPTED
    assert result.answer is EXAMPLE_2
    assert [finding.measure for finding in result.judgement.findings[:4]] == [
        Measure.IMAGE_BYTES,
        Measure.IMAGE_LONG_SIDE,
        Measure.IMAGE_SHORT_SIDE,
        Measure.FACE_COUNT,
    ]
    assert seen == [result]
    assert len(detector.calls) == 1


@pytest.mark.parametrize("data", [b"", b"junk", b"GIF89a......", b"\x00" * 4_000_000])
async def test_a_photo_that_breaks_a_limit_is_never_paid_for(data: bytes) -> None:
    """The detector is not called, and the result says so."""
    detector = RecordingDetector(EXAMPLE_2)
    result = await gate_with(detector).check(CheckRequest(PhotoBytes(data)))
    assert result.judgement.verdict is Verdict.REJECTED
    assert result.refused_locally
    assert detector.calls == []


@pytest.mark.parametrize(
    ("policy", "asked", "faces", "attributes"),
    [
        ("loose", DetectOptions(), 1, False),
        ("normal", DetectOptions(), 2, False),
        ("enroll", DetectOptions(max_face_num=7), 7, False),
        ("loose", DetectOptions(need_face_attributes=True), 1, True),
        ("strict", DetectOptions(min_face_size=20, face_model_version="2.0", need_rotate_detection=True), 2, True),
        ("strict", DetectOptions(), 2, True),
    ],
)
async def test_the_policy_adds_what_it_needs_and_nothing_else(
    policy: str, asked: DetectOptions, faces: int, attributes: bool
) -> None:
    """Faces for its rule, attributes for its bounds; the rest is as asked: a policy's sizes are judged by the gate, never sent."""
    detector = RecordingDetector(EXAMPLE_2)
    await gate_with(detector).check(CheckRequest(PHOTO, policy, asked))
    ((_, options),) = detector.calls
    assert options == replace(asked, max_face_num=faces, need_face_attributes=attributes)


async def test_a_photo_that_the_detector_refused_is_a_verdict() -> None:
    """With the vendor's code and the reason's own measure."""
    refused = PhotoRefused(Reason.FACE_TOO_SMALL, "FailedOperation.FaceSizeTooSmall", "id")
    result = await gate_with(RecordingDetector(refused)).check(CheckRequest(PHOTO))
    assert result.judgement.reasons == (Reason.FACE_TOO_SMALL,)
    size = result.judgement.findings[-1]
    assert (size.measure, size.observed, size.minimum, size.margin) == (Measure.FACE_SIZE, None, 80, None)
    assert not result.refused_locally


async def test_a_refusal_says_what_would_have_been_enough() -> None:
    """The policy's bound stands beside it, once, whatever the gate itself had found."""
    refused = PhotoRefused(Reason.NO_FACE, "InvalidParameterValue.NoFaceInPhoto", "id")
    count = (await gate_with(RecordingDetector(refused)).check(CheckRequest(PHOTO))).judgement.findings[-1]
    assert (count.measure, count.observed, count.minimum, count.maximum) == (Measure.FACE_COUNT, 0, 1, 1)
    too_large = PhotoRefused(Reason.IMAGE_TOO_LARGE, "FailedOperation.ImageSizeExceed", "id")
    findings = (await gate_with(RecordingDetector(too_large)).check(CheckRequest(PHOTO))).judgement.findings
    assert [(f.rejects, f.maximum) for f in findings if f.measure is Measure.IMAGE_BYTES] == [(True, 3_932_160)]
    too_low = PhotoRefused(Reason.IMAGE_RESOLUTION_TOO_LOW, "FailedOperation.ImageResolutionTooSmall", "id")
    findings = (
        await gate_with(RecordingDetector(too_low)).check(CheckRequest(PhotoUri("https://example.com/a")))
    ).judgement.findings
    assert [(f.rejects, f.minimum) for f in findings] == [(True, 64)]
    too_high = PhotoRefused(Reason.IMAGE_RESOLUTION_TOO_HIGH, "FailedOperation.ImageResolutionExceed", "id")
    findings = (await gate_with(RecordingDetector(too_high)).check(CheckRequest(PHOTO))).judgement.findings
    (side,) = (f for f in findings if f.measure is Measure.IMAGE_LONG_SIDE)
    assert (side.rejects, side.observed, side.maximum) == (True, None, 4000)


async def test_a_refused_flag_shows_the_side_that_it_fails() -> None:
    """Closed eyes are under a minimum, a mask is over a maximum."""
    for reason, expected in ((Reason.EYES_CLOSED, (0, 1, None)), (Reason.MASK_WORN, (1, None, 0))):
        result = await gate_with(RecordingDetector(PhotoRefused(reason))).check(CheckRequest(PHOTO))
        found = [finding for finding in result.judgement.findings if finding.reason is reason]
        assert [(finding.observed, finding.minimum, finding.maximum) for finding in found] == [expected]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.MEASUREMENT_MISSING])
async def test_every_reason_can_be_a_refusal_but_the_missing_measurement(reason: Reason) -> None:
    """The table of measures knows where each reason belongs."""
    result = await gate_with(RecordingDetector(PhotoRefused(reason))).check(CheckRequest(PHOTO))
    assert result.judgement.reasons == (reason,)


async def test_a_uri_has_no_header_to_inspect() -> None:
    """It goes to the detector as it is."""
    detector = RecordingDetector(EXAMPLE_2)
    result = await gate_with(detector).check(CheckRequest(PhotoUri("https://x.example/a.jpg")))
    assert result.image is None
    assert result.judgement.findings[0].measure is Measure.FACE_COUNT


async def test_errors_pass_and_nothing_is_observed() -> None:
    """A check that did not end in a verdict is none."""
    seen: list[CheckResult] = []
    gate = gate_with(RecordingDetector(UpstreamFault(ErrorReason.UPSTREAM_NETWORK, "gone")), seen)
    with pytest.raises(UpstreamFault):
        await gate.check(CheckRequest(PHOTO))
    with pytest.raises(PolicyNotFound):
        await gate.check(CheckRequest(PHOTO, "nope"))
    assert seen == []


async def test_one_policy_snapshot_per_check() -> None:
    """A reload in the middle of a check does not mix two sets."""
    snapshots = iter([built_in(NOW), PolicySet({"x": PRESETS["strict"]}, "x", "file", NOW)])
    gate = Gate(lambda: next(snapshots), RecordingDetector(EXAMPLE_2))
    assert (await gate.check(CheckRequest(PHOTO, "loose"))).policy is PRESETS["loose"]


def test_photos_stay_out_of_reprs() -> None:
    """Bytes and URIs end up in no log by accident."""
    assert "secret" not in repr(CheckRequest(PhotoBytes(b"secret")))
    assert "secret" not in repr(CheckRequest(PhotoUri("https://x/?token=secret")))
