import datetime

from facequality.v1 import verdict_pb2 as _verdict_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FaceRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_RULE_UNSPECIFIED: _ClassVar[FaceRule]
    FACE_RULE_LARGEST: _ClassVar[FaceRule]
    FACE_RULE_DOMINANT: _ClassVar[FaceRule]
    FACE_RULE_EXACTLY_ONE: _ClassVar[FaceRule]
FACE_RULE_UNSPECIFIED: FaceRule
FACE_RULE_LARGEST: FaceRule
FACE_RULE_DOMINANT: FaceRule
FACE_RULE_EXACTLY_ONE: FaceRule

class Bound(_message.Message):
    __slots__ = ("measure", "min", "max", "blocking")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    BLOCKING_FIELD_NUMBER: _ClassVar[int]
    measure: _verdict_pb2.Measure
    min: float
    max: float
    blocking: bool
    def __init__(self, measure: _Optional[_Union[_verdict_pb2.Measure, str]] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., blocking: _Optional[bool] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "revision", "description", "face_rule", "bounds", "source", "load_time", "unavailable_measures", "shadow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FACE_RULE_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_MEASURES_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: str
    description: str
    face_rule: FaceRule
    bounds: _containers.RepeatedCompositeFieldContainer[Bound]
    source: str
    load_time: _timestamp_pb2.Timestamp
    unavailable_measures: _containers.RepeatedScalarFieldContainer[_verdict_pb2.Measure]
    shadow: str
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[str] = ..., description: _Optional[str] = ..., face_rule: _Optional[_Union[FaceRule, str]] = ..., bounds: _Optional[_Iterable[_Union[Bound, _Mapping]]] = ..., source: _Optional[str] = ..., load_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unavailable_measures: _Optional[_Iterable[_Union[_verdict_pb2.Measure, str]]] = ..., shadow: _Optional[str] = ...) -> None: ...

class ReloadFailure(_message.Message):
    __slots__ = ("time", "reason")
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
