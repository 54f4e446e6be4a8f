"""The emulator's wire against the vendor's official clients."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from facequality.emulator.scenario import Scenario
from facequality.testing import SECRET_ID, SECRET_KEY, EmulatedEndpoint, detectface_emulator
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.iai.v20200303 import iai_client, iai_client_async, models

from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.emulating import CAT, CLIENTS, PORTRAIT, b64


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
