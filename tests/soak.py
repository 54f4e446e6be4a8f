"""A gate under steady load for minutes: memory and latency must stay flat. ``python -m tests.soak --minutes 10``."""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import grpc
import httpx
import structlog
import typer
from facequality.client import channel_options
from facequality.emulator.scenario import Scenario
from facequality.testing import detectface_emulator
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.running import serving

CALLERS = 8
WINDOWS = 20
SIZES = (5_000, 20_000, 200_000, 1_000_000)
SCRIPT = {
    "seed": 1,
    "latency": {"median": 0.02, "p99": 0.1},
    "rules": [
        {"match": {"probability": 0.005}, "action": {"http_status": 502}},
        {"match": {"probability": 0.005}, "action": {"reset": "before"}},
        {"action": {"example": 2}},
    ],
}
GROWTH = 1.15
"""Memory at the end over memory after the first quarter."""
SLOWER = 1.5
"""Median latency of the last quarter over that of the second."""


@dataclass
class Window:
    """One stretch of the run."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    resident: float = 0.0
    descriptors: float = 0.0

    def row(self) -> str:
        cuts = statistics.quantiles(self.seconds, n=100)
        p50, p99 = 1000 * cuts[49], 1000 * cuts[98]
        resident = self.resident / 2**20
        return f"{len(self.seconds):7} {self.failed:6} {p50:8.1f} {p99:8.1f} {resident:8.1f} {self.descriptors:6.0f}"


async def run(minutes: float) -> int:
    """Return an exit status: 0 flat, 1 not."""
    photo = photos.encode(photos.cat().resize((128, 128)), "JPEG")
    windows: list[Window] = []
    with detectface_emulator(Scenario.model_validate(SCRIPT), detector=RecordingDetector(EXAMPLE_2)) as endpoint:
        cloud = {
            "FACEQUALITY_DETECTOR": "tencentcloud",
            "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.url,
            "TENCENTCLOUD_SECRET_ID": endpoint.secret_id,
            "TENCENTCLOUD_SECRET_KEY": endpoint.secret_key,
            "FACEQUALITY_CACHE_SECONDS": "30",
            "FACEQUALITY_CACHE_ENTRIES": "500",
            "FACEQUALITY_CONNECTION_AGE_SECONDS": "20",
        }
        async with serving(**cloud) as process:
            started = await process.event("server.started")
            draining = asyncio.ensure_future(process.drained())
            async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}", options=channel_options()) as channel:
                stub = pb_grpc.FaceQualityServiceStub(channel)
                sys.stdout.write("  calls failed   p50 ms   p99 ms  RSS MiB    fds\n")
                for number in range(WINDOWS):
                    windows.append(await _window(stub, photo, minutes * 60 / WINDOWS, number, f"{started['metrics_port']}"))
                    sys.stdout.write(windows[-1].row() + "\n")
                    sys.stdout.flush()
            draining.cancel()
    quarter = WINDOWS // 4
    growth = windows[-1].resident / windows[quarter].resident
    early = statistics.median(each for window in windows[quarter : 2 * quarter] for each in window.seconds)
    late = statistics.median(each for window in windows[-quarter:] for each in window.seconds)
    sys.stdout.write(f"memory x{growth:.2f} (at most {GROWTH}), median latency x{late / early:.2f} (at most {SLOWER})\n")
    return int(growth > GROWTH or late / early > SLOWER)


async def _window(stub: Any, photo: bytes, seconds: float, number: int, metrics_port: str) -> Window:
    window = Window()
    end = time.monotonic() + seconds

    async def caller(seed: int) -> None:
        source = random.Random(seed)
        while time.monotonic() < end:
            size = source.choices(SIZES, (4, 4, 2, 1))[0]
            request = pb.CheckFaceQualityRequest(image=photo + source.randbytes(8) + bytes(size), policy="loose")
            started = time.perf_counter()
            try:
                await stub.CheckFaceQuality(request, timeout=5)
            except grpc.aio.AioRpcError:
                window.failed += 1
            else:
                window.seconds.append(time.perf_counter() - started)

    await asyncio.gather(*(caller(1000 * number + each) for each in range(CALLERS)))
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    window.resident, window.descriptors = values["process_resident_memory_bytes"], values["process_open_fds"]
    return window


def main(minutes: Annotated[float, typer.Option(min=0.1, max=600)] = 10.0) -> None:
    """Load a gate; exit status 1 if memory or latency grew."""
    # The emulator's lines are in this process.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    raise typer.Exit(asyncio.run(run(minutes)))


if __name__ == "__main__":
    typer.run(main)
