"""The contract's messages say what the gate's values say, field by field."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from facequality.detector import DetectorInfo
from facequality.errors import InvalidRequest
from facequality.gate import CheckRequest, CheckResult, Gate
from facequality.guidance import CHINESE, ENGLISH, GUIDANCE
from facequality.measure import Bound
from facequality.model import Detection, DetectOptions, FindingStatus, Measure, PhotoBytes, PhotoRefused, PhotoUri, Reason
from facequality.policy import PRESETS, FaceRule, Policy, PolicySet
from facequality.reload import ReloadFailure
from facequality.rpc.messages import CheckMessage
from facequality.rpc.translation import to_policy, to_reload_failure, to_request, to_response
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import policy_pb2, verdict_pb2
from google.protobuf.message import Message
from hypothesis import example, given

from tests.detections import EXAMPLE_2, detections, options, policies
from tests.detectors import RecordingDetector

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URI = PhotoUri("https://photos.example/a.jpg")
CLOUD = DetectorInfo("tencentcloud", frozenset(Measure) - {Measure.HAT}, paid=True, cloud_calibrated=True)


def judged(policy: Policy, answer: Detection | PhotoRefused) -> CheckResult:
    served = PolicySet({policy.name: policy}, policy.name, "built-in", NOW)
    return asyncio.run(Gate(lambda: served, RecordingDetector(answer)).check(CheckRequest(URI)))


def assert_same(message: Message, value: Any, *, but: frozenset[str] = frozenset()) -> None:
    """Every field of a value stands in the message under its own name; None is absent."""
    for name in (field.name for field in dataclasses.fields(value) if field.name not in but):
        field, given = message.DESCRIPTOR.fields_by_name[name], getattr(value, name)
        if field.has_presence:
            assert message.HasField(name) is (given is not None), name
        if dataclasses.is_dataclass(given):
            assert_same(getattr(message, name), given)
        elif isinstance(given, tuple):
            for each, wanted in zip(getattr(message, name), given, strict=True):
                assert_same(each, wanted)
        elif given is not None:
            assert getattr(message, name) == given, name


@given(policies(), detections)
def test_a_detection_comes_across_without_loss(policy: Policy, detection: Detection) -> None:
    """Whatever its form; what the detector did not give is absent."""
    result = judged(policy, detection)
    response = pb.CheckFaceQualityResponse.FromString(to_response(result).SerializeToString())
    assert_same(response.detection, detection, but=frozenset({"cached"}))
    assert [face.HasField("judgement") for face in response.detection.faces] == [each is not None for each in result.faces]
    assert (response.judged_face if response.HasField("judged_face") else None) == result.judged_face


@given(policies(), detections)
def test_every_finding_comes_across_with_its_guidance(policy: Policy, detection: Detection) -> None:
    """In the order of the judgement; reasons by their own names."""
    result = judged(policy, detection)
    response = to_response(result, CHINESE)
    assert verdict_pb2.Verdict.Name(response.verdict) == f"VERDICT_{result.judgement.verdict.name}"
    assert [verdict_pb2.Reason.Name(each) for each in response.reasons] == [
        f"REASON_{each.name}" for each in result.judgement.reasons
    ]
    for message, finding in zip(response.findings, result.judgement.findings, strict=True):
        assert verdict_pb2.Measure.Name(message.measure) == f"MEASURE_{finding.measure.name}"
        assert verdict_pb2.FindingStatus.Name(message.status) == f"FINDING_STATUS_{finding.status.name}"
        sides = {"observed": finding.observed, "min": finding.minimum, "max": finding.maximum, "margin": finding.margin}
        assert {name: getattr(message, name) if message.HasField(name) else None for name in sides} == sides
        assert message.blocking is finding.blocking
        reason = finding.reason
        assert verdict_pb2.Reason.Name(message.reason) == f"REASON_{reason.name if reason else 'UNSPECIFIED'}"
        is_advice = finding.blocking or finding.status is not FindingStatus.UNDETERMINED
        assert message.guidance == (GUIDANCE[reason][CHINESE] if reason and is_advice else "")


def test_a_policys_own_sentences_come_first() -> None:
    """Each in its language; the built-in ones fill in."""
    policy = Policy("p", {Measure.SCORE: Bound(99)}, FaceRule.LARGEST, guidance={Reason.LOW_SCORE: {ENGLISH: "Again!"}})
    result = judged(policy, EXAMPLE_2)
    sentences = [to_response(result, language).findings[-1].guidance for language in (ENGLISH, CHINESE)]
    assert sentences == ["Again!", GUIDANCE[Reason.LOW_SCORE][CHINESE]]


@pytest.mark.parametrize("cached", [False, True])
def test_what_the_detector_and_the_policy_were_comes_across(cached: bool) -> None:
    """Of a verdict by the detector's answer and of its refusal."""
    policy = Policy("p", {}, FaceRule.LARGEST)
    response = to_response(judged(policy, dataclasses.replace(EXAMPLE_2, cached=cached)))
    assert (response.policy, response.policy_revision) == ("p", policy.revision)
    assert (response.detector.name, response.detector.cloud_calibrated, response.cached) == ("recording", True, cached)
    assert (response.upstream_request_id, response.upstream_code) == (EXAMPLE_2.request_id, "")
    refused = to_response(judged(policy, PhotoRefused(Reason.NO_FACE, "InvalidParameterValue.NoFaceInPhoto", "id", cached)))
    assert (refused.upstream_request_id, refused.upstream_code) == ("id", "InvalidParameterValue.NoFaceInPhoto")
    assert (refused.cached, refused.HasField("detection"), refused.HasField("judged_face")) == (cached, False, False)


@given(options)
@example(DetectOptions(max_face_num=120))
def test_options_come_across(asked: DetectOptions) -> None:
    """To the last of each range."""
    given_ones = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
    message = pb.CheckFaceQualityRequest(uri=URI.uri, policy="p", options=pb.DetectOptions(**given_ones))
    assert to_request(CheckMessage(message)) == CheckRequest(URI, "p", asked)


def test_options_that_are_not_given_have_the_vendors_defaults() -> None:
    """And no policy is the default one."""
    request = to_request(CheckMessage(pb.CheckFaceQualityRequest(image=b"x")))
    assert request == CheckRequest(
        PhotoBytes(b"x"), "", DetectOptions(1, 34, None, need_rotate_detection=False, need_face_attributes=False)
    )


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        (pb.CheckFaceQualityRequest(), "PARAMETER_MISSING", "photo"),
        (pb.CheckFaceQualityRequest(image=b""), "IMAGE_EMPTY", "image"),
        (pb.CheckFaceQualityRequest(uri=""), "URL_INVALID", "uri"),
        (pb.DetectOptions(max_face_num=0), "FACE_NUM_LIMIT", "options.max_face_num"),
        (pb.DetectOptions(max_face_num=121), "FACE_NUM_LIMIT", "options.max_face_num"),
        (pb.DetectOptions(min_face_size=0), "PARAMETER_INVALID", "options.min_face_size"),
        (pb.DetectOptions(min_face_size=21), "PARAMETER_INVALID", "options.min_face_size"),
        (pb.DetectOptions(face_model_version="3"), "PARAMETER_INVALID", "options.face_model_version"),
    ],
)
def test_what_is_out_of_range_is_named(message: pb.CheckFaceQualityRequest | pb.DetectOptions, reason: str, field: str) -> None:
    """By its field."""
    if isinstance(message, pb.DetectOptions):
        message = pb.CheckFaceQualityRequest(uri=URI.uri, options=message)
    with pytest.raises(InvalidRequest) as caught:
        to_request(CheckMessage(message))
    assert (caught.value.reason, [each.field for each in caught.value.violations]) == (reason, [field])


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    """The photo first; its reason is the error's."""
    options = pb.DetectOptions(max_face_num=0, min_face_size=1, face_model_version="x")
    with pytest.raises(InvalidRequest) as caught:
        to_request(CheckMessage(pb.CheckFaceQualityRequest(uri="", options=options)))
    fields = ["uri", "options.max_face_num", "options.min_face_size", "options.face_model_version"]
    assert (caught.value.reason, [each.field for each in caught.value.violations]) == ("URL_INVALID", fields)
    assert caught.value.message == (
        "uri: is empty; options.max_face_num: 0 is not in 1..120; options.min_face_size: 1 is not 20 or 34; "
        "options.face_model_version: 'x' is not '2.0' or '3.0'"
    )


@given(policies())
def test_a_policy_comes_across(policy: Policy) -> None:
    """Its bounds one by one, what blocks, what the detector cannot give, and where it comes from."""
    policy = dataclasses.replace(policy, description="Some.", shadow="next")
    served = PolicySet({policy.name: policy, "next": PRESETS["strict"]}, policy.name, "policies.yaml", NOW)
    message = to_policy(policy, served, CLOUD)
    assert (message.name, message.revision, message.description) == (policy.name, policy.revision, "Some.")
    assert (message.source, message.load_time.ToDatetime(UTC), message.shadow) == ("policies.yaml", NOW, "next")
    assert policy_pb2.FaceRule.Name(message.face_rule) == f"FACE_RULE_{policy.face_rule.name}"
    for each, (measure, bound) in zip(message.bounds, policy.bounds.items(), strict=True):
        assert verdict_pb2.Measure.Name(each.measure) == f"MEASURE_{measure.name}"
        sides = (each.min if each.HasField("min") else None, each.max if each.HasField("max") else None)
        assert sides == (bound.minimum, bound.maximum)
        assert each.blocking is (measure not in policy.advisory)
    missing = [verdict_pb2.Measure.Name(each) for each in message.unavailable_measures]
    assert missing == (["MEASURE_HAT"] if Measure.HAT in policy.bounds else [])


def test_a_failed_reload_comes_across() -> None:
    """Also one whose path is no text; no failure is absent."""
    message = to_reload_failure(ReloadFailure(NOW, "pol\udcff.yaml: broken"))
    assert message is not None
    assert (message.time.ToDatetime(UTC), message.reason) == (NOW, "pol\\xff.yaml: broken")
    assert to_reload_failure(None) is None
