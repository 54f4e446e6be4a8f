"""The DetectFace emulator: our own gate in front of it, authentication, and its API against the page."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
import trustme
from facequality.detectors.embedded.detector import EmbeddedDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.signature import Canonical, Credential, authorization
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.emulator.scenario import Scenario
from facequality.evaluation import evaluate
from facequality.model import BoundingBox, Detection, DetectOptions, PhotoBytes
from facequality.policy import PRESETS
from facequality.testing import SECRET_ID, SECRET_KEY, EmulatedEndpoint, detectface_emulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.emulating import CAT, PORTRAIT, b64, call, code
from tests.upstream import EXAMPLES

# -- our own gate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_our_own_detector_sees_what_the_engine_sees(engine_detector: EmbeddedDetector, scheme: str) -> None:
    """Over HTTP and HTTPS with a private authority: the same faces, numbers and poses as in process."""
    authority, tls, trust = trustme.CA(), None, None
    if scheme == "https":
        import ssl

        tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.configure_trust(trust)
    options = DetectOptions(max_face_num=2, need_face_attributes=True)
    local = await engine_detector.detect(PhotoBytes(PORTRAIT), options)
    with detectface_emulator(detector=EmbeddedDetector(workers=1), tls=tls) as running:
        key = Credential(running.secret_id, running.secret_key)
        remote = TencentCloudDetector(lambda: key, CloudOptions(endpoint=running.url), HttpClient(HttpOptions(tls=trust)))
        seen = await remote.detect(PhotoBytes(PORTRAIT), options)
        await remote.aclose()
    assert isinstance(seen, Detection)
    assert isinstance(local, Detection)
    assert [(face.box, face.quality) for face in seen.faces] == [(face.box, face.quality) for face in local.faces]
    for policy in PRESETS.values():
        assert evaluate(policy, seen).findings == evaluate(policy, local).findings


# -- authentication ---------------------------------------------------------------------------------------------------


def test_signatures_are_verified(emulator: EmulatedEndpoint) -> None:
    """Missing, malformed, old, early, wrong, by an unknown key."""
    body, now = {"Image": b64(CAT)}, int(time.time())
    assert code(call(emulator, body, headers={"Authorization": ""})) == "AuthFailure.InvalidAuthorization"
    assert code(call(emulator, body, headers={"Authorization": "SKIP"})) == "AuthFailure.InvalidAuthorization"
    assert code(call(emulator, body, timestamp=now - 310)) == "AuthFailure.SignatureExpire"
    assert code(call(emulator, body, timestamp=now + 310)) == "AuthFailure.SignatureExpire"
    assert code(call(emulator, body, timestamp=now - 280)) == "InvalidParameterValue.NoFaceInPhoto"
    assert code(call(emulator, body, key=Credential(SECRET_ID, "wrong"))) == "AuthFailure.SignatureFailure"
    assert code(call(emulator, body, key=Credential("AKIDnobody", SECRET_KEY))) == "AuthFailure.SecretIdNotFound"
    assert code(call(emulator, body, headers={"X-TC-Token": "stray"})) == "AuthFailure.TokenFailure"
    for times, expected in ((1, "InvalidParameterValue.NoFaceInPhoto"), (2, "AuthFailure.SignatureFailure")):
        # A header is signed once, even if the arithmetic is right.
        raw = json.dumps(body).encode()
        signed = (("content-type", "application/json"), *[("host", emulator.host)] * times)
        canonical = Canonical("POST", "", signed, hashlib.sha256(raw).hexdigest())
        header = authorization(canonical, Credential(SECRET_ID, SECRET_KEY), now, "iai")
        assert code(call(emulator, raw, headers={"Authorization": header}, timestamp=now)) == expected


def test_tokens_are_verified() -> None:
    """Needed where the key has one; a scenario can let them expire."""
    with detectface_emulator(detector=RecordingDetector(EXAMPLE_2), token="the-token") as running:
        assert code(call(running, {})) == "AuthFailure.TokenFailure"
        assert code(call(running, {}, headers={"X-TC-Token": "the-token"})) == "MissingParameter.ErrorParameterEmpty"
    with detectface_emulator(Scenario(tokens_expired=True), detector=RecordingDetector(EXAMPLE_2), token="the-token") as running:
        assert code(call(running, {}, headers={"X-TC-Token": "the-token"})) == "AuthFailure.TokenFailure"


# -- the API ----------------------------------------------------------------------------------------------------------

SMALL_FACE = photos.encode(photos.portrait().resize((160, 160)), "JPEG", quality=95)
TURNED = photos.encode(photos.portrait().rotate(90), "JPEG", quality=95)

TABLE: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"Image": b64(PORTRAIT)}, {}, "OK"),
    ({"Image": b64(PORTRAIT)}, {"X-TC-Action": "CompareFace"}, "InvalidAction"),
    ({"Image": b64(PORTRAIT)}, {"X-TC-Action": ""}, "MissingParameter"),
    ({"Image": b64(PORTRAIT)}, {"X-TC-Version": "2018-03-01"}, "NoSuchVersion"),
    ({"Image": b64(PORTRAIT)}, {"X-TC-Version": ""}, "MissingParameter"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": 120}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": 121}, {}, "LimitExceeded.ErrorFaceNumExceed"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": 0}, {}, "InvalidParameter.InvalidParameter"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": -1}, {}, "InvalidParameter"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": "many"}, {}, "InvalidParameter"),
    ({"Image": b64(PORTRAIT), "MaxFaceNum": True}, {}, "InvalidParameter"),
    ({"Image": b64(PORTRAIT), "MinFaceSize": 20}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "MinFaceSize": 34}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "MinFaceSize": 40}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "MinFaceSize": 19}, {}, "InvalidParameter.InvalidParameter"),
    ({"Image": b64(SMALL_FACE), "MinFaceSize": 34}, {}, "FailedOperation.FaceSizeTooSmall"),
    ({"Image": b64(SMALL_FACE), "MinFaceSize": 20}, {}, "OK"),
    ({}, {}, "MissingParameter.ErrorParameterEmpty"),
    ({"Image": ""}, {}, "InvalidParameterValue.ImageEmpty"),
    ({"Image": 5}, {}, "InvalidParameter"),
    ({"Image": "/9j/4*"}, {}, "FailedOperation.ImageDecodeFailed"),
    ({"Image": b64(b"GIF89a" + b"\x00" * 50)}, {}, "FailedOperation.ImageDecodeFailed"),
    ({"Image": b64(PORTRAIT[:9000])}, {}, "FailedOperation.ImageDecodeFailed"),
    ({"Image": "A" * (5 * 1024 * 1024 + 4)}, {}, "FailedOperation.ImageSizeExceed"),
    ({"Image": b64(photos.encode(photos.cat().resize((4001, 70)), "JPEG"))}, {}, "FailedOperation.ImageResolutionExceed"),
    ({"Image": b64(photos.encode(photos.cat().resize((2001, 70))))}, {}, "FailedOperation.ImageResolutionExceed"),
    ({"Image": b64(photos.encode(photos.cat().resize((63, 63))))}, {}, "FailedOperation.ImageResolutionTooSmall"),
    ({"Image": b64(CAT)}, {}, "InvalidParameterValue.NoFaceInPhoto"),
    ({"Image": b64(PORTRAIT), "Url": "https://10.0.0.1/a.jpg"}, {}, "FailedOperation.ImageDownloadError"),
    ({"Url": "https://photos.example.com/a.jpg"}, {}, "FailedOperation.ImageDownloadError"),
    ({"Url": "not a url"}, {}, "InvalidParameterValue.UrlIllegal"),
    ({"Image": b64(PORTRAIT), "Url": ""}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "FaceModelVersion": "2.0"}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "FaceModelVersion": "4.0"}, {}, "InvalidParameterValue.FaceModelVersionIllegal"),
    ({"Image": b64(PORTRAIT), "FaceModelVersion": ""}, {}, "OK"),
    ({"Image": b64(TURNED)}, {}, "InvalidParameterValue.NoFaceInPhoto"),
    ({"Image": b64(TURNED), "NeedRotateDetection": 1}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "NeedQualityDetection": 2}, {}, "OK"),
    ({"Image": b64(PORTRAIT), "Colour": 1}, {}, "UnknownParameter"),
]


@pytest.mark.parametrize(("body", "headers", "expected"), TABLE)
def test_every_parameter_and_its_errors(
    emulator: EmulatedEndpoint, body: dict[str, Any], headers: dict[str, str], expected: str
) -> None:
    """The API page, row by row."""
    response = call(emulator, body, headers=headers)
    assert code(response) == expected
    if expected == "OK":
        assert response["FaceModelVersion"] == (body.get("FaceModelVersion") or "3.0")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_an_invalid_parameter(emulator: EmulatedEndpoint, body: bytes) -> None:
    """In a documented envelope."""
    assert code(call(emulator, body)) == "InvalidParameter"


def test_quality_and_attributes_are_zeros_unless_asked_for(emulator: EmulatedEndpoint) -> None:
    """As in the page's first example; any value but 1 is taken for no."""
    example = json.loads(EXAMPLES[1])["Response"]["FaceInfos"][0]
    (face,) = call(emulator, {"Image": b64(PORTRAIT), "NeedQualityDetection": 2, "NeedFaceAttributes": 0})["FaceInfos"]
    assert face["FaceQualityInfo"] == example["FaceQualityInfo"]
    assert face["FaceAttributesInfo"] == example["FaceAttributesInfo"]
    (face,) = call(emulator, {"Image": b64(PORTRAIT), "NeedQualityDetection": 1, "NeedFaceAttributes": 1})["FaceInfos"]
    assert face["FaceQualityInfo"]["Sharpness"] > 70
    assert face["FaceAttributesInfo"]["Mask"] is False
    assert face["FaceAttributesInfo"]["EyeOpen"] is None


def test_quality_is_for_30_faces_and_attributes_for_5() -> None:
    """The largest; the rest have the zeros that mean nothing."""
    face = EXAMPLE_2.faces[0]
    faces = tuple(dataclasses.replace(face, box=BoundingBox(0, 0, 100 + size, 100)) for size in range(40))
    crowd = dataclasses.replace(EXAMPLE_2, faces=faces)
    with detectface_emulator(detector=RecordingDetector(crowd)) as running:
        asked = {"Image": b64(CAT), "MaxFaceNum": 120, "NeedQualityDetection": 1, "NeedFaceAttributes": 1}
        infos = call(running, asked)["FaceInfos"]
    assert [info["FaceQualityInfo"]["Score"] for info in infos] == [0] * 10 + [63.0] * 30
    assert [info["FaceAttributesInfo"]["Mask"] for info in infos] == [False] * 35 + [True] * 5


def test_a_get_of_over_32_kb_is_refused(emulator: EmulatedEndpoint) -> None:
    """In an envelope."""
    with urllib.request.urlopen(f"{emulator.url}/?Url={'a' * 33_000}", timeout=10) as answer:
        assert code(json.loads(answer.read())["Response"]) == "RequestSizeLimitExceeded"


def test_messages_are_in_the_language_asked_for(emulator: EmulatedEndpoint) -> None:
    """Chinese unless English is asked for."""
    english, chinese, default = (
        call(emulator, {}, headers={"X-TC-Language": language})["Error"]["Message"] for language in ("en-US", "zh-CN", "")
    )
    assert english == "Image or Url is missing."
    assert chinese == default == "缺少 Image 或 Url。"


def test_bodies_to_10_mb_are_read_and_larger_ones_refused(emulator: EmulatedEndpoint) -> None:
    """In an envelope, not by a closed connection."""
    assert code(call(emulator, b" " * 10_000_000)) == "InvalidParameter"
    assert code(call(emulator, b" " * 10_000_001)) == "RequestSizeLimitExceeded"


def test_health_and_metrics(emulator: EmulatedEndpoint) -> None:
    """Beside the API."""
    call(emulator, {})
    with urllib.request.urlopen(f"{emulator.url}/healthz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    with urllib.request.urlopen(f"{emulator.url}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert 'detectface_emulator_requests_total{action="",code="MissingParameter.ErrorParameterEmpty"}' in page


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200)
    | st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(max_size=12)).map(
        lambda d: json.dumps(d).encode()
    ),
    st.dictionaries(
        st.sampled_from(["X-TC-Action", "X-TC-Version", "X-TC-Language", "Content-Type", "Authorization"]),
        st.from_regex(r"[ -~]{0,30}", fullmatch=True),
    ),
)
def test_any_request_gets_a_documented_envelope(emulator: EmulatedEndpoint, body: bytes, headers: dict[str, str]) -> None:
    """Never a traceback, never a hang."""
    response = call(emulator, body, headers={name: value.strip() for name, value in headers.items()})
    assert "Error" in response
    assert response["Error"]["Code"] != "InternalError"


SIGNED = (
    "Content-Type: application/json\r\nX-Foo: \xff\r\nX-TC-Timestamp: %d\r\nAuthorization: TC3-HMAC-SHA256 "
    f"Credential={SECRET_ID}/2026-01-01/iai/tc3_request, SignedHeaders=content-type;host;x-foo, Signature={64 * '0'}"
)


@pytest.mark.parametrize(
    ("start", "more", "expected"),
    [
        ("OPTIONS *", "", "InvalidRequest"),
        ("POST /", "Expect: much", "AuthFailure.InvalidAuthorization"),
        ("POST /", "Expect: 100-continue", "AuthFailure.InvalidAuthorization"),
        ("POST /", "Content-Encoding: br", "AuthFailure.InvalidAuthorization"),
        ("POST /", "Content-Encoding: gzip", "AuthFailure.InvalidAuthorization"),
        ("POST /", SIGNED, "AuthFailure.SignatureFailure"),
    ],
)
def test_unusual_http_gets_an_envelope_too(emulator: EmulatedEndpoint, start: str, more: str, expected: str) -> None:
    """What aiohttp would answer by itself, and header bytes that are no text."""
    host, port = emulator.host.split(":")
    more = more.replace("%d", str(int(time.time()))).replace("2026-01-01", time.strftime("%Y-%m-%d", time.gmtime()))
    head = f"{start} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n{more}\r\n".replace("\r\n\r\n", "\r\n")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode("latin-1") + b"\r\n{}")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    if "100-continue" in more:
        going_on, _, answer = answer.partition(b"\r\n\r\n")
        assert going_on == b"HTTP/1.1 100 Continue"
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert code(json.loads(answer.partition(b"\r\n\r\n")[2])["Response"]) == expected


def test_what_is_no_http_leaves_no_traceback(emulator: EmulatedEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """It is the client's mistake."""
    host, port = emulator.host.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.0 400 ")
    assert [record.exc_info for record in caplog.records if record.levelname == "ERROR"] == [None]


def test_raw_bytes_get_an_answer_or_a_closed_connection(emulator: EmulatedEndpoint) -> None:
    """What is not HTTP does not hold the server."""
    host, port = emulator.host.split(":")
    for raw in (
        b"\x16\x03\x01\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"\x00" * 500,
    ):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert code(call(emulator, {})) == "MissingParameter.ErrorParameterEmpty"
