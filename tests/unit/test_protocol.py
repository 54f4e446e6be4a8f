"""DetectFace's messages."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from facequality.detectors.tencentcloud.client import INFO
from facequality.detectors.tencentcloud.error_table import LISTED, PREFIXES, find, interpret
from facequality.detectors.tencentcloud.protocol import RAW_CHUNK, RequestBody, decode, encode
from facequality.errors import Code, ErrorReason, GateError, Retry, UpstreamFault
from facequality.evaluation import evaluate
from facequality.gate import CheckResult
from facequality.model import (
    Detection,
    DetectOptions,
    Hair,
    Judgement,
    PhotoBytes,
    PhotoRefused,
    PhotoUri,
    Reason,
)
from facequality.policy import PRESETS
from facequality.rpc.translation import to_response
from hypothesis import example, given
from hypothesis import strategies as st

from tests import detections
from tests.upstream import EXAMPLES, error

TABLE = json.loads((Path(__file__).parent.parent / "data" / "detectface_error_codes.json").read_text(encoding="utf-8"))


# -- requests --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=3000), detections.options)
def test_a_request_is_what_the_vendor_documents(data: bytes, options: DetectOptions) -> None:
    """Valid JSON with the photo as base64, every option, and quality detection on; length and hash are those of the bytes."""
    body = encode(PhotoBytes(data), options, "3.0")
    raw = b"".join(body.chunks())
    assert len(body) == len(raw)
    assert body.sha256() == hashlib.sha256(raw).hexdigest()
    assert json.loads(raw) == {
        "Image": base64.b64encode(data).decode(),
        "MaxFaceNum": options.max_face_num,
        "MinFaceSize": options.min_face_size,
        "NeedFaceAttributes": int(options.need_face_attributes),
        "NeedQualityDetection": 1,
        "FaceModelVersion": options.face_model_version or "3.0",
        "NeedRotateDetection": int(options.need_rotate_detection),
    }


@given(st.text(max_size=200))
def test_a_uri_is_escaped(uri: str) -> None:
    """Whatever characters it holds."""
    document = json.loads(b"".join(encode(PhotoUri(uri), DetectOptions(), "3.0").chunks()))
    assert document["Url"] == uri
    assert "Image" not in document


@pytest.mark.parametrize("size", [RAW_CHUNK - 1, RAW_CHUNK, RAW_CHUNK + 1, 2 * RAW_CHUNK, 3_932_160])
def test_large_bodies_go_in_chunks_that_join(size: int) -> None:
    """No more of a photo at a time than a chunk; nothing lost at the seams."""
    data = bytes(range(256)) * (size // 256 + 1)
    body = encode(PhotoBytes(data[:size]), DetectOptions(), "3.0")
    chunks = list(body.chunks())
    assert max(map(len, chunks)) <= RAW_CHUNK * 4 // 3 + 1024
    assert (len(chunks) == 1) == (size <= RAW_CHUNK)
    raw = b"".join(chunks)
    assert len(raw) == len(body)
    assert base64.b64decode(json.loads(raw)["Image"]) == data[:size]


def test_a_body_keeps_the_photo_out_of_its_repr() -> None:
    """It is somebody's face."""
    assert "secret" not in repr(RequestBody(b"secret", b"secret"))


# -- answers ---------------------------------------------------------------------------------------------------------


def decoded(document: Any, *, attributes_asked: bool = True) -> Detection | PhotoRefused:
    return decode(200, json.dumps(document).encode(), attributes_asked=attributes_asked)


@pytest.mark.parametrize(("number", "expected"), [(1, detections.EXAMPLE_1), (2, detections.EXAMPLE_2)])
def test_the_documented_examples_judge_as_the_contract_says(number: int, expected: Detection) -> None:
    """Under all four presets."""
    answer = decode(200, EXAMPLES[number], attributes_asked=True)
    assert isinstance(answer, Detection)
    for policy in PRESETS.values():
        ours, theirs = (Judgement.of(evaluate(policy, each).findings) for each in (answer, expected))
        assert ours == theirs


def test_every_documented_field_is_kept() -> None:
    """Example 2, field by field."""
    answer = decode(200, EXAMPLES[2], attributes_asked=True)
    assert isinstance(answer, Detection)
    assert (answer.image_width, answer.image_height, answer.face_model_version) == (640, 440, "3.0")
    assert answer.request_id == "bcde47b5-e6d8-446e-a538-bcecffbe306a"
    (face,) = answer.faces
    assert face.quality == detections.EXAMPLE_2.faces[0].quality
    attributes = face.attributes
    assert attributes is not None
    assert (attributes.gender, attributes.age, attributes.expression, attributes.beauty) == (99, 51, 99, 71)
    assert (attributes.glass, attributes.hat, attributes.mask, attributes.eye_open) == (False, False, True, True)
    assert (attributes.pitch, attributes.yaw, attributes.roll) == (17, 5, -2)
    assert attributes.hair == Hair(1, 1, 0)


def example_with(**changes: Any) -> dict[str, Any]:
    """Example 2 with fields of its face replaced, by path."""
    document = copy.deepcopy(json.loads(EXAMPLES[2]))
    for path, value in changes.items():
        holder = document["Response"]["FaceInfos"][0]
        *parents, name = path.split("__")
        for parent in parents:
            holder = holder[parent]
        holder[name] = value
    return dict(document)


def test_nulls_are_absent_not_zero() -> None:
    """Each number, a whole group, everything."""
    answer = decoded(example_with(FaceQualityInfo__Score=None, FaceQualityInfo__Completeness=None, FaceAttributesInfo__Hair=None))
    assert isinstance(answer, Detection)
    quality, attributes = answer.faces[0].quality, answer.faces[0].attributes
    assert quality is not None
    assert attributes is not None
    assert (quality.score, quality.sharpness, quality.completeness.chin) == (None, 73, None)
    assert attributes.hair is None
    bare = decoded(example_with(FaceQualityInfo=None, FaceAttributesInfo=None))
    assert isinstance(bare, Detection)
    assert (bare.faces[0].quality, bare.faces[0].attributes) == (None, None)


def test_negative_boxes_and_unknown_fields_are_kept_and_ignored() -> None:
    """A box may leave the image; the vendor may add fields."""
    document = example_with(X=-12, Y=-3, NewField={"a": 1})
    document["Response"]["DeprecatedWarning"] = "soon"
    answer = decoded(document)
    assert isinstance(answer, Detection)
    assert (answer.faces[0].box.x, answer.faces[0].box.y) == (-12, -3)


def test_attributes_that_were_not_asked_for_are_left_out() -> None:
    """The vendor sends them all the same, and they mean nothing."""
    answer = decode(200, EXAMPLES[2], attributes_asked=False)
    assert isinstance(answer, Detection)
    assert answer.faces[0].attributes is None


def test_quality_beyond_the_30th_and_attributes_beyond_the_5th_face_are_absent() -> None:
    """By area, not by the vendor's order."""
    document = json.loads(EXAMPLES[2])
    (face,) = document["Response"]["FaceInfos"]
    document["Response"]["FaceInfos"] = [{**face, "Width": 10 + size, "Height": 10} for size in range(40)]
    answer = decoded(document)
    assert isinstance(answer, Detection)
    assert [each.quality is not None for each in answer.faces] == [False] * 10 + [True] * 30
    assert [each.attributes is not None for each in answer.faces] == [False] * 35 + [True] * 5


def test_no_faces_is_an_empty_detection() -> None:
    """The gate makes NO_FACE of it."""
    document = json.loads(EXAMPLES[2])
    document["Response"]["FaceInfos"] = []
    answer = decoded(document)
    assert isinstance(answer, Detection)
    assert answer.faces == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"Response": null}',
        b'{"Response": {}}',
        b'{"Response": {"RequestId": ""}}',
        b'{"Response": {"RequestId": 5, "FaceInfos": []}}',
        b'{"Response": {"Error": "InternalError", "RequestId": "x"}}',
        b'{"Response": {"Error": {"Code": null}, "RequestId": "x"}}',
        b"\xff\xfe",
        EXAMPLES[2][:-20],
        EXAMPLES[2].replace(b'"RequestId"', b'"Request"'),
        EXAMPLES[2].replace(b'"X": 156', b'"X": "156"'),
        EXAMPLES[2].replace(b'"X": 156', b'"X": 1.5'),
        EXAMPLES[2].replace(b'"X": 156', b'"X": 99999999999'),
        EXAMPLES[2].replace(b'"X": 156', b'"X": 2147483648'),
        *(
            b'{"Response": {"RequestId": "x", "ImageWidth": 1, "ImageHeight": 1, "FaceInfos": %b, "FaceModelVersion": "3.0"}}'
            % infos
            for infos in (b"{}", b'""', b"0", b"false")
        ),
        EXAMPLES[2].replace(b'"X": 156', b'"X": null'),
        EXAMPLES[2].replace(b'"Score": 63', b'"Score": true'),
        EXAMPLES[2].replace(b'"Score": 63', b'"Score": 1e999'),
        EXAMPLES[2].replace(b'"Mask": true', b'"Mask": 1'),
        EXAMPLES[2].replace(b'"FaceModelVersion": "3.0"', b'"FaceModelVersion": null'),
        b"<html>502 Bad Gateway</html>",
    ],
)
def test_what_is_not_documented_is_malformed(body: bytes) -> None:
    """Typed, to be tried once more, never a verdict."""
    with pytest.raises(UpstreamFault) as caught:
        decode(200, body, attributes_asked=True)
    assert caught.value.reason is ErrorReason.UPSTREAM_MALFORMED
    assert caught.value.retry is Retry.ONCE


@pytest.mark.parametrize(
    "body",
    [
        EXAMPLES[2].replace(b'"Score": 63', b'"Score": true'),
        b'{"Response": {"Error": {"Message": "x"}, "RequestId": "bcde47b5-e6d8-446e-a538-bcecffbe306a"}}',
        b'{"Response": {"Error": null, "RequestId": "bcde47b5-e6d8-446e-a538-bcecffbe306a"}}',
        b'{"Response": {"Error": "InternalError", "RequestId": "bcde47b5-e6d8-446e-a538-bcecffbe306a"}}',
    ],
    ids=["answer", "error without a code", "no error", "an error that is a text"],
)
def test_a_malformed_answer_keeps_its_request_id(body: bytes) -> None:
    """The vendor's support asks for it first."""
    with pytest.raises(UpstreamFault) as caught:
        decode(200, body, attributes_asked=True)
    assert caught.value.metadata == {"upstream_request_id": "bcde47b5-e6d8-446e-a538-bcecffbe306a"}


@pytest.mark.parametrize("status", [201, 301, 400, 403, 429, 500, 502, 503])
def test_another_http_status_is_a_gateway_speaking(status: int) -> None:
    """Whatever its body says."""
    with pytest.raises(UpstreamFault) as caught:
        decode(status, EXAMPLES[2], attributes_asked=True)
    assert caught.value.reason is ErrorReason.UPSTREAM_HTTP_STATUS
    ids = {"upstream_request_id": "bcde47b5-e6d8-446e-a538-bcecffbe306a"}
    assert caught.value.metadata == {"http_status": str(status), **ids}


@pytest.mark.parametrize("request_id", [b"5", b'["x"]', b"{}", b"true", b"null"])
def test_a_gateways_request_id_is_a_text_or_none(request_id: bytes) -> None:
    """Whatever speaks there need not know the vendor's forms."""
    with pytest.raises(UpstreamFault) as caught:
        decode(502, b'{"Response": {"RequestId": %b}}' % request_id, attributes_asked=True)
    assert caught.value.metadata == {"http_status": "502"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


def assert_detection_refusal_or_typed_error(body: bytes) -> None:
    try:
        answer = decode(200, body, attributes_asked=True)
    except GateError:
        return
    assert isinstance(answer, Detection | PhotoRefused)
    if isinstance(answer, Detection):
        # Whatever is accepted must also fit the contract's types.
        judgement = Judgement.of(())
        result = CheckResult(judgement, PRESETS["loose"], INFO, None, answer, faces=(None,) * len(answer.faces))
        assert len(to_response(result).detection.faces) == len(answer.faces)


@given(st.binary(max_size=400))
@example(EXAMPLES[1])
def test_any_bytes_give_a_detection_a_refusal_or_a_typed_error(body: bytes) -> None:
    """The codec's invariant."""
    assert_detection_refusal_or_typed_error(body)


@given(st.data())
def test_any_mutation_of_a_real_answer_does_too(data: st.DataObject) -> None:
    """Bytes flipped, cut, doubled."""
    body = bytearray(EXAMPLES[2])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert_detection_refusal_or_typed_error(bytes(body[: data.draw(st.integers(0, len(body)))]))


FACE_FIELDS = [
    "X", "Width", "FaceQualityInfo", "FaceQualityInfo__Score", "FaceQualityInfo__Completeness",
    "FaceQualityInfo__Completeness__Chin", "FaceAttributesInfo", "FaceAttributesInfo__Mask", "FaceAttributesInfo__Hair",
    "FaceAttributesInfo__Hair__Color", "FaceAttributesInfo__Pitch", "FaceAttributesInfo__Age",
]  # fmt: skip


@given(st.sampled_from(FACE_FIELDS), json_values)
def test_any_value_in_any_field_does_too(path: str, value: object) -> None:
    """Well-formed JSON of the wrong shape."""
    assert_detection_refusal_or_typed_error(json.dumps(example_with(**{path: value})).encode())


def test_what_a_gateway_repeats_of_the_vendor_is_kept_in_bounds() -> None:
    """It goes into metadata."""
    body = json.dumps({"Response": {"Error": {"Code": "C" * 999}, "RequestId": "R" * 999}}).encode()
    with pytest.raises(UpstreamFault) as caught:
        decode(503, body, attributes_asked=False)
    metadata = caught.value.metadata
    assert (metadata["upstream_code"], metadata["upstream_request_id"]) == ("C" * 256, "R" * 256)


def test_an_error_without_a_request_id_keeps_its_code() -> None:
    """The code says what to do."""
    with pytest.raises(GateError) as caught:
        decode(200, b'{"Response": {"Error": {"Code": "AuthFailure.SignatureFailure"}}}', attributes_asked=True)
    assert caught.value.reason is ErrorReason.UPSTREAM_CREDENTIALS
    assert caught.value.metadata == {"upstream_code": "AuthFailure.SignatureFailure"}


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE["codes"], ids=lambda row: row["code"])
def test_every_code_ends_as_the_table_says(row: dict[str, str]) -> None:
    """Verdict or error, reason, status, retry, RetryInfo; with the vendor's code and RequestId, without its message."""
    body = error(row["code"])
    if row["outcome"] == "verdict":
        assert decode(200, body, attributes_asked=True) == PhotoRefused(Reason(row["reason"]), row["code"], "req-1")
        return
    with pytest.raises(GateError) as caught:
        decode(200, body, attributes_asked=True)
    raised = caught.value
    assert (raised.reason, raised.code, raised.retry) == (row["reason"], row["grpc"], row["retry"])
    assert raised.metadata == {"upstream_code": row["code"], "upstream_request_id": "req-1"}
    assert "secret text" not in str(raised)
    assert (raised.retry_after is not None) == (raised.code in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})


@pytest.mark.parametrize("row", TABLE["fallback_by_prefix"], ids=lambda row: row["prefix"])
def test_an_unlisted_code_falls_back_by_prefix(row: dict[str, str]) -> None:
    """The first prefix that matches."""
    code = "Zzz.Unheard" if row["prefix"] == "*" else f"{row['prefix'].rstrip('.')}.Unheard"
    if row["grpc"] == "OK (verdict)":
        assert interpret(code, "req-1").reason == row["reason"]
        return
    with pytest.raises(GateError) as caught:
        interpret(code, "req-1")
    assert (caught.value.reason, caught.value.code, caught.value.retry) == (row["reason"], row["grpc"], row["retry"])


def test_the_table_has_no_row_beside_the_documented_ones() -> None:
    """131 codes, 13 prefixes."""
    assert set(LISTED) == {row["code"] for row in TABLE["codes"]}
    assert len(PREFIXES) == len(TABLE["fallback_by_prefix"])


@given(st.text(max_size=60))
def test_any_code_has_a_row(code: str) -> None:
    """The last prefix matches everything."""
    assert find(code).reason
