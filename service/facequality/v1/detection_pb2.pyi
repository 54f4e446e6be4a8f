from facequality.v1 import verdict_pb2 as _verdict_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Detection(_message.Message):
    __slots__ = ("image_width", "image_height", "faces", "face_model_version", "request_id")
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    FACE_MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    image_width: int
    image_height: int
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    face_model_version: str
    request_id: str
    def __init__(self, image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., face_model_version: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "quality", "attributes", "judgement")
    BOX_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    box: BoundingBox
    quality: FaceQuality
    attributes: FaceAttributes
    judgement: _verdict_pb2.FaceJudgement
    def __init__(self, box: _Optional[_Union[BoundingBox, _Mapping]] = ..., quality: _Optional[_Union[FaceQuality, _Mapping]] = ..., attributes: _Optional[_Union[FaceAttributes, _Mapping]] = ..., judgement: _Optional[_Union[_verdict_pb2.FaceJudgement, _Mapping]] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    width: int
    height: int
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class FaceQuality(_message.Message):
    __slots__ = ("score", "sharpness", "brightness", "completeness")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SHARPNESS_FIELD_NUMBER: _ClassVar[int]
    BRIGHTNESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    score: float
    sharpness: float
    brightness: float
    completeness: Completeness
    def __init__(self, score: _Optional[float] = ..., sharpness: _Optional[float] = ..., brightness: _Optional[float] = ..., completeness: _Optional[_Union[Completeness, _Mapping]] = ...) -> None: ...

class Completeness(_message.Message):
    __slots__ = ("eyebrow", "eye", "nose", "cheek", "mouth", "chin")
    EYEBROW_FIELD_NUMBER: _ClassVar[int]
    EYE_FIELD_NUMBER: _ClassVar[int]
    NOSE_FIELD_NUMBER: _ClassVar[int]
    CHEEK_FIELD_NUMBER: _ClassVar[int]
    MOUTH_FIELD_NUMBER: _ClassVar[int]
    CHIN_FIELD_NUMBER: _ClassVar[int]
    eyebrow: float
    eye: float
    nose: float
    cheek: float
    mouth: float
    chin: float
    def __init__(self, eyebrow: _Optional[float] = ..., eye: _Optional[float] = ..., nose: _Optional[float] = ..., cheek: _Optional[float] = ..., mouth: _Optional[float] = ..., chin: _Optional[float] = ...) -> None: ...

class FaceAttributes(_message.Message):
    __slots__ = ("gender", "age", "expression", "glass", "pitch", "yaw", "roll", "beauty", "hat", "mask", "eye_open", "hair")
    GENDER_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    GLASS_FIELD_NUMBER: _ClassVar[int]
    PITCH_FIELD_NUMBER: _ClassVar[int]
    YAW_FIELD_NUMBER: _ClassVar[int]
    ROLL_FIELD_NUMBER: _ClassVar[int]
    BEAUTY_FIELD_NUMBER: _ClassVar[int]
    HAT_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    EYE_OPEN_FIELD_NUMBER: _ClassVar[int]
    HAIR_FIELD_NUMBER: _ClassVar[int]
    gender: int
    age: int
    expression: int
    glass: bool
    pitch: float
    yaw: float
    roll: float
    beauty: int
    hat: bool
    mask: bool
    eye_open: bool
    hair: Hair
    def __init__(self, gender: _Optional[int] = ..., age: _Optional[int] = ..., expression: _Optional[int] = ..., glass: _Optional[bool] = ..., pitch: _Optional[float] = ..., yaw: _Optional[float] = ..., roll: _Optional[float] = ..., beauty: _Optional[int] = ..., hat: _Optional[bool] = ..., mask: _Optional[bool] = ..., eye_open: _Optional[bool] = ..., hair: _Optional[_Union[Hair, _Mapping]] = ...) -> None: ...

class Hair(_message.Message):
    __slots__ = ("length", "bang", "color")
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    BANG_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    length: int
    bang: int
    color: int
    def __init__(self, length: _Optional[int] = ..., bang: _Optional[int] = ..., color: _Optional[int] = ...) -> None: ...
