"""DetectFace's messages, sans I/O: a request's body as chunks, an answer's bytes as a Detection, a refusal or a typed error.

Any bytes give one of the three and nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import pybase64

from facequality.detectors.tencentcloud.error_table import interpret
from facequality.errors import ErrorReason, Retry, UpstreamFault
from facequality.model import (
    ATTRIBUTE_FACES,
    QUALITY_FACES,
    BoundingBox,
    Completeness,
    Detection,
    DetectOptions,
    Face,
    FaceAttributes,
    FaceQuality,
    Hair,
    Photo,
    PhotoBytes,
    PhotoRefused,
    by_area,
)

ACTION, VERSION, SERVICE = "DetectFace", "2020-03-03", "iai"
CONTENT_TYPE = "application/json"
RAW_CHUNK = 384 * 1024
"""Bytes of a photo encoded at a time: a multiple of three, so that chunks of base64 join without padding; 512 KiB encoded."""
LONG_TO_HASH = 2 * 1024 * 1024
"""Bodies above this size, bytes, are hashed off the event loop: below, up to a millisecond, changing threads costs more."""
MAX_ANSWER_BYTES = 1024 * 1024
"""120 faces with everything take about 100 KB."""

_INT32 = 2**31


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request's JSON: ``head``, the photo as base64 (whose alphabet needs no escaping), ``tail``. Never whole in memory."""

    head: bytes = field(repr=False)
    """Of a photo's URI it holds all, with what may be secret in its query."""
    image: bytes | memoryview = field(default=b"", repr=False)
    tail: bytes = b""

    def __len__(self) -> int:
        """Bytes on the wire: the Content-Length."""
        return len(self.head) + (len(self.image) + 2) // 3 * 4 + len(self.tail)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body: whole if its photo is one chunk, else a chunk at a time."""
        if len(self.image) <= RAW_CHUNK:
            yield b"".join((self.head, pybase64.b64encode(self.image), self.tail))
            return
        yield self.head
        view = memoryview(self.image)
        for start in range(0, len(view), RAW_CHUNK):
            yield pybase64.b64encode(view[start : start + RAW_CHUNK])
        yield self.tail

    def sha256(self) -> str:
        """Hash the body, hex. Encoding it a second time to send it costs less than keeping it."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


def encode(photo: Photo, options: DetectOptions, default_model_version: str) -> RequestBody:
    """Build a request's body. Quality detection is always on."""
    rest = orjson.dumps(
        {
            "MaxFaceNum": options.max_face_num,
            "MinFaceSize": options.min_face_size,
            "NeedFaceAttributes": int(options.need_face_attributes),
            "NeedQualityDetection": 1,
            "FaceModelVersion": options.face_model_version or default_model_version,
            "NeedRotateDetection": int(options.need_rotate_detection),
        }
    )
    if isinstance(photo, PhotoBytes):
        return RequestBody(b'{"Image":"', photo.data, b'",' + rest[1:])
    return RequestBody(b'{"Url":' + orjson.dumps(photo.uri) + b"," + rest[1:])


def decode(status: int, body: bytes, *, attributes_asked: bool) -> Detection | PhotoRefused:
    """Read an answer.

    Quality beyond the 30 largest faces and attributes beyond the 5 largest, or not asked for, hold no meaning: they are left out.

    Raises:
        GateError: the vendor's error, or UPSTREAM_HTTP_STATUS or UPSTREAM_MALFORMED.
    """
    # "HTTP status is always 200 when the server processed the request": anything else is a gateway speaking.
    if status != 200:
        raise _bad_status(status, _ids(body))
    try:
        response = _object(_object(orjson.loads(body)), "Response")
        if "Error" in response:
            # An error's code says more than that its RequestId is missing.
            return interpret(_text(_object(response, "Error"), "Code"), _ids(body).get("upstream_request_id", ""))
        return _detection(response, _text(response, "RequestId"), attributes_asked=attributes_asked)
    except (_Malformed, orjson.JSONDecodeError) as error:
        what = str(error) if isinstance(error, _Malformed) else "it is not JSON"
        raise malformed(what, _ids(body).get("upstream_request_id", "")) from error


def _ids(body: bytes) -> dict[str, str]:
    """Find the vendor's RequestId and code in whatever a body is, as far as they are there."""
    try:
        response = _object(_object(orjson.loads(body)), "Response")
    except (_Malformed, orjson.JSONDecodeError):
        return {}
    error = response.get("Error")
    found = {
        "upstream_request_id": response.get("RequestId"),
        "upstream_code": error.get("Code") if isinstance(error, dict) else None,
    }
    return {name: value[:256] for name, value in found.items() if isinstance(value, str) and value}


def _bad_status(status: int, ids: dict[str, str]) -> UpstreamFault:
    text, metadata = f"DetectFace answered with HTTP status {status}", {"http_status": str(status), **ids}
    # The vendor itself throttles with status 200; what stands before it may use HTTP's own, and is not asked again at once.
    retry = Retry.THROTTLE if status == HTTPStatus.TOO_MANY_REQUESTS else Retry.YES
    return UpstreamFault(ErrorReason.UPSTREAM_HTTP_STATUS, text, metadata=metadata, retry=retry)


def unread(what: str, status: int) -> UpstreamFault:
    """Make the error of an answer that was not read to its end."""
    return malformed(what) if status == 200 else _bad_status(status, {})


def malformed(what: str, request_id: str = "") -> UpstreamFault:
    """Make the error of an answer that is not what DetectFace documents."""
    text = f"DetectFace's answer is malformed: {what}"
    metadata = {"upstream_request_id": request_id} if request_id else {}
    return UpstreamFault(ErrorReason.UPSTREAM_MALFORMED, text, metadata=metadata, retry=Retry.ONCE)


class _Malformed(Exception):
    """Where an answer departs from the documented shape."""


def _detection(response: dict[str, Any], request_id: str, *, attributes_asked: bool) -> Detection:
    infos = response.get("FaceInfos")
    if not isinstance(infos, list):
        raise _Malformed("FaceInfos is not a list")
    boxes = [_box(_object(info)) for info in infos]
    ranks = {index: rank for rank, index in enumerate(by_area(boxes))}
    faces = tuple(
        Face(
            box,
            _quality(info) if ranks[index] < QUALITY_FACES else None,
            _attributes(info) if attributes_asked and ranks[index] < ATTRIBUTE_FACES else None,
        )
        for index, (info, box) in enumerate(zip(infos, boxes, strict=True))
    )
    version = _text(response, "FaceModelVersion")
    return Detection(_needed(response, "ImageWidth"), _needed(response, "ImageHeight"), faces, version, request_id)


def _box(info: dict[str, Any]) -> BoundingBox:
    return BoundingBox(_needed(info, "X"), _needed(info, "Y"), _needed(info, "Width"), _needed(info, "Height"))


def _quality(info: dict[str, Any]) -> FaceQuality | None:
    quality = _optional_object(info, "FaceQualityInfo")
    if quality is None:
        return None
    parts = _optional_object(quality, "Completeness") or {}
    return FaceQuality(
        _number(quality, "Score"),
        _number(quality, "Sharpness"),
        _number(quality, "Brightness"),
        Completeness(
            _number(parts, "Eyebrow"),
            _number(parts, "Eye"),
            _number(parts, "Nose"),
            _number(parts, "Cheek"),
            _number(parts, "Mouth"),
            _number(parts, "Chin"),
        ),
    )


def _attributes(info: dict[str, Any]) -> FaceAttributes | None:
    given = _optional_object(info, "FaceAttributesInfo")
    if given is None:
        return None
    hair = _optional_object(given, "Hair")
    return FaceAttributes(
        gender=_integer(given, "Gender"),
        age=_integer(given, "Age"),
        expression=_integer(given, "Expression"),
        glass=_flag(given, "Glass"),
        pitch=_number(given, "Pitch"),
        yaw=_number(given, "Yaw"),
        roll=_number(given, "Roll"),
        beauty=_integer(given, "Beauty"),
        hat=_flag(given, "Hat"),
        mask=_flag(given, "Mask"),
        eye_open=_flag(given, "EyeOpen"),
        hair=None if hair is None else Hair(_integer(hair, "Length"), _integer(hair, "Bang"), _integer(hair, "Color")),
    )


def _object(value: Any, name: str | None = None) -> dict[str, Any]:
    found = value.get(name) if name is not None else value
    if not isinstance(found, dict):
        raise _Malformed(f"{name or 'a value'} is not an object")
    return found


def _optional_object(holder: dict[str, Any], name: str) -> dict[str, Any] | None:
    return None if holder.get(name) is None else _object(holder, name)


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise _Malformed(f"{name} is not a text")
    return value[:256]


def _number(holder: dict[str, Any], name: str) -> float | None:
    value = holder.get(name)
    if value is None:
        return None
    # By exact type: bool is an int to Python, not to JSON.
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return float(value)
    raise _Malformed(f"{name} is not a number")


def _integer(holder: dict[str, Any], name: str) -> int | None:
    value = _number(holder, name)
    if value is None:
        return None
    if not value.is_integer() or not -_INT32 <= value < _INT32:
        raise _Malformed(f"{name} is not an integer of 32 bits")
    return int(value)


def _needed(holder: dict[str, Any], name: str) -> int:
    value = _integer(holder, name)
    if value is None:
        raise _Malformed(f"{name} is missing")
    return value


def _flag(holder: dict[str, Any], name: str) -> bool | None:
    value = holder.get(name)
    if value is not None and not isinstance(value, bool):
        raise _Malformed(f"{name} is not a boolean")
    return value
