from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ACCEPTED: _ClassVar[Verdict]
    VERDICT_REJECTED: _ClassVar[Verdict]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_NO_FACE: _ClassVar[Reason]
    REASON_IMAGE_UNDECODABLE: _ClassVar[Reason]
    REASON_IMAGE_FORMAT_UNSUPPORTED: _ClassVar[Reason]
    REASON_IMAGE_TOO_LARGE: _ClassVar[Reason]
    REASON_IMAGE_RESOLUTION_TOO_HIGH: _ClassVar[Reason]
    REASON_IMAGE_RESOLUTION_TOO_LOW: _ClassVar[Reason]
    REASON_MULTIPLE_FACES: _ClassVar[Reason]
    REASON_FACE_TOO_SMALL: _ClassVar[Reason]
    REASON_MASK_WORN: _ClassVar[Reason]
    REASON_EYE_OCCLUDED: _ClassVar[Reason]
    REASON_NOSE_OCCLUDED: _ClassVar[Reason]
    REASON_MOUTH_OCCLUDED: _ClassVar[Reason]
    REASON_CHEEK_OCCLUDED: _ClassVar[Reason]
    REASON_CHIN_OCCLUDED: _ClassVar[Reason]
    REASON_EYEBROW_OCCLUDED: _ClassVar[Reason]
    REASON_EYES_CLOSED: _ClassVar[Reason]
    REASON_GLASSES_WORN: _ClassVar[Reason]
    REASON_HAT_WORN: _ClassVar[Reason]
    REASON_POSE_PITCH: _ClassVar[Reason]
    REASON_POSE_YAW: _ClassVar[Reason]
    REASON_POSE_ROLL: _ClassVar[Reason]
    REASON_TOO_DARK: _ClassVar[Reason]
    REASON_TOO_BRIGHT: _ClassVar[Reason]
    REASON_TOO_BLURRY: _ClassVar[Reason]
    REASON_LOW_SCORE: _ClassVar[Reason]
    REASON_MEASUREMENT_MISSING: _ClassVar[Reason]

class Measure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEASURE_UNSPECIFIED: _ClassVar[Measure]
    MEASURE_IMAGE_DECODABLE: _ClassVar[Measure]
    MEASURE_IMAGE_FORMAT: _ClassVar[Measure]
    MEASURE_IMAGE_BYTES: _ClassVar[Measure]
    MEASURE_IMAGE_LONG_SIDE: _ClassVar[Measure]
    MEASURE_IMAGE_SHORT_SIDE: _ClassVar[Measure]
    MEASURE_FACE_COUNT: _ClassVar[Measure]
    MEASURE_SECOND_FACE_AREA_PERCENT: _ClassVar[Measure]
    MEASURE_FACE_SIZE: _ClassVar[Measure]
    MEASURE_FACE_AREA_PERCENT: _ClassVar[Measure]
    MEASURE_SCORE: _ClassVar[Measure]
    MEASURE_SHARPNESS: _ClassVar[Measure]
    MEASURE_BRIGHTNESS: _ClassVar[Measure]
    MEASURE_COMPLETENESS_EYEBROW: _ClassVar[Measure]
    MEASURE_COMPLETENESS_EYE: _ClassVar[Measure]
    MEASURE_COMPLETENESS_NOSE: _ClassVar[Measure]
    MEASURE_COMPLETENESS_CHEEK: _ClassVar[Measure]
    MEASURE_COMPLETENESS_MOUTH: _ClassVar[Measure]
    MEASURE_COMPLETENESS_CHIN: _ClassVar[Measure]
    MEASURE_PITCH: _ClassVar[Measure]
    MEASURE_YAW: _ClassVar[Measure]
    MEASURE_ROLL: _ClassVar[Measure]
    MEASURE_MASK: _ClassVar[Measure]
    MEASURE_EYES_OPEN: _ClassVar[Measure]
    MEASURE_GLASSES: _ClassVar[Measure]
    MEASURE_HAT: _ClassVar[Measure]

class FindingStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINDING_STATUS_UNSPECIFIED: _ClassVar[FindingStatus]
    FINDING_STATUS_PASS: _ClassVar[FindingStatus]
    FINDING_STATUS_FAIL: _ClassVar[FindingStatus]
    FINDING_STATUS_UNDETERMINED: _ClassVar[FindingStatus]
VERDICT_UNSPECIFIED: Verdict
VERDICT_ACCEPTED: Verdict
VERDICT_REJECTED: Verdict
REASON_UNSPECIFIED: Reason
REASON_NO_FACE: Reason
REASON_IMAGE_UNDECODABLE: Reason
REASON_IMAGE_FORMAT_UNSUPPORTED: Reason
REASON_IMAGE_TOO_LARGE: Reason
REASON_IMAGE_RESOLUTION_TOO_HIGH: Reason
REASON_IMAGE_RESOLUTION_TOO_LOW: Reason
REASON_MULTIPLE_FACES: Reason
REASON_FACE_TOO_SMALL: Reason
REASON_MASK_WORN: Reason
REASON_EYE_OCCLUDED: Reason
REASON_NOSE_OCCLUDED: Reason
REASON_MOUTH_OCCLUDED: Reason
REASON_CHEEK_OCCLUDED: Reason
REASON_CHIN_OCCLUDED: Reason
REASON_EYEBROW_OCCLUDED: Reason
REASON_EYES_CLOSED: Reason
REASON_GLASSES_WORN: Reason
REASON_HAT_WORN: Reason
REASON_POSE_PITCH: Reason
REASON_POSE_YAW: Reason
REASON_POSE_ROLL: Reason
REASON_TOO_DARK: Reason
REASON_TOO_BRIGHT: Reason
REASON_TOO_BLURRY: Reason
REASON_LOW_SCORE: Reason
REASON_MEASUREMENT_MISSING: Reason
MEASURE_UNSPECIFIED: Measure
MEASURE_IMAGE_DECODABLE: Measure
MEASURE_IMAGE_FORMAT: Measure
MEASURE_IMAGE_BYTES: Measure
MEASURE_IMAGE_LONG_SIDE: Measure
MEASURE_IMAGE_SHORT_SIDE: Measure
MEASURE_FACE_COUNT: Measure
MEASURE_SECOND_FACE_AREA_PERCENT: Measure
MEASURE_FACE_SIZE: Measure
MEASURE_FACE_AREA_PERCENT: Measure
MEASURE_SCORE: Measure
MEASURE_SHARPNESS: Measure
MEASURE_BRIGHTNESS: Measure
MEASURE_COMPLETENESS_EYEBROW: Measure
MEASURE_COMPLETENESS_EYE: Measure
MEASURE_COMPLETENESS_NOSE: Measure
MEASURE_COMPLETENESS_CHEEK: Measure
MEASURE_COMPLETENESS_MOUTH: Measure
MEASURE_COMPLETENESS_CHIN: Measure
MEASURE_PITCH: Measure
MEASURE_YAW: Measure
MEASURE_ROLL: Measure
MEASURE_MASK: Measure
MEASURE_EYES_OPEN: Measure
MEASURE_GLASSES: Measure
MEASURE_HAT: Measure
FINDING_STATUS_UNSPECIFIED: FindingStatus
FINDING_STATUS_PASS: FindingStatus
FINDING_STATUS_FAIL: FindingStatus
FINDING_STATUS_UNDETERMINED: FindingStatus

class Finding(_message.Message):
    __slots__ = ("measure", "observed", "min", "max", "margin", "status", "blocking", "reason", "guidance")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BLOCKING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    measure: Measure
    observed: float
    min: float
    max: float
    margin: float
    status: FindingStatus
    blocking: bool
    reason: Reason
    guidance: str
    def __init__(self, measure: _Optional[_Union[Measure, str]] = ..., observed: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., margin: _Optional[float] = ..., status: _Optional[_Union[FindingStatus, str]] = ..., blocking: _Optional[bool] = ..., reason: _Optional[_Union[Reason, str]] = ..., guidance: _Optional[str] = ...) -> None: ...

class FaceJudgement(_message.Message):
    __slots__ = ("verdict", "reasons", "findings")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    reasons: _containers.RepeatedScalarFieldContainer[Reason]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[Reason, str]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...
