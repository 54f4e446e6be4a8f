"""DetectFace's parameters and answers: what the API page documents, with its defaults, ranges and errors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facequality.detector import Detector
from facequality.detectors.tencentcloud.protocol import ACTION, VERSION
from facequality.errors import ErrorReason, GateError
from facequality.image import inspect
from facequality.model import (
    ATTRIBUTE_FACES,
    FACE_MODEL_VERSIONS,
    MAX_FACE_NUM,
    MIN_FACE_SIZES,
    QUALITY_FACES,
    Detection,
    DetectOptions,
    Face,
    Judgement,
    Photo,
    PhotoBytes,
    PhotoRefused,
    PhotoUri,
    Reason,
    by_area,
)
from facequality.photo_uri import UriRules, check_uri

SMALLEST_FACE = min(MIN_FACE_SIZES)
"""The page names 20 and 34, and its own examples send 40: every size from 20 px on is taken."""
MAX_BASE64 = 5 * 1024 * 1024

_INTEGERS = {"MaxFaceNum": 1, "MinFaceSize": 34, "NeedFaceAttributes": 0, "NeedQualityDetection": 0, "NeedRotateDetection": 0}
_TEXTS = ("Image", "Url", "FaceModelVersion")
_COMMON = ("Action", "Version", "Region", "Language")

CODES = {
    Reason.NO_FACE: "InvalidParameterValue.NoFaceInPhoto",
    Reason.IMAGE_UNDECODABLE: "FailedOperation.ImageDecodeFailed",
    Reason.IMAGE_FORMAT_UNSUPPORTED: "FailedOperation.ImageDecodeFailed",
    Reason.IMAGE_TOO_LARGE: "FailedOperation.ImageSizeExceed",
    Reason.IMAGE_RESOLUTION_TOO_HIGH: "FailedOperation.ImageResolutionExceed",
    Reason.IMAGE_RESOLUTION_TOO_LOW: "FailedOperation.ImageResolutionTooSmall",
    Reason.FACE_TOO_SMALL: "FailedOperation.FaceSizeTooSmall",
}
"""The vendor's code for each reason that refuses a photo."""


class ApiError(Exception):
    """An error that the vendor documents, by its code."""

    def __init__(self, code: str) -> None:
        """Hold the code."""
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Parameters:
    """A valid request."""

    photo: Photo
    options: DetectOptions
    with_quality: bool
    model_version: str


def read(action: str, version: str, given: Mapping[str, Any]) -> Parameters:
    """Validate a request's parameters; numbers may be decimal texts, as GET sends them.

    Raises:
        ApiError: as the vendor would answer.
    """
    if action != ACTION:
        raise ApiError("InvalidAction" if action else "MissingParameter")
    if version != VERSION:
        raise ApiError("NoSuchVersion" if version else "MissingParameter")
    unknown = given.keys() - _INTEGERS.keys() - set(_TEXTS) - set(_COMMON)
    if unknown:
        raise ApiError("UnknownParameter")
    numbers = {name: _integer(given.get(name), default) for name, default in _INTEGERS.items()}
    if any(given.get(name) is not None and not isinstance(given[name], str) for name in _TEXTS):
        raise ApiError("InvalidParameter")
    if numbers["MaxFaceNum"] > MAX_FACE_NUM:
        raise ApiError("LimitExceeded.ErrorFaceNumExceed")
    if numbers["MaxFaceNum"] < 1 or numbers["MinFaceSize"] < SMALLEST_FACE:
        raise ApiError("InvalidParameter.InvalidParameter")
    model_version = given.get("FaceModelVersion") or "3.0"
    if model_version not in FACE_MODEL_VERSIONS:
        raise ApiError("InvalidParameterValue.FaceModelVersionIllegal")
    options = DetectOptions(
        numbers["MaxFaceNum"],
        numbers["MinFaceSize"],
        model_version,
        # "Any value other than 1 is taken for no."
        numbers["NeedRotateDetection"] == 1,
        numbers["NeedFaceAttributes"] == 1,
    )
    return Parameters(_photo(given), options, numbers["NeedQualityDetection"] == 1, model_version)


async def answer(parameters: Parameters, detector: Detector) -> dict[str, Any]:
    """Answer a request, without the RequestId.

    Raises:
        ApiError: as the vendor would answer.
        GateError: the detector failed for a reason of its own.
    """
    detection = await _detect(parameters.photo, parameters.options, detector)
    if not detection.faces:
        raise ApiError(CODES[Reason.NO_FACE])
    ranks = {index: rank for rank, index in enumerate(by_area([face.box for face in detection.faces]))}
    return {
        "ImageWidth": detection.image_width,
        "ImageHeight": detection.image_height,
        "FaceInfos": [_face(face, ranks[index], parameters) for index, face in enumerate(detection.faces)],
        "FaceModelVersion": parameters.model_version,
    }


def _integer(value: Any, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ApiError("InvalidParameter")
    return value


def _photo(given: Mapping[str, Any]) -> Photo:
    # "Url or Image must be given; if both are, only Url is used."
    if given.get("Url"):
        try:
            check_uri(given["Url"], UriRules())
        except GateError as error:
            forbidden = error.reason is ErrorReason.URL_FORBIDDEN
            raise ApiError("FailedOperation.ImageDownloadError" if forbidden else "InvalidParameterValue.UrlIllegal") from error
        return PhotoUri(given["Url"])
    image = given.get("Image")
    if image is None:
        raise ApiError("MissingParameter.ErrorParameterEmpty")
    if not image:
        raise ApiError("InvalidParameterValue.ImageEmpty")
    if len(image) > MAX_BASE64:
        raise ApiError("FailedOperation.ImageSizeExceed")
    try:
        data = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError("FailedOperation.ImageDecodeFailed") from error
    reasons = Judgement.of(inspect(data).findings).reasons
    if reasons:
        raise ApiError(CODES[reasons[0]])
    return PhotoBytes(data)


async def _detect(photo: Photo, options: DetectOptions, detector: Detector) -> Detection:
    try:
        found = await detector.detect(photo, options)
    except GateError as error:
        if error.reason in {ErrorReason.IMAGE_DOWNLOAD_FAILED, ErrorReason.URL_FORBIDDEN}:
            raise ApiError("FailedOperation.ImageDownloadError") from error
        raise
    if isinstance(found, PhotoRefused):
        raise ApiError(CODES[found.reason])
    return found


def _face(face: Face, rank: int, parameters: Parameters) -> dict[str, Any]:
    """Write a face out. Where attributes or quality were not asked for, the vendor sends zeros: so do we."""
    box = face.box
    with_attributes = parameters.options.need_face_attributes and rank < ATTRIBUTE_FACES
    with_quality = parameters.with_quality and rank < QUALITY_FACES
    return {
        "X": box.x,
        "Y": box.y,
        "Width": box.width,
        "Height": box.height,
        "FaceAttributesInfo": _attributes(face) if with_attributes else _NO_ATTRIBUTES,
        "FaceQualityInfo": _quality(face) if with_quality else _NO_QUALITY,
    }


_NO_ATTRIBUTES = {
    "Gender": 0,
    "Age": 0,
    "Expression": 0,
    "Glass": False,
    "Pitch": 0,
    "Yaw": 0,
    "Roll": 0,
    "Beauty": 0,
    "Hat": False,
    "Mask": False,
    "EyeOpen": True,
    "Hair": {"Length": 0, "Bang": 0, "Color": 0},
}
_NO_QUALITY = {
    "Score": 0,
    "Sharpness": 0,
    "Brightness": 0,
    "Completeness": dict.fromkeys(("Eyebrow", "Eye", "Nose", "Cheek", "Mouth", "Chin"), 0),
}


def _attributes(face: Face) -> dict[str, Any]:
    """What the detector cannot judge is null where the vendor's schema allows it, else the value of its own zeros."""
    known = face.attributes
    if known is None:
        return _NO_ATTRIBUTES
    hair = known.hair
    return {
        "Gender": known.gender or 0,
        "Age": known.age or 0,
        "Expression": known.expression or 0,
        "Glass": bool(known.glass),
        "Pitch": round(known.pitch or 0),
        "Yaw": round(known.yaw or 0),
        "Roll": round(known.roll or 0),
        "Beauty": known.beauty or 0,
        "Hat": known.hat,
        "Mask": known.mask,
        "EyeOpen": known.eye_open,
        "Hair": None if hair is None else {"Length": hair.length, "Bang": hair.bang, "Color": hair.color},
    }


def _quality(face: Face) -> dict[str, Any] | None:
    quality = face.quality
    if quality is None:
        return None
    parts = quality.completeness
    return {
        "Score": quality.score,
        "Sharpness": quality.sharpness,
        "Brightness": quality.brightness,
        "Completeness": {
            "Eyebrow": parts.eyebrow,
            "Eye": parts.eye,
            "Nose": parts.nose,
            "Cheek": parts.cheek,
            "Mouth": parts.mouth,
            "Chin": parts.chin,
        },
    }
