"""Between the contract's messages and the gate's values. Nothing is decided here but whether a request is well formed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from google.protobuf import timestamp_pb2

from facequality import model
from facequality.detector import DetectorInfo
from facequality.errors import ErrorReason, InvalidRequest
from facequality.gate import CheckRequest, CheckResult
from facequality.guidance import ENGLISH, Sentences, sentence
from facequality.policy import Policy, PolicySet
from facequality.reload import ReloadFailure
from facequality.rpc.messages import CheckMessage
from facequality.v1 import face_quality_service_pb2, policy_pb2, verdict_pb2

_DEFAULTS = model.DetectOptions()

_Fields: TypeAlias = dict[str, Any]
"""A message's fields; None: absent."""


def to_request(message: CheckMessage) -> CheckRequest:
    """Translate a request.

    Raises:
        InvalidRequest: there is no photo, or an option is out of its range; every such field is named.
    """
    fields = message.fields
    image = fields.image if fields.HasField("image") else message.image
    options = _options(fields.options)
    mistakes = list(_mistakes(image, fields, options))
    if mistakes:
        raise InvalidRequest.all(mistakes)
    return CheckRequest(model.PhotoUri(fields.uri) if image is None else model.PhotoBytes(image), fields.policy, options)


def _options(message: face_quality_service_pb2.DetectOptions) -> model.DetectOptions:
    return model.DetectOptions(
        message.max_face_num if message.HasField("max_face_num") else _DEFAULTS.max_face_num,
        message.min_face_size if message.HasField("min_face_size") else _DEFAULTS.min_face_size,
        message.face_model_version or _DEFAULTS.face_model_version,
        message.need_rotate_detection,
        message.need_face_attributes,
    )


def _mistakes(
    image: bytes | memoryview | None, fields: face_quality_service_pb2.CheckFaceQualityRequest, options: model.DetectOptions
) -> Iterator[InvalidRequest]:
    wrong = InvalidRequest.field
    if image is not None:
        if not image:
            yield wrong(ErrorReason.IMAGE_EMPTY, "image", "has no bytes")
    elif not fields.HasField("uri"):
        yield wrong(ErrorReason.PARAMETER_MISSING, "photo", "give the photo as image (bytes) or uri")
    elif not fields.uri:
        yield wrong(ErrorReason.URL_INVALID, "uri", "is empty")
    if not 1 <= options.max_face_num <= model.MAX_FACE_NUM:
        yield wrong(
            ErrorReason.FACE_NUM_LIMIT, "options.max_face_num", f"{options.max_face_num} is not in 1..{model.MAX_FACE_NUM}"
        )
    if options.min_face_size not in model.MIN_FACE_SIZES:
        yield wrong(ErrorReason.PARAMETER_INVALID, "options.min_face_size", f"{options.min_face_size} is not 20 or 34")
    version = options.face_model_version
    if version is not None and version not in model.FACE_MODEL_VERSIONS:
        yield wrong(ErrorReason.PARAMETER_INVALID, "options.face_model_version", f"{version[:32]!r} is not '2.0' or '3.0'")


def to_response(result: CheckResult, language: str = ENGLISH) -> face_quality_service_pb2.CheckFaceQualityResponse:
    """Translate a check's result, with guidance in one of guidance.LANGUAGES."""
    answer, words = result.answer, _Words(language, result.policy.guidance)
    return face_quality_service_pb2.CheckFaceQualityResponse(
        **_judgement(result.judgement, words),
        detection=_detection(answer, result.faces, words) if isinstance(answer, model.Detection) else None,
        judged_face=result.judged_face,
        policy=result.policy.name,
        policy_revision=result.policy.revision,
        detector={"name": result.detector.name, "cloud_calibrated": result.detector.cloud_calibrated},
        upstream_request_id=answer.request_id if answer is not None else None,
        upstream_code=answer.upstream_code if isinstance(answer, model.PhotoRefused) else None,
        cached=answer is not None and answer.cached,
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """In which language, and with which of the policy's own sentences, guidance is given; each finding is written once."""

    language: str
    overrides: Sentences
    written: dict[int, _Fields] = field(default_factory=dict)

    def of(self, reason: model.Reason) -> str:
        return sentence(reason, self.language, self.overrides)

    def findings(self, findings: tuple[model.Finding, ...]) -> list[_Fields]:
        """Write findings; the judged face's stand in two places."""
        return [self.written.get(id(each)) or self.written.setdefault(id(each), _finding(each, self)) for each in findings]


def to_reload_failure(failure: ReloadFailure | None) -> policy_pb2.ReloadFailure | None:
    """Translate the last failed reload."""
    return None if failure is None else policy_pb2.ReloadFailure(time=_timestamp(failure.at), reason=_text(failure.reason))


def _text(text: str) -> str:
    """Escape what no UTF-8 can say: a path's bytes may be anything."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def to_policy(policy: Policy, served: PolicySet, detector: DetectorInfo) -> policy_pb2.Policy:
    """Translate a policy as it is served with the live detector."""
    return policy_pb2.Policy(
        name=policy.name,
        revision=policy.revision,
        description=policy.description,
        face_rule=f"FACE_RULE_{policy.face_rule.name}",
        bounds=[
            policy_pb2.Bound(
                measure=f"MEASURE_{measure.name}",
                min=bound.minimum,
                max=bound.maximum,
                blocking=measure not in policy.advisory,
            )
            for measure, bound in policy.bounds.items()
        ],
        source=_text(served.source),
        load_time=_timestamp(served.loaded_at),
        unavailable_measures=[f"MEASURE_{measure.name}" for measure in policy.unavailable(detector.measures)],
        shadow=policy.shadow,
    )


# What nests is given as dictionaries, which protobuf fills in where they belong; a message would be serialised and parsed to get
# there. Enum values are given as numbers: a name is looked up far more slowly, and findings are many.
_VERDICTS = {verdict: verdict_pb2.Verdict.Value(f"VERDICT_{verdict.name}") for verdict in model.Verdict}
_MEASURES = {measure: verdict_pb2.Measure.Value(f"MEASURE_{measure.name}") for measure in model.Measure}
_STATUSES = {status: verdict_pb2.FindingStatus.Value(f"FINDING_STATUS_{status.name}") for status in model.FindingStatus}
_REASONS = {reason: verdict_pb2.Reason.Value(f"REASON_{reason.name}") for reason in model.Reason}


def _judgement(judgement: model.Judgement, words: _Words) -> _Fields:
    return {
        "verdict": _VERDICTS[judgement.verdict],
        "reasons": [_REASONS[reason] for reason in judgement.reasons],
        "findings": words.findings(judgement.findings),
    }


def _finding(finding: model.Finding, words: _Words) -> _Fields:
    # That another photo is needed is no advice beside a verdict that accepts this one.
    guides = finding.blocking or finding.status is not model.FindingStatus.UNDETERMINED
    return {
        "measure": _MEASURES[finding.measure],
        "observed": finding.observed,
        "min": finding.minimum,
        "max": finding.maximum,
        "margin": finding.margin,
        "status": _STATUSES[finding.status],
        "blocking": finding.blocking,
        "reason": _REASONS[finding.reason] if finding.reason is not None else None,
        "guidance": words.of(finding.reason) if finding.reason is not None and guides else None,
    }


def _detection(detection: model.Detection, judgements: tuple[model.Judgement | None, ...], words: _Words) -> _Fields:
    return {
        "image_width": detection.image_width,
        "image_height": detection.image_height,
        "faces": [_face(face, judged, words) for face, judged in zip(detection.faces, judgements, strict=True)],
        "face_model_version": detection.face_model_version,
        "request_id": detection.request_id,
    }


def _face(face: model.Face, judgement: model.Judgement | None, words: _Words) -> _Fields:
    box = face.box
    return {
        "box": {"x": box.x, "y": box.y, "width": box.width, "height": box.height},
        "quality": _quality(face.quality) if face.quality is not None else None,
        "attributes": _attributes(face.attributes) if face.attributes is not None else None,
        "judgement": _judgement(judgement, words) if judgement is not None else None,
    }


def _quality(quality: model.FaceQuality) -> _Fields:
    parts = quality.completeness
    return {
        "score": quality.score,
        "sharpness": quality.sharpness,
        "brightness": quality.brightness,
        "completeness": {
            "eyebrow": parts.eyebrow,
            "eye": parts.eye,
            "nose": parts.nose,
            "cheek": parts.cheek,
            "mouth": parts.mouth,
            "chin": parts.chin,
        },
    }


def _attributes(attributes: model.FaceAttributes) -> _Fields:
    hair = attributes.hair
    return {
        "gender": attributes.gender,
        "age": attributes.age,
        "expression": attributes.expression,
        "glass": attributes.glass,
        "pitch": attributes.pitch,
        "yaw": attributes.yaw,
        "roll": attributes.roll,
        "beauty": attributes.beauty,
        "hat": attributes.hat,
        "mask": attributes.mask,
        "eye_open": attributes.eye_open,
        "hair": {"length": hair.length, "bang": hair.bang, "color": hair.color} if hair is not None else None,
    }
