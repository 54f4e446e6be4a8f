"""The composition root: settings in, a running gate out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from facequality import __version__, notes
from facequality.address import split_address
from facequality.detector import Detector
from facequality.detectors.deadline import DeadlineDetector
from facequality.detectors.observed import DetectorCall, ObservedDetector
from facequality.errors import StartError
from facequality.exposition import serve_metrics
from facequality.gate import Gate
from facequality.logs import sink
from facequality.metrics import Metrics
from facequality.parts import admission, build_detector, load_policies, uri_rules
from facequality.policy import PolicySet
from facequality.policy_source import take
from facequality.reclaim import reclaim
from facequality.reload import PolicyStore, PolicyWatch
from facequality.rpc.interceptors import InFlight
from facequality.rpc.server import Health, build_health_server, build_server
from facequality.rpc.servicer import FaceQualityServicer
from facequality.settings import Settings, sends_in_the_clear
from facequality.stall import StallWatch

log = structlog.get_logger()

EMBEDDED_WARNING = (
    "the embedded engine answers, not Tencent Cloud: its scores are its own estimates, shaped after the cloud's bands "
    "but not calibrated to them; tune thresholds before you rely on them"
)

LAST_ANSWERS_SECONDS = 1.0
"""Longest wait of a stop for the last answers to be taken, once all calls are done; none if nothing is open any more, s."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Each asks for a graceful stop; policies reload by themselves."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running gate listens."""

    grpc: int
    metrics: int
    health: int | None


class App:
    """A gate with its servers. Start it, wait, stop it."""

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        """Compose; nothing listens yet. Without ``metrics`` a registry of its own is made.

        Raises:
            StartError: the policy file is broken.
        """
        self.settings = settings
        self.metrics = metrics or Metrics(CollectorRegistry())
        path = settings.policy_file
        seen = take(path).fingerprint if path is not None else None
        failed = functools.partial(self.metrics.observe_reload, success=False)
        self.store = PolicyStore(load_policies(settings), on_reload=self._reloaded, on_failure=failed)
        self._watch = PolicyWatch(self.store, path, settings.default_policy, seen) if path is not None else None
        self.health = Health()
        self.in_flight = InFlight(self.metrics)
        self._admission = admission(settings, self.metrics)
        self._detector = ObservedDetector(DeadlineDetector(detector), self._observe_detector_call)
        self.gate = Gate(
            self.store,
            self._detector,
            uri_rules=uri_rules(settings),
            observers=(self.metrics.observe_check, notes.add_check),
            on_unjudged=notes.add_unjudged,
        )
        self.metrics.serve_policies(self.store())
        self.metrics.serve_detector(detector.info)
        self._servers: list[grpc.aio.Server] = []
        self._stack = AsyncExitStack()
        self._hurry = asyncio.Event()

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
        self._watch_policies()
        self._reclaim_memory()
        await self.health.set_ready(ready=True)
        self._announce(ports)
        return ports

    async def stop(self, *, drain_seconds: float, grace_seconds: float) -> None:
        """Drop readiness, keep serving while callers notice, then refuse new calls and let accepted ones finish."""
        await self.health.set_ready(ready=False)
        log.info("server.draining", seconds=drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), drain_seconds)
        log.info("server.stopping", grace_seconds=grace_seconds)
        await self._close(grace_seconds=grace_seconds)
        log.info("server.stopped")

    def hurry(self) -> None:
        """End a stop at once."""
        self._hurry.set()

    def _watch_policies(self) -> None:
        if self._watch is None:
            return
        watching = asyncio.create_task(self._watch.run())

        async def end(watch: PolicyWatch) -> None:
            watch.stop()
            await watching

        self._stack.push_async_callback(end, self._watch)

    def _observe_detector_call(self, call: DetectorCall) -> None:
        self.metrics.observe_detector_call(call)
        notes.add_detector_call(call)

    def _reclaim_memory(self) -> None:
        reclaiming = asyncio.create_task(reclaim(idle=lambda: not self.in_flight.count))

        async def end() -> None:
            reclaiming.cancel()
            await asyncio.wait([reclaiming])

        self._stack.push_async_callback(end)

    def _reloaded(self, policies: PolicySet) -> None:
        self.metrics.observe_reload(success=True)
        self.metrics.serve_policies(policies)
        self._warn_of_bounds(policies)

    def _warn_of_bounds(self, policies: PolicySet) -> None:
        info = self._detector.info
        for served in policies.policies.values():
            if missing := served.unavailable(info.measures):
                measures = [measure.value for measure in missing]
                log.warning("policy.measure_unavailable", policy=served.name, detector=info.name, measures=measures)
            if served.vacuous:
                measures = [measure.value for measure in served.vacuous]
                log.warning("policy.bounds_refuse_nothing", policy=served.name, measures=measures)

    async def _close(self, *, grace_seconds: float) -> None:
        # The servers would cut what is in progress without a word: this ends first.
        refusing = asyncio.gather(*(server.stop(grace_seconds + 1) for server in self._servers))
        await self._last_calls(refusing, grace_seconds)
        if self.in_flight.count:
            log.warning("server.calls_cut", calls=self.in_flight.count)
        self.in_flight.are_cut = True
        # Open health watches would hold the servers for the whole grace time: only checks are waited for.
        await asyncio.gather(*(server.stop(0) for server in self._servers))
        await refusing
        await self._stack.aclose()

    async def _last_calls(self, refusing: asyncio.Future[Any], seconds: float) -> None:
        """Wait until what was accepted is answered, or time is up, or the stop is hurried."""
        loop = asyncio.get_running_loop()
        end, hurry = loop.time() + seconds, asyncio.ensure_future(self._hurry.wait())
        waiting = True
        while waiting:
            idle = asyncio.ensure_future(self.in_flight.wait_idle())
            events: set[asyncio.Future[Any]] = {refusing, idle, hurry}
            await asyncio.wait(events, timeout=max(0.0, end - loop.time()), return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            if not self.in_flight.count:
                # A handler's end is not yet its answer's, which gRPC may still have to write; and what it has accepted may begin.
                await asyncio.wait([refusing], timeout=LAST_ANSWERS_SECONDS)
            waiting = self.in_flight.count > 0 and not refusing.done() and not hurry.done() and loop.time() < end
        hurry.cancel()

    async def _listen_everywhere(self) -> Ports:
        settings = self.settings
        await self.health.set_ready(ready=False)
        servicer = FaceQualityServicer(self.gate, self.store)
        main = build_server(servicer, self.health, self.metrics, self.in_flight, self._admission, settings)
        grpc_port = self._bind(main, settings.grpc_address)
        health_port = None
        if settings.health_address:
            health_port = self._bind(build_health_server(self.health), settings.health_address)
        metrics_port = self._serve_metrics(settings.metrics_address)
        # Last, when every address is ours: gRPC's core can crash if a server is stopped as soon as it is started.
        for server in self._servers:
            await server.start()
        return Ports(grpc_port, metrics_port, health_port)

    def _bind(self, server: grpc.aio.Server, address: str) -> int:
        self._servers.append(server)
        try:
            socket.getaddrinfo(*split_address(address), type=socket.SOCK_STREAM)
            return server.add_insecure_port(address)
        except socket.gaierror as error:
            raise StartError(f"cannot listen on {address}: {error.strerror}") from error
        except RuntimeError as error:
            raise StartError(f"cannot listen on {address}: the address is in use or not this machine's") from error

    def _serve_metrics(self, address: str) -> int:
        try:
            port, close = serve_metrics(*split_address(address), self.metrics.registry)
        except OSError as error:
            raise StartError(f"cannot serve metrics on {address}: {error.strerror or error}") from error
        # It waits for the server's thread, which looks for its end twice a second.
        self._stack.push_async_callback(asyncio.to_thread, close)
        return port

    def _announce(self, ports: Ports) -> None:
        info, policies = self._detector.info, self.store()
        policy = policies.get("")
        log.info(
            "server.started",
            version=__version__,
            detector=info.name,
            default_policy=policy.name,
            policy_revision=policy.revision,
            policies=sorted(policies.policies),
            policy_source=policies.source,
            grpc_port=ports.grpc,
            metrics_port=ports.metrics,
            health_port=ports.health,
        )
        if not info.cloud_calibrated:
            log.warning("detector.not_the_cloud", text=EMBEDDED_WARNING)
        if sends_in_the_clear(self.settings):
            log.warning(
                "settings.vendor_without_tls", text="photos and a token, if there is one, go to the vendor's endpoint over http"
            )
        if self.settings.deadline_seconds > self.settings.grace_seconds:
            log.warning("settings.grace_too_short", text="a stop cuts calls that the deadline would let run on")
        self._warn_of_bounds(policies)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; a second one ends at once.

    Raises:
        StartError: the gate cannot start.
    """
    # First: a container's process 1 has no death by signal, and nobody signals twice.
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, signals.put_nowait, number)
    metrics = Metrics(_process_registry())
    metrics.serve_log(lambda: sink.lost)
    _take_every_file_descriptor()
    with StallWatch(metrics.loop_lag.observe, metrics.loop_stalls.inc) as stalls:
        detector = await asyncio.to_thread(build_detector, settings, metrics, stalls.stalled_within)
        app = App(settings, detector, metrics=metrics)
        await app.start()
        log.info("server.signal", signal=(await signals.get()).name)
        stopping = asyncio.create_task(app.stop(drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds))
        again = asyncio.create_task(signals.get())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            log.warning("server.stopping_at_once")
            app.hurry()
        again.cancel()
        await stopping
    for number in _SIGNALS:
        # The end is near: one more signal must not turn exit status 0 into a death by signal.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _take_every_file_descriptor() -> None:
    """Raise the soft limit on open files to the hard one: at 1024, idle connections alone could lock everybody out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry
