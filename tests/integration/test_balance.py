"""Ten thousand mixed calls, and two replicas: nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from facequality.client import channel_options
from facequality.emulator.scenario import Scenario
from facequality.testing import detectface_emulator
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2

from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.loading import CHECK, HANDLED, distinct, resident, sample
from tests.running import behind, serving, until

FAULTS = [
    {"match": {"probability": 0.01}, "action": action}
    for action in ({"http_status": 502}, {"reset": "before"}, {"error": "InternalError"}, {"truncate": 100}, {"hang": True})
]
DOCUMENTED = {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}


async def burst(stub: Any, calls: int, first: int, concurrent: int = 64) -> Counter[str]:
    """Mixed calls: one in twenty is cancelled soon, one in twenty has 20 to 60 ms."""
    outcomes: Counter[str] = Counter()
    numbers = iter(range(first, first + calls))
    source = random.Random(first)

    async def caller() -> None:
        for number in numbers:
            kind = number % 20
            call = stub.CheckFaceQuality(distinct(number), timeout=source.uniform(0.02, 0.06) if kind == 1 else 5)
            if kind == 0:
                asyncio.get_running_loop().call_later(source.uniform(0, 0.02), call.cancel)
            try:
                await call
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            except asyncio.CancelledError:
                outcomes["CANCELLED"] += 1
            else:
                outcomes["OK"] += 1

    await asyncio.gather(*(caller() for _ in range(concurrent)))
    return outcomes


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.timeout(300)
async def test_ten_thousand_mixed_calls_leave_balanced_books() -> None:
    """Five in a hundred go wrong: every call ends as documented, nothing is lost, nothing grows."""
    script = {"seed": 1, "latency": {"between": [0.0, 0.02]}, "rules": FAULTS}
    connections = 64
    async with behind(script, tencentcloud_attempt_seconds=1.0, tencentcloud_connections=connections) as (endpoint, served):
        idle = descriptors()
        await burst(served.stub, 200, 1_000_000)
        tasks = len(asyncio.all_tasks())
        outcomes: Counter[str] = Counter()
        sizes = []
        for first in (0, 5000):
            outcomes += await burst(served.stub, 5000, first)
            sizes.append(resident())
        assert set(outcomes) <= DOCUMENTED
        assert outcomes.total() == 10_000
        assert outcomes["OK"] > 8500
        await until(lambda: sample(served.app, "facequality_in_flight_calls") == 0)
        samples = [each for family in served.app.metrics.registry.collect() for each in family.samples]
        handled = sum(each.value for each in samples if each.name == HANDLED and CHECK.items() <= each.labels.items())
        assert sample(served.app, "grpc_server_started_total", **CHECK) == handled
        # Cancelled on its way to the vendor, a request may have left and never come.
        assert 0 <= served.paid - endpoint.calls <= 10
        assert sizes[1] <= 1.2 * sizes[0]
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        # Both ends of each connection to the emulator are here; a few more: the caller's channel.
        assert descriptors() <= idle + 2 * connections + 8


async def test_of_two_replicas_one_stops_and_no_caller_notices() -> None:
    """SIGTERM amid 200 calls in flight, while new ones arrive: none is lost, none fails, exit 0."""
    script = Scenario.model_validate({"latency": {"seconds": 0.3}, "rules": [{"action": {"example": 2}}]})
    with detectface_emulator(script, detector=RecordingDetector(EXAMPLE_2)) as endpoint:
        cloud = {
            "FACEQUALITY_DETECTOR": "tencentcloud",
            "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.url,
            "TENCENTCLOUD_SECRET_ID": endpoint.secret_id,
            "TENCENTCLOUD_SECRET_KEY": endpoint.secret_key,
            "FACEQUALITY_TENCENTCLOUD_CONNECTIONS": "256",
            "FACEQUALITY_DRAIN_SECONDS": "0.5",
        }
        async with serving(**cloud) as one, serving(**cloud) as two:
            ports = [(await each.event("server.started"))["grpc_port"] for each in (one, two)]
            draining = [asyncio.ensure_future(each.drained()) for each in (one, two)]
            target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
            async with grpc.aio.insecure_channel(target, options=channel_options()) as channel:
                stub = pb_grpc.FaceQualityServiceStub(channel)
                numbers = iter(range(1600))
                done = 0

                async def caller() -> None:
                    nonlocal done
                    for number in numbers:
                        assert (await stub.CheckFaceQuality(distinct(number))).verdict == verdict_pb2.VERDICT_ACCEPTED
                        done += 1

                callers = [asyncio.ensure_future(caller()) for _ in range(200)]
                await until(lambda: done >= 200)
                one.process.send_signal(signal.SIGTERM)
                await asyncio.gather(*callers)
            assert done == 1600
            async with asyncio.timeout(10):
                assert await one.process.wait() == 0
            assert two.process.returncode is None
            for each in draining:
                each.cancel()
