from facequality.v1 import detection_pb2 as _detection_pb2
from facequality.v1 import policy_pb2 as _policy_pb2
from facequality.v1 import verdict_pb2 as _verdict_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckFaceQualityRequest(_message.Message):
    __slots__ = ("image", "uri", "policy", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    uri: str
    policy: str
    options: DetectOptions
    def __init__(self, image: _Optional[bytes] = ..., uri: _Optional[str] = ..., policy: _Optional[str] = ..., options: _Optional[_Union[DetectOptions, _Mapping]] = ...) -> None: ...

class DetectOptions(_message.Message):
    __slots__ = ("max_face_num", "min_face_size", "face_model_version", "need_rotate_detection", "need_face_attributes")
    MAX_FACE_NUM_FIELD_NUMBER: _ClassVar[int]
    MIN_FACE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FACE_MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NEED_ROTATE_DETECTION_FIELD_NUMBER: _ClassVar[int]
    NEED_FACE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    max_face_num: int
    min_face_size: int
    face_model_version: str
    need_rotate_detection: bool
    need_face_attributes: bool
    def __init__(self, max_face_num: _Optional[int] = ..., min_face_size: _Optional[int] = ..., face_model_version: _Optional[str] = ..., need_rotate_detection: _Optional[bool] = ..., need_face_attributes: _Optional[bool] = ...) -> None: ...

class DetectorInfo(_message.Message):
    __slots__ = ("name", "cloud_calibrated")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLOUD_CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    name: str
    cloud_calibrated: bool
    def __init__(self, name: _Optional[str] = ..., cloud_calibrated: _Optional[bool] = ...) -> None: ...

class CheckFaceQualityResponse(_message.Message):
    __slots__ = ("verdict", "reasons", "findings", "detection", "judged_face", "policy", "policy_revision", "detector", "upstream_request_id", "upstream_code", "cached")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FACE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_CODE_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    verdict: _verdict_pb2.Verdict
    reasons: _containers.RepeatedScalarFieldContainer[_verdict_pb2.Reason]
    findings: _containers.RepeatedCompositeFieldContainer[_verdict_pb2.Finding]
    detection: _detection_pb2.Detection
    judged_face: int
    policy: str
    policy_revision: str
    detector: DetectorInfo
    upstream_request_id: str
    upstream_code: str
    cached: bool
    def __init__(self, verdict: _Optional[_Union[_verdict_pb2.Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[_verdict_pb2.Reason, str]]] = ..., findings: _Optional[_Iterable[_Union[_verdict_pb2.Finding, _Mapping]]] = ..., detection: _Optional[_Union[_detection_pb2.Detection, _Mapping]] = ..., judged_face: _Optional[int] = ..., policy: _Optional[str] = ..., policy_revision: _Optional[str] = ..., detector: _Optional[_Union[DetectorInfo, _Mapping]] = ..., upstream_request_id: _Optional[str] = ..., upstream_code: _Optional[str] = ..., cached: _Optional[bool] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy", "last_failed_reload")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILED_RELOAD_FIELD_NUMBER: _ClassVar[int]
    policy: _policy_pb2.Policy
    last_failed_reload: _policy_pb2.ReloadFailure
    def __init__(self, policy: _Optional[_Union[_policy_pb2.Policy, _Mapping]] = ..., last_failed_reload: _Optional[_Union[_policy_pb2.ReloadFailure, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "default_policy", "last_failed_reload")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_POLICY_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILED_RELOAD_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Policy]
    default_policy: str
    last_failed_reload: _policy_pb2.ReloadFailure
    def __init__(self, policies: _Optional[_Iterable[_Union[_policy_pb2.Policy, _Mapping]]] = ..., default_policy: _Optional[str] = ..., last_failed_reload: _Optional[_Union[_policy_pb2.ReloadFailure, _Mapping]] = ...) -> None: ...
