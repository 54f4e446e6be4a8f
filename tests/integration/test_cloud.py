"""The cloud detector over real HTTP and HTTPS against a loopback DetectFace endpoint that verifies the signature."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from facequality.detectors.sharing import SharingDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.detectors.transport import HttpOptions
from facequality.errors import ErrorReason, GateError, OperatorFault, Retry
from facequality.image import MAX_BYTES
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused, PhotoUri
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

from tests.cloud import KEY, PORTRAIT, R, close_after_the_request, cloud, large_jpeg, server_tls
from tests.running import details, failure, gate
from tests.upstream import EXAMPLES, SECRET_ID, SECRET_KEY, Received, Upstream, answer, answering, error, upstream

# -- the contract ----------------------------------------------------------------------------------------------------

EXPECTED = {
    1: {policy: ["MEASUREMENT_MISSING"] for policy in ("loose", "normal", "enroll", "strict")},
    2: {
        "loose": [],
        "normal": ["CHIN_OCCLUDED"],
        "enroll": ["CHEEK_OCCLUDED", "CHIN_OCCLUDED", "TOO_BLURRY", "LOW_SCORE"],
        "strict": [
            "FACE_TOO_SMALL", "MASK_WORN", "CHEEK_OCCLUDED", "CHIN_OCCLUDED", "POSE_PITCH", "TOO_BLURRY", "LOW_SCORE",
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_documented_examples_give_the_contracts_verdicts(scheme: str, authority: trustme.CA, tmp_path: Path) -> None:
    """Both examples, all presets, over HTTP and over HTTPS with a private certificate authority."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = server_tls(authority) if scheme == "https" else None
    more: dict[str, Any] = {"tencentcloud_ca_file": ca_file} if scheme == "https" else {}
    async with upstream(tls) as endpoint, gate(endpoint.url, **more) as served:
        for number, by_policy in EXPECTED.items():
            endpoint.exchange = answering(EXAMPLES[number])
            for policy, reasons in by_policy.items():
                response = await served.check(policy)
                assert [verdict_pb2.Reason.Name(r).removeprefix("REASON_") for r in response.reasons] == reasons
                assert response.detector.name == "tencentcloud"
                assert response.detector.cloud_calibrated
                assert response.upstream_request_id
                endpoint.received[-1].verify()
                assert endpoint.received[-1].document["NeedFaceAttributes"] == int(policy == "strict")
        assert served.paid == len(endpoint.received) == 8


async def test_the_wire_is_what_the_vendor_asks_for(endpoint: Upstream) -> None:
    """Request line, headers and body, byte by byte where they are defined."""
    async with cloud(endpoint, region="ap-guangzhou", language="zh-CN") as detector:
        options = DetectOptions(max_face_num=2, need_face_attributes=True)
        answered = await detector.detect(PhotoBytes(b"\xff\xd8\xff\xe0"), options)
    assert isinstance(answered, Detection)
    (request,) = endpoint.received
    request.verify()
    assert request.line == "POST / HTTP/1.1"
    host = endpoint.url.removeprefix("http://")
    timestamp = request.headers["x-tc-timestamp"]
    assert re.fullmatch(r"\d{10}", timestamp)
    assert {name: value for name, value in request.headers.items() if name not in {"authorization", "user-agent"}} == {
        "host": host,
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "x-tc-action": "DetectFace",
        "x-tc-version": "2020-03-03",
        "x-tc-timestamp": timestamp,
        "x-tc-region": "ap-guangzhou",
        "x-tc-language": "zh-CN",
    }
    assert request.body == (
        b'{"Image":"/9j/4A==","MaxFaceNum":2,"MinFaceSize":34,"NeedFaceAttributes":1,"NeedQualityDetection":1,'
        b'"FaceModelVersion":"3.0","NeedRotateDetection":0}'
    )


async def test_tokens_unsigned_payloads_and_trace_contexts_are_sent(endpoint: Upstream) -> None:
    """Each in its header; the signature covers what it says."""
    from facequality import correlation

    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    options = CloudOptions(endpoint=endpoint.url, unsigned_payload=True, face_model_version="2.0")
    cloud = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY, "the-token"), options)
    detector = SharingDetector(cloud, cloud.fingerprint)
    token = correlation.current.set(correlation.Correlation("r", trace))
    try:
        await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    finally:
        correlation.current.reset(token)
        await detector.aclose()
    (request,) = endpoint.received
    request.verify()
    assert request.headers["x-tc-token"] == "the-token"
    assert request.headers["x-tc-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert request.headers["traceparent"] == trace
    assert request.document["FaceModelVersion"] == "2.0"


async def test_the_largest_photo_goes_through_and_one_byte_more_does_not(endpoint: Upstream) -> None:
    """3,932,160 bytes are paid for; 3,932,161 are a verdict and are not."""
    async with gate(endpoint.url) as served:
        response = await served.check("loose", large_jpeg())
        assert response.verdict == verdict_pb2.VERDICT_ACCEPTED
        (request,) = endpoint.received
        request.verify()
        assert len(str(request.document["Image"])) == 5 * 1024 * 1024
        assert "transfer-encoding" not in request.headers
        refused = await served.check("loose", large_jpeg(MAX_BYTES + 1))
        assert [verdict_pb2.Reason.Name(r) for r in refused.reasons] == ["REASON_IMAGE_TOO_LARGE"]
        assert served.paid == len(endpoint.received) == 1


async def test_attributes_that_nobody_asked_for_are_not_there(endpoint: Upstream) -> None:
    """The vendor fills them with zeros, which would be read as answers."""
    async with cloud(endpoint) as detector:
        for asked in (False, True):
            answer = await detector.detect(PhotoBytes(PORTRAIT), DetectOptions(need_face_attributes=asked))
            assert isinstance(answer, Detection)
            assert (answer.faces[0].attributes is not None) is asked


async def test_vendor_errors_arrive_with_code_and_request_id(endpoint: Upstream) -> None:
    """As a verdict or as an error; the RequestId is in both, the vendor's text in neither."""
    async with gate(endpoint.url) as served:
        endpoint.exchange = answering(error("InvalidParameterValue.NoFaceInPhoto"))
        response = await served.check()
        assert [verdict_pb2.Reason.Name(r) for r in response.reasons] == ["REASON_NO_FACE"]
        assert response.upstream_code == "InvalidParameterValue.NoFaceInPhoto"
        assert response.upstream_request_id == "req-1"
        endpoint.exchange = answering(error("AuthFailure.SignatureFailure"))
        failed = await failure(served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT)))
        assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION
        info: Any = details(failed)["ErrorInfo"]
        assert info.reason == "UPSTREAM_CREDENTIALS"
        assert dict(info.metadata) == {"upstream_code": "AuthFailure.SignatureFailure", "upstream_request_id": "req-1"}
        assert "secret text" not in repr(failed)
        assert served.outcomes("credentials") == 1
        assert served.outcomes("photo_refused") == 1


async def test_a_uri_is_checked_and_passed_on(endpoint: Upstream) -> None:
    """The vendor downloads it; a private one is refused and not paid for."""
    async with gate(endpoint.url, photo_uri_hosts="photos.example.com") as served:
        await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(uri="https://photos.example.com/a.jpg?x=1"))
        assert endpoint.received[0].document["Url"] == "https://photos.example.com/a.jpg?x=1"
        for uri in ("https://10.0.0.1/a", "https://elsewhere.example.com/a"):
            failed = await failure(served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(uri=uri)))
            info: Any = details(failed)["ErrorInfo"]
            assert info.reason == "URL_FORBIDDEN"
        assert served.paid == 1


# -- what goes wrong -------------------------------------------------------------------------------------------------


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def reset_within_the_answer(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + EXAMPLES[2][:100])
    await writer.drain()
    writer.transport.abort()


async def not_http(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    await writer.drain()


async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n")
    for _chunk in range(1600):
        writer.write(b" " * 65536)
        await writer.drain()


FAULTS: dict[str, tuple[Callable[[Received, asyncio.StreamWriter], Awaitable[None]], ErrorReason, Retry]] = {
    "reset before the answer": (reset, R.UPSTREAM_NETWORK, Retry.ONCE),
    "reset within the answer": (reset_within_the_answer, R.UPSTREAM_NETWORK, Retry.ONCE),
    "closed without an answer": (close_after_the_request, R.UPSTREAM_NETWORK, Retry.ONCE),
    "not HTTP": (not_http, R.UPSTREAM_MALFORMED, Retry.ONCE),
    "500 with HTML": (answering(b"<html>oops</html>", "500 Oops", "text/html"), R.UPSTREAM_HTTP_STATUS, Retry.YES),
    "429": (answering(b"", "429 Too Many Requests"), R.UPSTREAM_HTTP_STATUS, Retry.THROTTLE),
    "502 with 2 MB": (answering(b"x" * 2_000_000, "502 Bad Gateway"), R.UPSTREAM_HTTP_STATUS, Retry.YES),
    "302": (answering(b"", "302 Found\r\nLocation: http://127.0.0.1:1/"), R.UPSTREAM_HTTP_STATUS, Retry.YES),
    "truncated JSON": (answering(EXAMPLES[2][:200]), R.UPSTREAM_MALFORMED, Retry.ONCE),
    "empty body": (answering(b""), R.UPSTREAM_MALFORMED, Retry.ONCE),
    "100 MB body": (endless, R.UPSTREAM_MALFORMED, Retry.ONCE),
    "missing RequestId": (answering(b'{"Response": {"FaceInfos": []}}'), R.UPSTREAM_MALFORMED, Retry.ONCE),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_typed_in_time_and_the_next_call_succeeds(endpoint: Upstream, name: str) -> None:
    """Each counted as paid once: it may have been."""
    exchange, reason, retry = FAULTS[name]
    paid: list[None] = []
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=endpoint.url), on_paid_call=lambda: paid.append(None))
    endpoint.exchange = exchange
    async with asyncio.timeout(5):
        with pytest.raises(GateError) as caught:
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert (caught.value.reason, caught.value.retry) == (reason, retry), caught.value
    if exchange is endless:
        assert "larger than" in str(caught.value)
    endpoint.exchange = answering(EXAMPLES[2])
    assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)
    assert len(paid) == 2
    await detector.aclose()


async def test_a_reset_while_the_body_is_being_sent_may_have_been_paid(endpoint: Upstream) -> None:
    """The vendor had the head and a part of the photo."""
    endpoint.before_body = reset
    async with cloud(endpoint) as detector:
        with pytest.raises(GateError) as caught:
            await detector.detect(PhotoBytes(large_jpeg()), DetectOptions())
        assert (caught.value.reason, caught.value.retry) == (R.UPSTREAM_NETWORK, Retry.ONCE)
        endpoint.before_body = None
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)


@pytest.mark.parametrize(
    ("url", "text"),
    [("http://127.0.0.1:1", "refused"), ("http://no-such-host.invalid", "does not resolve")],
)
async def test_what_never_left_is_not_paid(url: str, text: str) -> None:
    """Refused, or no such name: to be tried again freely."""
    paid: list[None] = []
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=url), on_paid_call=lambda: paid.append(None))
    with pytest.raises(GateError, match=text) as caught:
        await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert (caught.value.reason, caught.value.retry) == (R.UPSTREAM_NETWORK, Retry.YES)
    assert paid == []
    await detector.aclose()


async def test_an_untrusted_certificate_is_a_network_fault(authority: trustme.CA) -> None:
    """Never ignored, never paid, and said in words."""
    async with upstream(server_tls(authority)) as endpoint, cloud(endpoint) as detector:
        with pytest.raises(GateError, match="certificate is not trusted") as caught:
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
        assert caught.value.retry is Retry.YES
        assert endpoint.received == []


async def test_plain_text_on_a_tls_port_is_a_network_fault(endpoint: Upstream) -> None:
    """A handshake that fails."""
    endpoint.url = endpoint.url.replace("http://", "https://")
    async with cloud(endpoint, HttpOptions(connect_seconds=1)) as detector:
        with pytest.raises(GateError) as caught:
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
        assert (caught.value.reason, caught.value.retry) == (R.UPSTREAM_NETWORK, Retry.YES)


@pytest.mark.usefixtures("wide_margin")
async def test_a_hanging_vendor_ends_at_the_callers_deadline(endpoint: Upstream) -> None:
    """With details, and the next call succeeds."""
    hang = asyncio.Event()

    async def hanging(_: Received, __: asyncio.StreamWriter) -> None:
        await hang.wait()

    endpoint.exchange = hanging
    async with gate(endpoint.url) as served:
        started = asyncio.get_running_loop().time()
        request = pb.CheckFaceQualityRequest(image=PORTRAIT, policy="loose")
        failed = await failure(served.stub.CheckFaceQuality(request, timeout=0.8))
        assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "ErrorInfo" in details(failed)
        assert asyncio.get_running_loop().time() - started < 2
        assert served.outcomes("deadline") == 1
        endpoint.exchange = answering(EXAMPLES[2])
        assert (await served.check("loose")).verdict == verdict_pb2.VERDICT_ACCEPTED
    hang.set()


async def test_unusable_credentials_are_the_operators_fault() -> None:
    """Nothing is sent."""

    def none() -> Credential:
        raise OperatorFault(R.UPSTREAM_CREDENTIALS, "no key")

    detector = TencentCloudDetector(none)
    with pytest.raises(OperatorFault):
        await detector.detect(PhotoUri("https://example.com/a"), DetectOptions())
    await detector.aclose()


async def test_bytes_that_nobody_asked_for_are_not_the_next_photos_answer(endpoint: Upstream) -> None:
    """A stray second answer on an idle connection: the connection is dropped, and nobody's verdict is somebody else's."""

    async def twice(_: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, error("InvalidParameterValue.NoFaceInPhoto"))
        if len(endpoint.received) == 1:
            await asyncio.sleep(0.05)
            await answer(writer, EXAMPLES[2])

    endpoint.exchange = twice
    async with cloud(endpoint) as detector:
        for _ in range(2):
            assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), PhotoRefused)
            await asyncio.sleep(0.15)
    assert endpoint.connections == 2


async def test_a_spent_deadline_is_not_paid(endpoint: Upstream) -> None:
    """Nothing leaves, also on a warm connection."""
    async with gate(endpoint.url) as served:
        await served.check("loose")
        for _ in range(10):
            request = pb.CheckFaceQualityRequest(image=PORTRAIT, policy="loose")
            failed = await failure(served.stub.CheckFaceQuality(request, timeout=0.015))
            assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert served.paid == len(endpoint.received) == 1


async def test_a_proxy_that_never_answers_is_given_up_on() -> None:
    """The limit holds for the whole making of a connection; nothing was sent."""
    async with (
        upstream() as mute,
        cloud(Upstream(url="https://vendor.example"), HttpOptions(proxy=mute.url, connect_seconds=0.3)) as detector,
    ):
        hang = asyncio.Event()

        async def silent(_: Received, __: asyncio.StreamWriter) -> None:
            await hang.wait()

        mute.exchange = silent
        async with asyncio.timeout(3):
            with pytest.raises(GateError) as caught:
                await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
        assert (caught.value.reason, caught.value.retry) == (R.UPSTREAM_NETWORK, Retry.YES)
        assert mute.received[0].line == "CONNECT vendor.example:443 HTTP/1.1"
        hang.set()
