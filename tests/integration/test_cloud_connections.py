"""The cloud detector's connections, proxies and clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
import structlog
from facequality.breaker import Breaker, BreakerRules, State
from facequality.detectors import resilience
from facequality.detectors.resilience import BreakingDetector, RetryingDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.transport import LARGE_REST, HttpClient, HttpOptions
from facequality.errors import GateError, OperatorFault, Overloaded, UpstreamFault, UpstreamSilent
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused, PhotoUri

from tests.cloud import KEY, PORTRAIT, R, answering_after, close_after_the_request, cloud, large_jpeg
from tests.running import no_descriptor
from tests.upstream import EXAMPLES, Received, Upstream, answer, answering, error

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


async def requests_of_a_failing_check(endpoint: Upstream) -> int:
    """After one that is answered, whose connection is kept."""
    async with cloud(endpoint) as detector:
        retrying = RetryingDetector(detector, jitter=lambda *_: 0.0)
        assert isinstance(await retrying.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)
        with pytest.raises(GateError):
            await retrying.detect(PhotoBytes(PORTRAIT), DetectOptions())
    return len(endpoint.received) - 1


@pytest.mark.parametrize(("code", "most"), [("InternalError", 4), ("RequestLimitExceeded", 2)])
async def test_replaced_connections_do_not_multiply_retries(
    endpoint: Upstream, code: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor that fails, and whose kept connections die: what left twice is followed by fewer attempts."""
    monkeypatch.setattr(resilience, "THROTTLED_WAIT", 0.0)
    ill: set[int] = set()

    async def exchange(received: Received, writer: asyncio.StreamWriter) -> None:
        if len(endpoint.received) == 1:
            await answer(writer, EXAMPLES[2])
        elif received.connection in ill or received.connection == 1:
            writer.close()
        else:
            ill.add(received.connection)
            await answer(writer, error(code))

    endpoint.exchange = exchange
    assert await requests_of_a_failing_check(endpoint) == most


async def test_what_left_twice_is_retried_once_whatever_the_second_attempt_brings(endpoint: Upstream) -> None:
    """The vendor's plain failure in between does not give a third attempt, on a connection that may die once more."""
    dying = {2, 5}

    async def exchange(_: Received, writer: asyncio.StreamWriter) -> None:
        if len(endpoint.received) in dying:
            writer.close()
        else:
            await answer(writer, EXAMPLES[2] if len(endpoint.received) == 1 else error("InternalError"))

    endpoint.exchange = exchange
    assert await requests_of_a_failing_check(endpoint) == 3


async def test_a_fresh_connection_that_dies_is_not_replaced(endpoint: Upstream) -> None:
    """The request may have been processed: once is enough."""
    endpoint.exchange = close_after_the_request
    async with cloud(endpoint) as detector:
        with pytest.raises(GateError):
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert len(endpoint.received) == 1


async def test_the_pool_is_as_large_as_configured(endpoint: Upstream) -> None:
    """64 callers share 8 connections."""
    endpoint.exchange = answering_after(0.01)
    async with cloud(endpoint, HttpOptions(connections=8)) as detector:
        await asyncio.gather(*(detector.detect(PhotoBytes(b"x"), DetectOptions()) for _ in range(64)))
    assert endpoint.connections == 8


async def test_cancelled_calls_give_their_slots_back(endpoint: Upstream) -> None:
    """4 s of cancelled calls over 10 connections, then 10 of 10 probes are answered."""
    endpoint.exchange = answering_after(0.05)
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


async def test_large_photos_are_hashed_by_one_thread_off_the_event_loop(
    endpoint: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones are not worth a change of threads; many at a time leave the event loop a processor."""
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
        await asyncio.gather(*(detector.detect(PhotoBytes(large_jpeg()), DetectOptions()) for _ in range(4)))
    assert hashed_on[0] == threading.get_ident()
    assert len(hashed_on) == 5
    assert len(set(hashed_on)) == 2


async def test_large_bodies_are_sent_in_turns(endpoint: Upstream) -> None:
    """In a round of the event loop one of them goes on at most; whatever is small need not wait for more."""
    rounds, sent = 0, list[int]()

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def body() -> Iterator[bytes]:
        yield b"-" * (LARGE_REST + 1)
        for _ in range(7):
            sent.append(rounds)
            yield b"-" * (LARGE_REST + 1)

    counting = asyncio.ensure_future(count())
    headers = {"Host": "localhost", "Content-Length": str(8 * (LARGE_REST + 1))}
    client = HttpClient()
    try:
        await asyncio.gather(*(client.request("POST", endpoint.url, headers, body, max_answer_bytes=4096) for _ in range(8)))
    finally:
        counting.cancel()
        await client.aclose()
    assert len(endpoint.received) == 8
    assert len(sent) == len(set(sent)) == 7 * 8


@pytest.mark.parametrize("size", [350_000, 700_000])
async def test_a_body_that_is_out_waits_for_nothing(endpoint: Upstream, size: int) -> None:
    """Its answer may come before another turn would, and aiohttp drops a connection whose sender has not ended."""
    async with cloud(endpoint, HttpOptions(connections=8)) as detector:
        for _ in range(4):
            await asyncio.gather(*(detector.detect(PhotoBytes(large_jpeg(size)), DetectOptions()) for _ in range(8)))
            await asyncio.gather(*(detector.detect(PhotoBytes(large_jpeg()), DetectOptions()) for _ in range(4)))
    assert len(endpoint.received) == 48
    assert endpoint.connections == 8


async def test_a_peer_that_stops_reading_keeps_no_other_body_waiting(endpoint: Upstream) -> None:
    """Only those that can go on wait for a turn."""
    hanging = asyncio.Event()

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        endpoint.before_body = None
        hanging.set()
        await asyncio.Event().wait()

    endpoint.before_body = hang
    async with cloud(endpoint) as detector:
        stuck = asyncio.ensure_future(detector.detect(PhotoBytes(large_jpeg()), DetectOptions()))
        await hanging.wait()
        async with asyncio.timeout(5):
            for _ in range(3):
                await detector.detect(PhotoBytes(large_jpeg()), DetectOptions())
        assert not stuck.done()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck


async def test_requests_go_through_a_configured_proxy(endpoint: Upstream) -> None:
    """With its credentials."""
    async with cloud(Upstream(url="http://vendor.example"), HttpOptions(proxy=endpoint.url.replace("//", "//u:p@"))) as detector:
        await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    (request,) = endpoint.received
    assert request.line == "POST http://vendor.example/ HTTP/1.1"
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert request.headers["host"] == "vendor.example"
    request.verify()


async def test_the_environments_proxies_are_ignored(endpoint: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos go where the settings say, and nowhere else."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, endpoint.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with cloud(Upstream(url="http://vendor.invalid")) as detector:
        with pytest.raises(UpstreamFault, match="was not reached"):
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert endpoint.received == []


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


async def test_all_who_were_signed_with_a_wrong_clock_are_signed_anew(endpoint: Upstream) -> None:
    """Forty at once, without a part of the retries' budget; the clock is corrected, and told of, once."""
    late = time.time() + 3600

    async def exchange(request: Received, writer: asyncio.StreamWriter) -> None:
        body = EXAMPLES[2] if abs(int(request.headers["x-tc-timestamp"]) - late) < 300 else error("AuthFailure.SignatureExpire")
        date = formatdate(late + len(endpoint.received) % 2, usegmt=True)
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    endpoint.exchange = exchange
    async with cloud(endpoint) as detector:
        with structlog.testing.capture_logs() as lines:
            photos = [PhotoBytes(PORTRAIT + bytes([number])) for number in range(40)]
            answers = await asyncio.gather(*(detector.detect(photo, DetectOptions()) for photo in photos))
    assert all(isinstance(answer, Detection) for answer in answers)
    assert [line["event"] for line in lines] == ["detector.clock_skew"]
    assert len(endpoint.received) <= 80
    for request in endpoint.received:
        request.verify()


async def test_a_vendor_that_refuses_its_own_time_is_asked_twice(endpoint: Upstream) -> None:
    """And then not again."""

    async def exchange(_: Received, writer: asyncio.StreamWriter) -> None:
        body, date = error("AuthFailure.SignatureExpire"), formatdate(time.time() + 3600, usegmt=True)
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    endpoint.exchange = exchange
    async with cloud(endpoint) as detector:
        with pytest.raises(OperatorFault) as caught:
            await RetryingDetector(detector).detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert caught.value.reason is R.UPSTREAM_CLOCK_SKEW
    assert len(endpoint.received) == 2


async def test_a_machine_without_a_descriptor_left_does_not_blame_the_vendor(endpoint: Upstream) -> None:
    """It is the gate that has no room."""
    breaker = Breaker(BreakerRules(faults_in_a_row=1))
    async with cloud(endpoint) as detector:
        with no_descriptor(), pytest.raises(Overloaded, match="Too many open files"):
            await BreakingDetector(detector, breaker).detect(PhotoBytes(PORTRAIT), DetectOptions())
        assert breaker.state is State.CLOSED
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), Detection)


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_silent_vendor_is_told_from_one_that_fails(endpoint: Upstream, hangs: bool) -> None:
    """Of a photo by URI silence tells nothing of the vendor: whether its connection hangs, or it says so itself."""

    async def silent(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    endpoint.exchange = silent if hangs else answering(error("FailedOperation.RequestTimeout"))
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=endpoint.url, attempt_seconds=0.3))
    breaker = Breaker(BreakerRules(faults_in_a_row=1))
    for photo, state in ((PhotoUri("https://slow.example/a.jpg"), State.CLOSED), (PhotoBytes(PORTRAIT), State.OPEN)):
        with pytest.raises(UpstreamSilent):
            await BreakingDetector(detector, breaker).detect(photo, DetectOptions())
        assert breaker.state is state
    await detector.aclose()


async def test_a_vendor_that_is_not_reached_in_time_is_its_own_fault(endpoint: Upstream) -> None:
    """Nothing left, so no photo's host can be to blame: a proxy took the connection and says nothing."""

    async def silent(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    endpoint.exchange = silent
    cloud = CloudOptions(endpoint="https://vendor.example", attempt_seconds=0.3)
    detector = TencentCloudDetector(lambda: KEY, cloud, HttpClient(HttpOptions(proxy=endpoint.url)))
    breaker = Breaker(BreakerRules(faults_in_a_row=1))
    with pytest.raises(UpstreamFault, match="was not reached within") as caught:
        await BreakingDetector(detector, breaker).detect(PhotoUri("https://example.com/a.jpg"), DetectOptions())
    assert not isinstance(caught.value, UpstreamSilent)
    assert breaker.state is State.OPEN
    assert endpoint.received[0].line.startswith("CONNECT vendor.example:443 ")
    await detector.aclose()


async def test_a_photo_refused_by_the_vendor_is_no_error(endpoint: Upstream) -> None:
    """The port gives a value."""
    endpoint.exchange = answering(error("FailedOperation.ImageSizeExceed"))
    async with cloud(endpoint) as detector:
        assert isinstance(await detector.detect(PhotoBytes(PORTRAIT), DetectOptions()), PhotoRefused)


async def test_a_second_request_that_is_not_reached_is_not_called_unanswered() -> None:
    """The first was answered, by a vendor with another clock, which then went away."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        server.close()
        body = error("AuthFailure.SignatureExpire")
        date = formatdate(time.time() + 3600, usegmt=True)
        head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with cloud(Upstream(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as detector:
        with pytest.raises(UpstreamFault, match="DetectFace was not reached") as caught:
            await detector.detect(PhotoBytes(PORTRAIT), DetectOptions())
    assert caught.value.reason is R.UPSTREAM_NETWORK
