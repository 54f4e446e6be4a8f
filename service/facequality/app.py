"""The composition root: settings in, a running gate out."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import structlog
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, start_http_server

from facequality import __version__
from facequality.detector import Detector
from facequality.detectors.observed import ObservedDetector
from facequality.gate import Gate
from facequality.logs import note_check
from facequality.metrics import Metrics
from facequality.policy import DEFAULT_PRESET, PolicySet, built_in
from facequality.rpc.server import Health, build_health_server, build_server
from facequality.rpc.servicer import FaceQualityServicer
from facequality.settings import DetectorName, Settings, split_address

log = structlog.get_logger()

EMBEDDED_WARNING = (
    "the embedded engine answers, not Tencent Cloud: its scores are its own estimates, shaped after the cloud's bands "
    "but not calibrated to them; tune thresholds before you rely on them"
)


class StartError(Exception):
    """The gate cannot start; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running gate listens."""

    grpc: int
    metrics: int
    health: int | None


def build_detector(settings: Settings) -> Detector:
    """Make the live detector.

    Raises:
        StartError: an extra or a file that it needs is missing.
    """
    if settings.detector is DetectorName.EMBEDDED:
        return _embedded(settings.embedded_workers or None)
    raise StartError("the tencentcloud detector is not part of this version; set FACEQUALITY_DETECTOR=embedded")


def _embedded(workers: int | None) -> Detector:
    missing = [name for name in ("cv2", "numpy", "threadpoolctl") if importlib.util.find_spec(name) is None]
    if missing:
        extra = "pip install 'face-quality-gate[embedded]'"
        raise StartError(f"the embedded detector needs {', '.join(missing)}; install it with: {extra}")
    # Imported here: a proxy-only installation has no OpenCV.
    from facequality.detectors.embedded.detector import EmbeddedDetector  # noqa: PLC0415
    from facequality.detectors.embedded.weights import WeightsError  # noqa: PLC0415

    try:
        return EmbeddedDetector(workers)
    except WeightsError as error:
        raise StartError(str(error)) from error


class App:
    """A gate with its servers. Start it, wait, stop it."""

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        *,
        policies: PolicySet | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Compose; nothing listens yet."""
        self.settings = settings
        self.policies = policies or built_in(datetime.now(UTC), settings.default_policy or DEFAULT_PRESET)
        self.registry = registry or _process_registry()
        self.metrics = Metrics(self.registry)
        self.health = Health()
        self._detector = ObservedDetector(detector, self.metrics.observe_detector_call)
        self.gate = Gate(lambda: self.policies, self._detector, observers=(self.metrics.observe_check, note_check))
        self.metrics.serve_policies(self.policies)
        self.metrics.serve_detector(detector.info)
        self._servers: list[grpc.aio.Server] = []
        self._stack = AsyncExitStack()

    async def start(self) -> Ports:
        """Listen, then become ready.

        Raises:
            StartError: an address cannot be bound; nothing is left running.
        """
        self._stack.push_async_callback(self._detector.aclose)
        try:
            ports = await self._listen_everywhere()
        except BaseException:
            await self._close(grace_seconds=0)
            raise
        await self.health.set_ready(ready=True)
        self._announce(ports)
        return ports

    async def stop(self, *, drain_seconds: float, grace_seconds: float) -> None:
        """Drop readiness, keep serving while callers notice, then refuse new calls and let accepted ones finish."""
        await self.health.set_ready(ready=False)
        log.info("server.draining", seconds=drain_seconds)
        await asyncio.sleep(drain_seconds)
        log.info("server.stopping", grace_seconds=grace_seconds)
        await self._close(grace_seconds=grace_seconds)
        log.info("server.stopped")

    async def _close(self, *, grace_seconds: float) -> None:
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        await self._stack.aclose()

    async def _listen_everywhere(self) -> Ports:
        settings = self.settings
        await self.health.set_ready(ready=False)
        servicer = FaceQualityServicer(self.gate, settings.deadline_seconds)
        main = build_server(servicer, self.health, self.metrics, with_reflection=settings.reflection)
        grpc_port = await self._listen(main, settings.grpc_address)
        health_port = None
        if settings.health_address:
            health_port = await self._listen(build_health_server(self.health), settings.health_address)
        return Ports(grpc_port, self._serve_metrics(settings.metrics_address), health_port)

    async def _listen(self, server: grpc.aio.Server, address: str) -> int:
        self._servers.append(server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartError(f"cannot listen on {address}: the address is in use or not this machine's") from error
        await server.start()
        return port

    def _serve_metrics(self, address: str) -> int:
        host, port = split_address(address)
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise StartError(f"cannot serve metrics on {address}: {error.strerror or error}") from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._stack.callback(close)
        return server.server_port

    def _announce(self, ports: Ports) -> None:
        info, policy = self._detector.info, self.policies.get("")
        log.info(
            "server.started",
            version=__version__,
            detector=info.name,
            default_policy=policy.name,
            policy_revision=policy.revision,
            policies=sorted(self.policies.policies),
            policy_source=self.policies.source,
            grpc_port=ports.grpc,
            metrics_port=ports.metrics,
            health_port=ports.health,
        )
        if not info.cloud_calibrated:
            log.warning("detector.not_the_cloud", text=EMBEDDED_WARNING)
        for served in self.policies.policies.values():
            if missing := served.unavailable(info.measures):
                log.warning("policy.measure_unavailable", policy=served.name, measures=[m.value for m in missing])


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once.

    Raises:
        StartError: the gate cannot start.
    """
    app = App(settings, await asyncio.to_thread(build_detector, settings))
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    await app.start()
    log.info("server.signal", signal=(await signals.get()).name)
    stopping = asyncio.create_task(app.stop(drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds))
    again = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        log.warning("server.stopping_at_once")
        stopping.cancel()
        await app.stop(drain_seconds=0, grace_seconds=0)
        return
    again.cancel()
    await stopping


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry
