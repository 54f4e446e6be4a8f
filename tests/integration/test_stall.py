"""A gate that stands still: its node froze, or others took the processor."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc
import pytest
import structlog
from facequality.stall import STALL_SECONDS, StallWatch
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

from tests import photos
from tests.loading import local
from tests.running import running, serving
from tests.upstream import EXAMPLES, SECRET_ID, SECRET_KEY, Received, answer, upstream


async def test_a_loop_that_was_held_up_is_noticed_before_those_whose_time_ran_out_meanwhile() -> None:
    """Also where they were due first; a loop that is on time is not noticed."""
    lags: list[float] = []
    stalls: list[bool] = []
    with structlog.testing.capture_logs() as lines, StallWatch(lags.append, lambda: stalls.append(True)) as watch:
        await asyncio.sleep(0.25)
        assert (watch.stalled_within(60), lines) == (False, [])
        assert len(lags) >= 2
        assert max(lags) < STALL_SECONDS
        try:
            async with asyncio.timeout(0.001):
                time.sleep(2 * STALL_SECONDS)  # noqa: ASYNC251 - on purpose
                await asyncio.sleep(60)
        except TimeoutError:
            assert watch.stalled_within(1)
        await asyncio.sleep(0.2)
        assert (watch.stalled_within(0.1), watch.stalled_within(1)) == (False, True)
    assert [line["event"] for line in lines] == ["loop.stalled"]
    assert len(stalls) == 1
    measured = len(lags)
    await asyncio.sleep(0.15)
    assert len(lags) == measured, "it has ended"


async def test_a_stop_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics' server takes up to half a second to end: waited for in the loop, each stop would warn of a stall."""
    monkeypatch.setattr("facequality.app.serve_metrics", lambda *_: (1, lambda: time.sleep(1)))
    app, _ = local()
    await app.start()
    lags: list[float] = []
    with StallWatch(lags.append, lambda: None):
        await app.stop(drain_seconds=0, grace_seconds=5)
        await asyncio.sleep(0.15)
    assert max(lags) < 0.8


async def test_a_gate_that_was_frozen_does_not_blame_the_vendor() -> None:
    """Twelve requests have timed out by its clock when it goes on, and ten in a row would open the breaker; they are made again."""

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await answer(writer, EXAMPLES[2])

    async with upstream() as vendor:
        vendor.exchange = slow
        variables = {
            "FACEQUALITY_DETECTOR": "tencentcloud",
            "FACEQUALITY_TENCENTCLOUD_ENDPOINT": vendor.url,
            "FACEQUALITY_TENCENTCLOUD_ATTEMPT_SECONDS": "0.8",
            "TENCENTCLOUD_SECRET_ID": SECRET_ID,
            "TENCENTCLOUD_SECRET_KEY": SECRET_KEY,
        }
        async with serving(**variables) as gate:
            started = await gate.event("server.started")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}") as channel:
                stub = pb_grpc.FaceQualityServiceStub(channel)
                images = [photos.encode(photos.portrait().resize((200 + number, 200)), "JPEG") for number in range(13)]
                calls = [asyncio.ensure_future(stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=each))) for each in images]
                while len(vendor.received) < 13:
                    await asyncio.sleep(0.01)
                gate.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(1.5)
                gate.process.send_signal(signal.SIGCONT)
                await gate.event("loop.stalled")
                await asyncio.gather(*calls, return_exceptions=True)
                await stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=photos.encode(photos.portrait(), "JPEG")))
            gate.process.terminate()
            await gate.exit_code()
        assert "detector.breaker" not in "".join(gate.raw)


async def test_calls_that_come_while_the_loop_is_held_up_wait_for_it() -> None:
    """On its own, gRPC would cancel some of them from 1,000 on, and no metric would tell."""
    app, _ = local()
    async with running(app) as (_, ports):
        channels = [grpc.insecure_channel(f"127.0.0.1:{ports.grpc}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(3)]

        def call() -> set[grpc.StatusCode]:
            stubs = [pb_grpc.FaceQualityServiceStub(channel) for channel in channels]
            calls = [stub.ListPolicies.future(pb.ListPoliciesRequest(), timeout=30) for stub in stubs for _ in range(600)]
            return {call.code() for call in calls}

        codes = asyncio.get_running_loop().run_in_executor(None, call)
        time.sleep(1.5)  # noqa: ASYNC251 - on purpose
        assert await codes == {grpc.StatusCode.OK}
        for channel in channels:
            channel.close()
