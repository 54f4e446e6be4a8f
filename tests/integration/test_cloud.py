"""The cloud detector over real HTTP and HTTPS against a loopback DetectFace endpoint that verifies the signature."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from facequality.detectors.sharing import SharingDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.credentials import FileCredentials
from facequality.detectors.tencentcloud.signature import Credential
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.errors import ErrorReason, GateError, OperatorFault, Retry
from facequality.image import MAX_BYTES
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused, PhotoUri
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

from tests.running import details, failure, gate, portrait
from tests.upstream import EXAMPLES, SECRET_ID, SECRET_KEY, Received, Upstream, answer, answering, error, upstream

PORTRAIT = portrait()
KEY = Credential(SECRET_ID, SECRET_KEY)
R = ErrorReason


def large_jpeg(size: int = MAX_BYTES) -> bytes:
    """A sound JPEG of an exact size: trailing bytes are ignored."""
    return PORTRAIT + b"\x00" * (size - len(PORTRAIT))


@pytest.fixture
async def endpoint() -> AsyncIterator[Upstream]:
    async with upstream() as listening:
        yield listening


@asynccontextmanager
async def cloud(endpoint: Upstream, http: HttpOptions | None = None, **options: Any) -> AsyncIterator[TencentCloudDetector]:
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=endpoint.url, **options), HttpClient(http))
    try:
        yield detector
    finally:
        await detector.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


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


async def close_after_the_request(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


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


async def test_a_hanging_vendor_ends_at_the_callers_deadline(endpoint: Upstream) -> None:
    """With details, and the next call succeeds."""
    hang = asyncio.Event()

    async def hanging(_: Received, __: asyncio.StreamWriter) -> None:
        await hang.wait()

    endpoint.exchange = hanging
    async with gate(endpoint.url) as served:
        started = asyncio.get_running_loop().time()
        request = pb.CheckFaceQualityRequest(image=PORTRAIT, policy="loose")
        failed = await failure(served.stub.CheckFaceQuality(request, timeout=0.5))
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


# -- the pool --------------------------------------------------------------------------------------------------------


async def test_a_connection_that_died_idle_is_replaced_without_a_second_paid_call(endpoint: Upstream) -> None:
    """The vendor closes idle connections; the next call opens one and is sent once."""
    async with cloud(endpoint) as detector:
        for _ in range(3):
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
            for writer in list(endpoint.open_writers):
                writer.close()
            async with asyncio.timeout(2):
                while endpoint.open_writers:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
    assert len(endpoint.received) == 3
    assert endpoint.connections == 3


async def test_a_connection_that_dies_as_it_is_used_again_is_replaced_and_each_request_counted(endpoint: Upstream) -> None:
    """The vendor closes right after each answer; the end may not be noticed before the next request leaves."""

    async def closing(_: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, EXAMPLES[2])
        writer.close()

    endpoint.exchange = closing
    paid: list[None] = []
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=endpoint.url), on_paid_call=lambda: paid.append(None))
    for _ in range(50):
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)
    await detector.aclose()
    # What the vendor has read of a connection that it then closed nobody knows: each request that left counts as paid.
    assert len(endpoint.received) == 50
    assert 50 <= len(paid) <= 100


async def test_a_fresh_connection_that_dies_is_not_replaced(endpoint: Upstream) -> None:
    """The request may have been processed: once is enough."""
    endpoint.exchange = close_after_the_request
    async with cloud(endpoint) as detector:
        with pytest.raises(GateError):
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert len(endpoint.received) == 1


async def test_the_pool_is_as_large_as_configured(endpoint: Upstream) -> None:
    """64 callers share 8 connections."""

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await answer(writer, EXAMPLES[2])

    endpoint.exchange = slow
    async with cloud(endpoint, HttpOptions(connections=8)) as detector:
        await asyncio.gather(*(detector.detect(PhotoBytes(b"x"), DetectOptions()) for _ in range(64)))
    assert endpoint.connections == 8


async def test_cancelled_calls_give_their_slots_back(endpoint: Upstream) -> None:
    """4 s of cancelled calls over 10 connections, then 10 of 10 probes are answered."""

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await answer(writer, EXAMPLES[2])

    endpoint.exchange = slow
    async with cloud(endpoint, HttpOptions(connections=10)) as detector:
        loop = asyncio.get_running_loop()
        end = loop.time() + 4

        async def impatient(seconds: float) -> None:
            while loop.time() < end:
                try:
                    async with asyncio.timeout(seconds):
                        await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
                except TimeoutError:
                    pass

        await asyncio.gather(*(impatient(0.005 + 0.004 * worker) for worker in range(20)))
        endpoint.exchange = answering(EXAMPLES[2])
        async with asyncio.timeout(5):
            probes = await asyncio.gather(*(detector.detect(PhotoBytes(PORTRAIT), DetectOptions()) for _ in range(10)))
    assert all(isinstance(probe, Detection) for probe in probes)


async def test_64_concurrent_checks_open_at_most_64_connections_over_5000_calls(endpoint: Upstream) -> None:
    """No churn: connections are kept and used again."""
    async with cloud(endpoint, HttpOptions(connections=64)) as detector:
        calls = iter(range(5000))

        async def worker() -> None:
            for _ in calls:
                await detector.detect(PhotoBytes(b"x"), DetectOptions())

        await asyncio.gather(*(worker() for _ in range(64)))
    assert len(endpoint.received) == 5000
    assert endpoint.connections <= 64


async def test_large_photos_are_hashed_off_the_event_loop(endpoint: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones are not worth a thread."""
    import threading

    from facequality.detectors.tencentcloud.protocol import RequestBody

    hashed_on: list[int] = []
    original = RequestBody.sha256

    def sha256(body: RequestBody) -> str:
        hashed_on.append(threading.get_ident())
        return original(body)

    monkeypatch.setattr(RequestBody, "sha256", sha256)
    async with cloud(endpoint) as detector:
        await detector.detect(PhotoBytes(b"small"), DetectOptions())
        await detector.detect(PhotoBytes(large_jpeg()), DetectOptions())
    assert hashed_on[0] == threading.get_ident()
    assert hashed_on[1] != threading.get_ident()


async def test_requests_go_through_a_configured_proxy(endpoint: Upstream) -> None:
    """With its credentials; the environment's proxies are ignored."""
    async with cloud(Upstream(url="http://vendor.example"), HttpOptions(proxy=endpoint.url.replace("//", "//u:p@"))) as detector:
        await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    (request,) = endpoint.received
    assert request.line == "POST http://vendor.example/ HTTP/1.1"
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert request.headers["host"] == "vendor.example"
    request.verify()


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 99999 23:59:59 GMT", "Mon, 01 Jan 2001 00:00:00 GMT", "no date"]
)
async def test_a_clock_that_cannot_be_the_vendors_is_not_believed(endpoint: Upstream, date: str) -> None:
    """One bad answer must not spoil every signature after it."""

    async def expired(_: Received, writer: asyncio.StreamWriter) -> None:
        body = error("AuthFailure.SignatureExpire")
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    endpoint.exchange = expired
    async with cloud(endpoint) as detector:
        with pytest.raises(OperatorFault) as caught:
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
        assert caught.value.reason is R.UPSTREAM_CLOCK_SKEW
        endpoint.exchange = answering(EXAMPLES[2])
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)
        endpoint.received[-1].verify()


# -- credentials -----------------------------------------------------------------------------------------------------


def test_a_rotated_key_file_is_read_again(tmp_path: Path) -> None:
    """Without a restart; white space is dropped; an emptied one is refused without its text."""
    import os

    secret_id, secret_key, token = (tmp_path / name for name in ("id", "key", "token"))
    for path, text in ((secret_id, "id-1\n"), (secret_key, " key-1 "), (token, "token-1")):
        path.write_text(text)
    source = FileCredentials(secret_id, secret_key, token)
    assert source() == Credential("id-1", "key-1", "token-1")
    assert source() is source()
    secret_key.write_text("key-2")
    os.utime(secret_key, ns=(1, 1))
    assert source() == Credential("id-1", "key-2", "token-1")
    copied = tmp_path / "copied"
    copied.write_text("key-3")
    os.utime(copied, ns=(1, 1))
    copied.replace(secret_key)
    assert source() == Credential("id-1", "key-3", "token-1"), "a copy that kept its time"
    secret_key.write_text("")
    os.utime(secret_key, ns=(2, 2))
    with pytest.raises(OperatorFault, match=r"TENCENTCLOUD_SECRET_KEY .* is empty"):
        source()
    secret_key.unlink()
    with pytest.raises(OperatorFault, match="cannot be read"):
        source()


async def test_a_photo_refused_by_the_vendor_is_no_error(endpoint: Upstream) -> None:
    """The port gives a value."""
    endpoint.exchange = answering(error("FailedOperation.ImageSizeExceed"))
    async with cloud(endpoint) as detector:
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), PhotoRefused)
