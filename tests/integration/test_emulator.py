"""The DetectFace emulator: its wire against the vendor's official clients, its API against the page, its scripts."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from facequality.detectors.embedded.detector import EmbeddedDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.signature import Canonical, Credential, authorization
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.emulator.scenario import Scenario, ScenarioError, load
from facequality.errors import GateError
from facequality.evaluation import evaluate
from facequality.model import BoundingBox, Detection, DetectOptions, PhotoBytes
from facequality.policy import PRESETS
from facequality.testing import SECRET_ID, SECRET_KEY, EmulatedEndpoint, detectface_emulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.iai.v20200303 import iai_client, iai_client_async, models

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.running import run
from tests.upstream import EXAMPLES

CLIENTS = Path(".cache") / "clients"
PORTRAIT = photos.encode(photos.portrait(), "JPEG", quality=95)
CAT = photos.encode(photos.cat(), "JPEG")


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatedEndpoint]:
    """On a loop of its own, with an engine of its own."""
    with detectface_emulator(detector=EmbeddedDetector(workers=1)) as running:
        yield running


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def call(
    endpoint: EmulatedEndpoint,
    body: Any,
    *,
    key: Credential = Credential(SECRET_ID, SECRET_KEY),  # noqa: B008 - a frozen value
    headers: dict[str, str] | None = None,
    timestamp: int | None = None,
) -> dict[str, Any]:
    """Post a signed request; return the content of Response."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = int(time.time()) if timestamp is None else timestamp
    sent = {"Content-Type": "application/json", "Host": endpoint.host, "X-TC-Action": "DetectFace", "X-TC-Version": "2020-03-03"}
    sent |= {"X-TC-Timestamp": str(stamp), "X-TC-Language": "en-US", **(headers or {})}
    signed = (("content-type", sent["Content-Type"]), ("host", sent["Host"]))
    canonical = Canonical("POST", "", signed, hashlib.sha256(raw).hexdigest())
    sent["Authorization"] = authorization(canonical, key, stamp, "iai")
    sent |= {name: value for name, value in (headers or {}).items() if name == "Authorization"}
    request = urllib.request.Request(f"{endpoint.url}/", raw, sent, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        response: dict[str, Any] = json.loads(answer.read())["Response"]
    assert len(response["RequestId"]) == 36
    return response


def code(response: dict[str, Any]) -> str:
    return str(response["Error"]["Code"]) if "Error" in response else "OK"


# -- the official clients ---------------------------------------------------------------------------------------------


def profile(endpoint: EmulatedEndpoint) -> ClientProfile:
    return ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=endpoint.host))


def sdk_request(photo: bytes) -> models.DetectFaceRequest:
    request = models.DetectFaceRequest()
    request.Image, request.NeedQualityDetection, request.MaxFaceNum = b64(photo), 1, 2
    return request


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_the_official_python_client_is_answered(emulator: EmulatedEndpoint) -> None:
    """Success, an API error with its code, a wrong key, an unknown key, by POST."""
    client = iai_client.IaiClient(credential.Credential(SECRET_ID, SECRET_KEY), "ap-guangzhou", profile(emulator))
    answer = client.DetectFace(sdk_request(PORTRAIT))
    assert (answer.ImageWidth, answer.FaceModelVersion) == (512, "3.0")
    assert answer.FaceInfos[0].FaceQualityInfo.Sharpness > 70
    assert answer.FaceInfos[0].FaceQualityInfo.Completeness.Chin > 70
    for key, photo, expected in (
        ((SECRET_ID, SECRET_KEY), CAT, "InvalidParameterValue.NoFaceInPhoto"),
        ((SECRET_ID, "wrong"), CAT, "AuthFailure.SignatureFailure"),
        (("AKIDnobody", SECRET_KEY), CAT, "AuthFailure.SecretIdNotFound"),
    ):
        client = iai_client.IaiClient(credential.Credential(*key), "", profile(emulator))
        with pytest.raises(TencentCloudSDKException) as caught:
            client.DetectFace(sdk_request(photo))
        assert caught.value.code == expected
        assert len(caught.value.requestId) == 36


def test_the_official_python_client_may_use_get_and_an_endpoint_with_a_scheme(emulator: EmulatedEndpoint) -> None:
    """The query is signed as it is sent; the host is signed with its scheme."""
    by_get = profile(emulator)
    by_get.httpProfile.reqMethod = "GET"
    client = iai_client.IaiClient(credential.Credential(SECRET_ID, SECRET_KEY), "", by_get)
    request = models.DetectFaceRequest()
    request.Url = "https://10.0.0.1/a b.jpg?x=照片".replace(" ", "%20").replace("照片", "%E7%85%A7")
    with pytest.raises(TencentCloudSDKException) as caught:
        client.DetectFace(request)
    assert caught.value.code == "FailedOperation.ImageDownloadError"
    with_scheme = ClientProfile(httpProfile=HttpProfile(endpoint=emulator.url))
    client = iai_client.IaiClient(credential.Credential(SECRET_ID, SECRET_KEY), "", with_scheme)
    assert client.DetectFace(sdk_request(PORTRAIT)).FaceInfos
    unsigned = profile(emulator)
    unsigned.unsignedPayload = True
    client = iai_client.IaiClient(credential.Credential(SECRET_ID, SECRET_KEY), "", unsigned)
    assert client.DetectFace(sdk_request(PORTRAIT)).FaceInfos


async def test_the_official_asynchronous_python_client_is_answered(emulator: EmulatedEndpoint) -> None:
    """It posts to /? and opens a connection a call."""
    key = credential.Credential(SECRET_ID, SECRET_KEY)
    async with iai_client_async.IaiClient(key, "ap-guangzhou", profile(emulator)) as client:
        answer = await client.DetectFace(sdk_request(PORTRAIT))
        assert answer.FaceInfos[0].FaceQualityInfo.Score > 70
        with pytest.raises(TencentCloudSDKException) as caught:
            await client.DetectFace(sdk_request(CAT))
        assert caught.value.code == "InvalidParameterValue.NoFaceInPhoto"


def test_clock_skew_is_what_the_official_client_sees() -> None:
    """Ten minutes apart."""
    with detectface_emulator(Scenario(clock_skew_seconds=600), detector=RecordingDetector(EXAMPLE_2)) as skewed:
        client = iai_client.IaiClient(credential.Credential(SECRET_ID, SECRET_KEY), "", profile(skewed))
        with pytest.raises(TencentCloudSDKException) as caught:
            client.DetectFace(sdk_request(CAT))
        assert caught.value.code == "AuthFailure.SignatureExpire"


def test_the_official_command_line_client_is_answered(emulator: EmulatedEndpoint, tmp_path: Path) -> None:
    """tccli, with a scratch home: an answer, and an error with exit status 255."""
    tccli = CLIENTS / "tccli" / "bin" / "tccli"
    if not tccli.exists():
        pytest.skip("tccli is not installed (make clients)")
    request = tmp_path / "request.json"
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    environ |= {"TENCENTCLOUD_SECRET_ID": SECRET_ID, "TENCENTCLOUD_SECRET_KEY": SECRET_KEY}
    command: list[str | Path] = [tccli.absolute(), "iai", "DetectFace", "--region", "ap-guangzhou", "--endpoint", emulator.url]
    command += ["--version", "2020-03-03", "--cli-input-json", f"file://{request}"]
    for photo, status, expected in ((PORTRAIT, 0, '"Sharpness"'), (CAT, 255, "InvalidParameterValue.NoFaceInPhoto")):
        request.write_text(json.dumps({"Image": b64(photo), "NeedQualityDetection": 1}))
        done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, expected in done.stdout + done.stderr) == (status, True), done.stderr


def test_the_official_node_client_is_answered(emulator: EmulatedEndpoint, tmp_path: Path) -> None:
    """It signs the host without its port, and takes the service's name from the endpoint."""
    modules = CLIENTS / "node" / "node_modules"
    if not modules.exists():
        pytest.skip("tencentcloud-sdk-nodejs is not installed (make clients)")
    script = Path(__file__).parent / "detectface.mjs"

    def run(photo: bytes, secret_key: str) -> dict[str, Any]:
        (tmp_path / "photo.jpg").write_bytes(photo)
        command: list[str | Path] = [
            "node",
            script,
            modules.parent.absolute(),
            emulator.host,
            SECRET_ID,
            secret_key,
            tmp_path / "photo.jpg",
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    assert run(PORTRAIT, SECRET_KEY)["FaceInfos"][0]["FaceQualityInfo"]["Sharpness"] > 70
    assert run(CAT, SECRET_KEY)["error"] == "InvalidParameterValue.NoFaceInPhoto"
    assert run(CAT, "wrong")["error"] == "AuthFailure.SignatureFailure"


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
    for policy in (PRESETS["loose"], PRESETS["normal"], PRESETS["enroll"]):
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
    assert code(call(emulator, b" " * 9_999_000)) == "InvalidParameter"
    assert code(call(emulator, b" " * 10_000_100)) == "RequestSizeLimitExceeded"


def test_health_and_metrics(emulator: EmulatedEndpoint) -> None:
    """Beside the API."""
    call(emulator, {})
    with urllib.request.urlopen(f"{emulator.url}/healthz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    with urllib.request.urlopen(f"{emulator.url}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert 'detectface_emulator_requests_total{code="MissingParameter.ErrorParameterEmpty"}' in page


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


# -- scenarios --------------------------------------------------------------------------------------------------------


def scripted(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("number", [1, 2])
def test_the_pages_examples_ship_as_scenarios(number: int) -> None:
    """Word for word."""
    with detectface_emulator(f"example-{number}", detector=RecordingDetector(EXAMPLE_2)) as running:
        assert call(running, {"Image": b64(CAT)}) == json.loads(EXAMPLES[number])["Response"]


def test_every_shipped_scenario_loads() -> None:
    """By its name."""
    for name in ("example-1", "example-2", "rough-day"):
        assert load(Path(name)).rules


def test_rules_match_by_photo_by_order_and_by_chance(tmp_path: Path) -> None:
    """The first that matches is applied; the same seed gives the same answers."""
    import hashlib

    file = scripted(
        tmp_path,
        f"""
        seed: 3
        rules:
          - match: {{image_sha256: "{hashlib.sha256(CAT).hexdigest()[:12]}"}}
            action: {{error: InternalError}}
          - match: {{calls: [2, 4]}}
            action: {{error: FailedOperation.ServerError}}
          - match: {{after: 5, probability: 0.5}}
            action: {{error: FailedOperation.RequestTimeout}}
          - action: {{example: 2}}
        """,
    )

    def run() -> list[str]:
        with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
            first = code(call(running, {"Image": b64(CAT)}))
            return [first, *(code(call(running, {"Image": b64(PORTRAIT)})) for _ in range(20))]

    codes = run()
    assert codes[:5] == ["InternalError", "FailedOperation.ServerError", "OK", "FailedOperation.ServerError", "OK"]
    assert 3 < codes[5:].count("FailedOperation.RequestTimeout") < 14
    assert run() == codes


FAULTS = {
    "{reset: before}": "UPSTREAM_NETWORK",
    "{reset: within}": "UPSTREAM_NETWORK",
    "{http_status: 500, body: oops}": "UPSTREAM_HTTP_STATUS",
    "{body: '<html>'}": "UPSTREAM_MALFORMED",
    "{truncate: 100}": "UPSTREAM_MALFORMED",
    "{oversize: 3000000}": "UPSTREAM_MALFORMED",
    "{error: RequestLimitExceeded}": "UPSTREAM_RATE_LIMIT",
    "{error: ResourceUnavailable.InArrears}": "UPSTREAM_ACCOUNT",
    "{response: {ImageWidth: 1}}": "UPSTREAM_MALFORMED",
}


@pytest.mark.parametrize("action", FAULTS)
async def test_scripted_faults_are_what_our_detector_makes_of_them(tmp_path: Path, action: str) -> None:
    """And the call after it is answered."""
    file = scripted(tmp_path, f"rules: [{{match: {{calls: [1]}}, action: {action}}}, {{action: {{example: 2}}}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), CloudOptions(endpoint=running.url))
        with pytest.raises(GateError) as caught:
            await detector.detect(PhotoBytes(CAT), DetectOptions())
        assert caught.value.reason == FAULTS[action]
        assert isinstance(await detector.detect(PhotoBytes(CAT), DetectOptions()), Detection)
        assert running.calls == 2
        await detector.aclose()


def test_an_oversized_answer_has_the_size_that_is_asked_for(tmp_path: Path) -> None:
    """Though it leaves in pieces."""
    file = scripted(tmp_path, "rules: [{action: {oversize: 200001}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        with pytest.raises(json.JSONDecodeError) as caught:
            call(running, {"Image": b64(CAT)})
        assert caught.value.doc == " " * 200_001


async def test_hanging_and_dripping_take_their_time(tmp_path: Path) -> None:
    """Until the caller gives up."""
    file = scripted(
        tmp_path,
        "rules: [{match: {calls: [1]}, action: {hang: true}}, {match: {calls: [2]}, action: {drip: 20}}, {action: {example: 2}}]",
    )
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), CloudOptions(endpoint=running.url))
        for photo in (CAT, PORTRAIT):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await detector.detect(PhotoBytes(photo), DetectOptions())
        assert isinstance(await detector.detect(PhotoBytes(CAT), DetectOptions()), Detection)
        await detector.aclose()


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_reset_is_a_reset(tmp_path: Path, when: str) -> None:
    """RST on the wire, not a polite end."""
    file = scripted(tmp_path, f"rules: [{{action: {{reset: {when}}}}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running, pytest.raises(ConnectionResetError):
        call(running, {"Image": b64(CAT)})


def test_an_emulator_whose_user_fails_stops_listening() -> None:
    """The port is free again."""
    port = 0

    def use() -> None:
        nonlocal port
        with detectface_emulator("example-2", detector=RecordingDetector(EXAMPLE_2)) as running:
            port = int(running.host.rsplit(":", 1)[1])
            raise LookupError

    with pytest.raises(LookupError):
        use()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_latency_and_rate_limits(tmp_path: Path) -> None:
    """A fixed latency is kept; over the rate there is RequestLimitExceeded."""
    file = scripted(tmp_path, "latency: {seconds: 0.1}\nrate_limit: {qps: 5}\nrules: [{action: {example: 2}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        started = time.perf_counter()
        codes = [code(call(running, {"Image": b64(CAT)}))]
        assert time.perf_counter() - started >= 0.1

        async def burst() -> list[str]:
            return [
                code(each)
                for each in await asyncio.gather(*(asyncio.to_thread(call, running, {"Image": b64(CAT)}) for _ in range(16)))
            ]

        codes += asyncio.run(burst())
        assert 4 <= codes.count("OK") <= 9
        assert codes.count("RequestLimitExceeded") == len(codes) - codes.count("OK")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{action: {eror: InternalError}}]", "rules.0.action.eror: Extra inputs are not permitted"),
        ("rules: [{action: {error: Internal}}]", "'Internal' is not a code that the vendor documents"),
        ("rules: [{action: {error: InternalError, reset: before}}]", "give one of error, reset"),
        ("rules: [{match: {probability: 2}}]", "rules.0.match.probability: Input should be less than or equal to 1"),
        ("latency: {seconds: 1, median: 2, p99: 3}", "give seconds, or between, or median and p99"),
        ("latency: {between: [2, 1]}", "the first is over the second"),
        ("rate_limit: {qps: 1, code: Nonsense}", "'Nonsense' is not a code that the vendor documents"),
        ("seed: 1\nseed: 2", "scenario.yaml:2: the key 'seed' stands twice"),
        ("seed: high", "seed: Input should be a valid integer"),
        ("a: [", "scenario.yaml:1: is not YAML"),
        ("", "is empty"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_path_and_reason(tmp_path: Path, text: str, message: str) -> None:
    """Before anything listens."""
    with pytest.raises(ScenarioError) as caught:
        load(scripted(tmp_path, text))
    assert message in str(caught.value)


# -- weight -----------------------------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_1000_large_photos_from_64_clients_leave_no_growth(tmp_path: Path) -> None:
    """Measured on a process of its own: the second half of the 1,000 requests adds nothing to its memory."""
    file = scripted(tmp_path, "rules: [{action: {example: 2}}]")
    command: list[str | Path] = [
        Path(sys.executable).parent / "face-quality-gate",
        "emulate",
        "--address",
        "127.0.0.1:0",
        "--scenario",
        file,
    ]
    command += ["--secret-id", SECRET_ID, "--secret-key", SECRET_KEY]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        drain = asyncio.create_task(process.stderr.read())
        endpoint = CloudOptions(endpoint=f"http://127.0.0.1:{started['port']}")
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), endpoint)
        photo = PhotoBytes(PORTRAIT + b"\x00" * (3_900_000 - len(PORTRAIT)))

        async def burst(count: int) -> int:
            calls = iter(range(count))

            async def worker() -> None:
                for _ in calls:
                    assert isinstance(await detector.detect(photo, DetectOptions()), Detection)

            await asyncio.gather(*(worker() for _ in range(64)))
            return resident_bytes(process.pid)

        # What is resident swings with how the bodies overlap: growth is what the later bursts all have over the earlier ones.
        after = [await burst(250) for _ in range(4)]
        assert min(after[2:]) <= 1.2 * max(after[:2]), after
        await detector.aclose()
    finally:
        process.terminate()
        await process.wait()
    await drain
    assert process.returncode == 0


def test_the_command_line_asks_for_authentication(tmp_path: Path) -> None:
    """--no-auth must be asked for; a wrong scenario and a wrong key file are said in words."""
    result = run("emulate")
    assert (result.exit_code, "ask for --no-auth" in result.output) == (2, True)
    result = run("emulate", "--no-auth", "--scenario", scripted(tmp_path, yaml.safe_dump({"sed": 1})))
    assert (result.exit_code, "sed: Extra inputs" in result.output) == (2, True)
    keys = tmp_path / "keys.json"
    keys.write_text('{"AKID": {"secret": "x"}}')
    result = run("emulate", "--keys", keys)
    assert (result.exit_code, "AKID: must be" in result.output) == (2, True)
    keys.write_text("AKID")
    result = run("emulate", "--keys", keys)
    assert (result.exit_code, f"--keys {keys}: is not JSON" in result.output) == (2, True)
    for name, text in (("keys.json", "must be a PEM file"), ("missing.pem", "cannot be read: No such file")):
        result = run("emulate", "--no-auth", "--tls-certificate", tmp_path / name)
        assert (result.exit_code, f"--tls-certificate {tmp_path / name}: {text}" in result.output) == (2, True)
    result = run("emulate", "--no-auth", "--address", "nowhere")
    assert (result.exit_code, "must be HOST:PORT" in result.output) == (2, True)
