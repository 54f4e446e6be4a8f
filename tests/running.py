"""Gates that run for as long as a test needs them: in this process or as one of their own; and what their errors say."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from facequality.app import App, Ports
from facequality.cli import cli
from facequality.emulator.scenario import Scenario
from facequality.metrics import Metrics
from facequality.parts import build_detector
from facequality.settings import Settings
from facequality.testing import detectface_emulator
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector, RecordingDetector
from tests.upstream import SECRET_ID, SECRET_KEY

COMMAND = str(Path(sys.executable).parent / "face-quality-gate")
LOOPBACK = {"FACEQUALITY_GRPC_ADDRESS": "127.0.0.1:0", "FACEQUALITY_METRICS_ADDRESS": "127.0.0.1:0"}


@functools.cache
def portrait() -> bytes:
    """A small portrait, JPEG."""
    return photos.encode(photos.portrait().resize((256, 256)), "JPEG")


@asynccontextmanager
async def running(app: App) -> AsyncIterator[tuple[grpc.aio.Channel, Ports]]:
    """Start a gate and open a channel to it; stop it at the end, of a failed test too."""
    ports = await app.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            yield channel, ports
    finally:
        await app.stop(drain_seconds=0, grace_seconds=1)


class Fake:
    """A gate with a fake detector."""

    def __init__(self, app: App, detector: FakeDetector, channel: grpc.aio.Channel) -> None:
        self.app, self.detector, self.channel = app, detector, channel
        self.stub = pb_grpc.FaceQualityServiceStub(channel)

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value."""
        value = self.app.metrics.registry.get_sample_value(name, labels)
        assert value is not None, (name, labels)
        return value


class Gate:
    """A whole gate in front of an endpoint."""

    def __init__(self, app: App, channel: grpc.aio.Channel, target: str) -> None:
        self.app = app
        self.target = target
        self.stub = pb_grpc.FaceQualityServiceStub(channel)

    async def check(self, policy: str = "", image: bytes | None = None, **more: Any) -> pb.CheckFaceQualityResponse:
        """Check a photo; None: the portrait."""
        image = portrait() if image is None else image
        response: pb.CheckFaceQualityResponse = await self.stub.CheckFaceQuality(
            pb.CheckFaceQualityRequest(image=image, policy=policy, **more)
        )
        return response

    @property
    def paid(self) -> float:
        return self.app.metrics.registry.get_sample_value("facequality_paid_calls_total", {"detector": "tencentcloud"}) or 0

    def outcomes(self, outcome: str) -> float | None:
        labels = {"detector": "tencentcloud", "outcome": outcome}
        return self.app.metrics.registry.get_sample_value("facequality_detector_requests_total", labels)


@asynccontextmanager
async def gate(
    endpoint_url: str, *, secret_id: str = SECRET_ID, secret_key: str = SECRET_KEY, **more: Any
) -> AsyncIterator[Gate]:
    settings = Settings(
        detector="tencentcloud",
        grpc_address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",
        tencentcloud_endpoint=endpoint_url,
        TENCENTCLOUD_SECRET_ID=SecretStr(secret_id),
        TENCENTCLOUD_SECRET_KEY=SecretStr(secret_key),
        **more,
    )
    metrics = Metrics(CollectorRegistry())
    app = App(settings, build_detector(settings, metrics), metrics=metrics)
    async with running(app) as (channel, ports):
        yield Gate(app, channel, f"127.0.0.1:{ports.grpc}")


@asynccontextmanager
async def behind(scenario: dict[str, Any], **more: Any) -> Any:
    """A gate in front of an emulator with a script; what the script leaves is example 2."""
    script = Scenario.model_validate({**scenario, "rules": [*scenario.get("rules", []), {"action": {"example": 2}}]})
    with detectface_emulator(script, detector=RecordingDetector(EXAMPLE_2)) as endpoint:
        async with gate(endpoint.url, secret_id=endpoint.secret_id, secret_key=endpoint.secret_key, **more) as served:
            yield endpoint, served


class Process:
    """A running ``face-quality-gate serve`` and its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, object]] = []
        self.raw: list[str] = []

    async def event(self, name: str) -> dict[str, object]:
        """Wait for a log line."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while line := (await self.process.stderr.readline()).decode():
                self.raw.append(line)
                record = json.loads(line)
                self.log.append(record)
                if record["event"] == name:
                    return dict(record)
        raise AssertionError(f"no {name} in the log:\n" + "".join(self.raw))

    async def drained(self) -> None:
        """Read the log to its end, so that the process never waits for us."""
        assert self.process.stderr is not None
        while await self.process.stderr.readline():
            pass

    async def exit_code(self) -> int:
        """Wait for the end."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            rest = (await self.process.stderr.read()).decode()
            self.raw += rest.splitlines(keepends=True)
            return await self.process.wait()


@contextmanager
def no_descriptor() -> Iterator[None]:
    """Let this process open nothing more."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One above the highest that is in use: lower ones that are free are used up.
    filled = []
    probe = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1, hard))
    try:
        with suppress(OSError):
            while True:
                filled.append(os.dup(probe))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in (probe, *filled):
            os.close(number)


@asynccontextmanager
async def serving(*, streams: str = "", **variables: str) -> AsyncIterator[Process]:
    """``streams``: the shell's redirections."""
    environ = os.environ | LOOPBACK | variables
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'exec "$@" {streams}', "sh", COMMAND, "serve", env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def run(*arguments: str | Path, columns: int = 200) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], env={"COLUMNS": str(columns)})


def details(error: grpc.aio.AioRpcError) -> dict[str, object]:
    """Unpack the google.rpc details by their type's name."""
    status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, error
    assert code_pb2.Code.Name(status.code) == error.code().name
    found: dict[str, object] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest):
            message = kind()
            if packed.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


def handled(fake: Fake, code: str, method: str = "CheckFaceQuality") -> float:
    """Calls that ended so."""
    return fake.sample(
        "grpc_server_handled_total",
        grpc_type="unary",
        grpc_service="facequality.v1.FaceQualityService",
        grpc_method=method,
        grpc_code=code,
    )


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait for a condition, with a limit."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
