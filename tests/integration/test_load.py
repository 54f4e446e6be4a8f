"""Many calls: the queue, the bytes in flight, shared calls, ageing connections."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from facequality import cli
from facequality.app import App
from facequality.client import SERVICE_CONFIG, channel_options
from facequality.detectors.sharing import SharingDetector
from facequality.detectors.tencentcloud.protocol import RequestBody
from facequality.errors import ErrorReason, GateError, Overloaded, UpstreamFault
from facequality.rpc.intake import read_only
from facequality.settings import Settings
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2

from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector
from tests.loading import CHECK, HANDLED, MEGABYTE, PHOTO, distinct, local, photos_held, resident, sample
from tests.running import behind, details, failure, running, until


async def heal(app: App, detector: FakeDetector, code: str = "Unavailable") -> None:
    """Let the detector answer once a call has failed."""
    await until(lambda: sample(app, HANDLED, **CHECK, grpc_code=code) == 1)
    detector.answer = EXAMPLE_2


async def test_calls_over_the_limit_wait_and_the_line_is_short() -> None:
    """Two run, two wait, the fifth is refused at once; who waits too long is refused too; the metrics say it."""
    app, detector = local(max_in_flight=2, max_queued=2, queue_seconds=0.3)
    detector.delay = 1.0
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        calls = [asyncio.ensure_future(stub.CheckFaceQuality(distinct(number))) for number in range(4)]
        await until(lambda: sample(app, "facequality_queued_calls") == 2)
        with structlog.testing.capture_logs() as lines:
            error = await failure(stub.CheckFaceQuality(distinct(9)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # It is the operator's business.
        assert [(line["event"], line["log_level"]) for line in lines] == [("rpc.handled", "warning")]
        assert sample(app, "facequality_shed_calls_total", cause="queue_full") == 1
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 2
        assert sample(app, "facequality_shed_calls_total", cause="queue_time") == 2
        detector.delay = 0.1
        assert len(await asyncio.gather(*(stub.CheckFaceQuality(distinct(number)) for number in range(4)))) == 4
        assert sample(app, "facequality_queued_calls") == sample(app, "facequality_in_flight_bytes") == 0
        # Of what was refused no message was read.
        assert sample(app, "grpc_server_started_total", **CHECK) == 9
        assert sample(app, "grpc_server_msg_received_total", **CHECK) == 6


@pytest.mark.usefixtures("wide_margin")
async def test_waiting_counts_against_the_deadline() -> None:
    """A caller in the line gets its deadline, with details, before its own has passed."""
    app, detector = local(max_in_flight=1, queue_seconds=30)
    detector.delay = 1.0
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        first = asyncio.ensure_future(stub.CheckFaceQuality(distinct(1)))
        await until(lambda: sample(app, "facequality_in_flight_calls") == 1)
        error = await failure(stub.CheckFaceQuality(distinct(2), timeout=0.6))
        info: Any = details(error)["ErrorInfo"]
        assert (error.code(), info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE")
        await first


async def test_bytes_in_flight_are_bounded() -> None:
    """Room is set aside for a message before it is read, and what a call holds is counted."""
    app, detector = local(max_in_flight_mib=16, max_queued=100, queue_seconds=30)
    detector.delay = 0.2
    held: list[float] = []
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)

        async def watch() -> None:
            while True:
                held.append(sample(app, "facequality_in_flight_bytes"))
                await asyncio.sleep(0.005)

        watching = asyncio.ensure_future(watch())
        answers = await asyncio.gather(*(stub.CheckFaceQuality(distinct(number, 3_000_000)) for number in range(24)))
        watching.cancel()
    assert len(answers) == 24
    assert 6_000_000 < max(held) <= 16 * 1024 * 1024
    assert sample(app, "facequality_in_flight_bytes") == 0


async def test_a_message_that_has_been_read_holds_its_own_size_alone() -> None:
    """Ten small photos fit beside each other into room for two of the largest."""
    app, detector = local(max_in_flight_mib=16, queue_seconds=30)
    detector.delay = 1.0
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        calls = [asyncio.ensure_future(stub.CheckFaceQuality(distinct(number))) for number in range(10)]
        await until(lambda: sample(app, "grpc_server_msg_received_total", **CHECK) == 10)
        assert sample(app, "facequality_queued_calls") == 0
        assert sample(app, "facequality_in_flight_bytes") < 1024 * 1024
        await asyncio.gather(*calls)


async def test_calls_in_the_line_bring_little_of_their_messages() -> None:
    """All of them, 8 MiB each, would come on gRPC's own estimate of the connection; what waits in a caller costs nothing."""
    app, detector = local(max_in_flight=1, max_queued=32, queue_seconds=30)
    detector.delay = 0.0
    async with running(app) as (channel, ports):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        # A connection that has carried large photos already.
        for number in range(3):
            await stub.CheckFaceQuality(distinct(number, 3_900_000))
        detector.delay = 10.0
        first = asyncio.ensure_future(stub.CheckFaceQuality(distinct(1)))
        await until(lambda: sample(app, "facequality_in_flight_calls") == 1)
        before = resident()
        # In a process of its own: what it holds must not count.
        sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, f"127.0.0.1:{ports.grpc}")
        await until(lambda: sample(app, "facequality_queued_calls") == 32)
        await asyncio.sleep(1)
        grown = resident() - before
        sender.kill()
        await sender.wait()
        first.cancel()
    assert grown < 80 * 1024 * 1024


SENDER = """
import asyncio, sys, grpc

async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        call = channel.unary_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
        await asyncio.gather(*(call(bytes(8_000_000)) for _ in range(32)), return_exceptions=True)

asyncio.run(main())
"""


async def test_a_message_that_is_never_sent_gives_its_room_back() -> None:
    """By its deadline, or when the caller goes."""
    app, _ = local(max_in_flight_mib=16, deadline_seconds=0.5)
    async with running(app) as (channel, _):
        mute: Any = channel.stream_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
        silent = [mute() for _ in range(2)]
        await until(lambda: sample(app, "facequality_in_flight_bytes") == 16 * 1024 * 1024)
        for call in silent:
            assert (await failure(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: sample(app, "facequality_in_flight_bytes") == 0)
        gone = mute()
        await until(lambda: sample(app, "facequality_in_flight_bytes") > 0)
        gone.cancel()
        await until(lambda: sample(app, "facequality_in_flight_bytes") == 0)
        empty = mute()
        await empty.done_writing()
        info: Any = details(await failure(empty))["ErrorInfo"]
        assert info.reason == "MESSAGE_MALFORMED"


async def test_a_message_that_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that sends nothing holds no room until its deadline."""
    monkeypatch.setattr("facequality.rpc.intake.READ_SECONDS", 0.2)
    app, _ = local(max_in_flight_mib=16)
    async with running(app) as (channel, _):
        mute: Any = channel.stream_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
        started = time.monotonic()
        error = await failure(mute())
        assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no message within 0.2 s")
        assert time.monotonic() - started < 3
        assert sample(app, "facequality_in_flight_bytes") == 0


async def test_a_caller_that_goes_before_its_message_is_there_is_counted_as_gone() -> None:
    """Not as one that sent a malformed message."""
    app, _ = local()
    async with running(app) as (channel, _):
        mute: Any = channel.stream_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
        call = mute()
        await until(lambda: sample(app, "facequality_in_flight_bytes") > 0)
        call.cancel()
        await until(lambda: sample(app, HANDLED, **CHECK, grpc_code="Canceled") == 1)
        assert sample(app, HANDLED, **CHECK, grpc_code="InvalidArgument") == 0


async def test_a_call_that_ends_without_a_message_is_malformed() -> None:
    """Unlike one that was cancelled, which looks the same for a moment."""
    app, _ = local()
    async with running(app) as (channel, _):
        mute: Any = channel.stream_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
        call = mute()
        await call.done_writing()
        error = await failure(call)
        assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    assert sample(app, "facequality_in_flight_bytes") == 0


async def test_a_call_whose_cancellation_is_told_late_is_not_malformed() -> None:
    """First gRPC says that there is no message, then that the caller has gone."""

    class Going:
        async def read(self) -> object:
            return grpc.aio.EOF

    context: Any = Going()
    reading = asyncio.create_task(read_only(context))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_failed_call_lets_go_of_its_photo() -> None:
    """At once, not when the collector comes: in an outage that would be the memory of many."""
    detector = FakeDetector()
    detector.answer = UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "no")
    settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0")
    app = App(settings, SharingDetector(detector))

    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        gc.collect()
        gc.disable()
        try:
            before = photos_held()
            for number in range(10):
                await failure(stub.CheckFaceQuality(distinct(number, MEGABYTE)))
            after = photos_held()
        finally:
            gc.enable()
    assert after - before <= 1


async def test_identical_photos_share_a_call_and_are_cached_where_asked_for() -> None:
    """One paid call for many checks at once, each under its own policy; a URI is asked about each time."""
    async with behind({"latency": {"seconds": 0.3}}, cache_seconds=60.0) as (endpoint, served):
        answers = await asyncio.gather(*(served.check(policy, PHOTO) for policy in ("loose", "enroll", "loose", "enroll")))
        verdicts = [answer.verdict for answer in answers]
        assert verdicts == [verdict_pb2.VERDICT_ACCEPTED, verdict_pb2.VERDICT_REJECTED] * 2
        # The two policies ask DetectFace for different numbers of faces.
        assert endpoint.calls == served.paid == 2
        assert not any(answer.cached for answer in answers)
        again = await served.check("loose", PHOTO)
        assert again.cached
        # The two calls and those that shared them; what the cache answered was no call.
        assert served.outcomes("ok") == 4
        assert again.upstream_request_id == answers[0].upstream_request_id
        assert endpoint.calls == 2
        registry = served.app.metrics.registry
        saved = {
            cause: registry.get_sample_value("facequality_saved_calls_total", {"cause": cause}) for cause in ("shared", "cached")
        }
        assert saved == {"shared": 2, "cached": 1}
        for _ in range(2):
            uri = pb.CheckFaceQualityRequest(uri="https://photos.example.com/1.jpg", policy="loose")
            assert not (await served.stub.CheckFaceQuality(uri)).cached
        assert endpoint.calls == 4


async def test_a_caller_that_goes_leaves_the_shared_call_to_the_others() -> None:
    """The leader's cancellation, and its deadline, are its own."""
    async with behind({"latency": {"seconds": 1.0}}) as (endpoint, served):
        leader = served.stub.CheckFaceQuality(distinct(1), timeout=0.6)
        await until(lambda: endpoint.calls == 1)
        followers = [asyncio.ensure_future(served.stub.CheckFaceQuality(distinct(1))) for _ in range(3)]
        assert (await failure(leader)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(await asyncio.gather(*followers)) == 3
        assert endpoint.calls == served.paid == 1


async def test_old_connections_are_replaced_without_a_failed_call() -> None:
    """So that new replicas get their share."""
    app, detector = local(connection_age_seconds=0.5)
    detector.delay = 0.05
    peers: set[str] = set()
    async with running(app) as (channel, ports):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        for number in range(50):
            assert (await stub.CheckFaceQuality(distinct(number))).policy == "loose"
            peers |= connections(ports.grpc)
    assert len(peers) >= 3


def connections(port: int) -> set[str]:
    """The far ends of established connections to a local port; gRPC's sockets are IPv6 ones also for IPv4."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, here, there, state, *_ = line.split()
            if state == "01" and int(here.rpartition(":")[2], 16) == port:
                found.add(there)
    return found


def test_the_readme_shows_the_service_config() -> None:
    """Word for word, to be pasted."""
    # The gate ends first, and says why: C core ends up to two seconds sooner than it was told.
    timeout = json.loads(SERVICE_CONFIG)["methodConfig"][0]["timeout"]
    assert float(timeout.removesuffix("s")) - 3 >= Settings.model_fields["deadline_seconds"].default
    assert timeout in str(channel_options())
    assert "timeout" not in str(channel_options(timeout=False))
    assert SERVICE_CONFIG in (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("failing", "code"),
    [
        (UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "no", wait_seconds=0.3), "Unavailable"),
        (Overloaded("much"), "ResourceExhausted"),
    ],
)
async def test_a_client_with_the_service_config_tries_again_with_a_large_photo(failing: GateError, code: str) -> None:
    """After the pushback, and elsewhere if there is one; gRPC's own buffer for that is too small for photos."""
    app, detector = local()
    detector.answer = failing

    async with (
        running(app) as (_, ports),
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}", options=channel_options()) as channel,
    ):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        healing = asyncio.ensure_future(heal(app, detector, code))
        assert (await stub.CheckFaceQuality(distinct(1, 2_000_000))).verdict == verdict_pb2.VERDICT_ACCEPTED
        await healing
    assert sample(app, HANDLED, **CHECK, grpc_code="OK") == 1


async def test_check_against_a_target_is_such_a_client() -> None:
    """The command line uses what the README tells callers to use."""
    app, detector = local()
    detector.answer = UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "no", wait_seconds=0.3)

    async with running(app) as (_, ports), cli._checker(f"127.0.0.1:{ports.grpc}", 5) as checker:
        healing = asyncio.ensure_future(heal(app, detector))
        assert (await checker.check(distinct(1))).verdict == verdict_pb2.VERDICT_ACCEPTED
        await healing


async def test_a_channel_set_up_so_tries_again_what_a_stopping_server_cancelled() -> None:
    """GRPC does that to calls that it has accepted but not begun."""
    answers = iter([grpc.StatusCode.CANCELLED])

    async def check(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        for code in answers:
            await context.abort(code)
        return pb.CheckFaceQualityResponse(policy="enroll").SerializeToString()

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"CheckFaceQuality": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("facequality.v1.FaceQualityService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        options = [*channel_options(), ("grpc.enable_health_check", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            answer = await pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(pb.CheckFaceQualityRequest(), timeout=10)
        assert answer.policy == "enroll"
    finally:
        await server.stop(0)


@pytest.mark.parametrize(("unsigned", "hashed"), [(False, 1), (True, 0)])
async def test_a_photo_is_hashed_once_on_its_way(monkeypatch: pytest.MonkeyPatch, unsigned: bool, hashed: int) -> None:
    """Sharing, the signature and a retry go by the same digest; without a signature over it by a faster one."""
    real, calls = RequestBody.sha256, list[int]()

    def counting(body: RequestBody) -> str:
        calls.append(len(body))
        return real(body)

    monkeypatch.setattr(RequestBody, "sha256", counting)
    script = {"rules": [{"match": {"calls": [1]}, "action": {"error": "InternalError"}}]}
    async with behind(script, tencentcloud_unsigned_payload=unsigned) as (endpoint, served):
        assert (await served.stub.CheckFaceQuality(distinct(1))).verdict == verdict_pb2.VERDICT_ACCEPTED
        assert endpoint.calls == 2
        assert len(calls) == hashed


async def test_a_client_is_not_held_by_a_wait_that_is_too_long_for_a_retry() -> None:
    """A breaker that is open for ten seconds: gRPC would wait for that pushback, past the call's deadline."""
    app, detector = local()
    detector.answer = UpstreamFault(ErrorReason.UPSTREAM_BREAKER_OPEN, "no", wait_seconds=10)
    async with (
        running(app) as (_, ports),
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}", options=channel_options()) as channel,
    ):
        started = time.monotonic()
        error = await failure(pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(distinct(1), timeout=5))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 2
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
