"""Prometheus metrics. The RPC side has the names and spellings of go-grpc-middleware, which stock dashboards know.

Label values come from closed sets only: policies served, enums of the contract, gRPC codes. Series exist from the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from facequality import __version__
from facequality.breaker import State
from facequality.detector import DetectorInfo
from facequality.detectors.observed import DetectorCall
from facequality.detectors.outcome import Outcome, outcome_of
from facequality.detectors.sharing import Saved
from facequality.errors import GateError
from facequality.evaluation import is_assessed
from facequality.gate import CheckResult
from facequality.measure import FACE_MEASURES, MEASURES, QUALITY_MEASURES
from facequality.model import Detection, Face, Judgement, Measure, Reason, Verdict
from facequality.policy import PolicySet
from facequality.stall import STALL_SECONDS

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10)
QUALITY_POINTS = tuple(range(10, 101, 10))
FACE_PIXELS = (34, 60, 80, 100, 150, 200, 300, 500, 1000, 2000)
LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1, 3, 10)
DEGREES = (-30, -20, -15, -10, -5, 0, 5, 10, 15, 20, 30)

NEAR = 5.0
"""A finding is near its threshold within this margin, in the measure's unit (points, degrees, px)."""

_SPELLINGS = {code: "".join(word.capitalize() for word in code.name.split("_")) for code in grpc.StatusCode}
_SPELLINGS |= {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}

_SCALES = frozenset(measure for measure in FACE_MEASURES if not MEASURES[measure].is_flag)
_POSES = (Measure.PITCH, Measure.YAW, Measure.ROLL)


class _Counted(Collector):
    """A counter without labels that is counted elsewhere."""

    def __init__(self, name: str, text: str, count: Callable[[], float]) -> None:
        self._name, self._text, self._count = name, text, count

    def collect(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self._name, self._text, value=self._count())]


@dataclass(frozen=True, slots=True)
class MethodMetrics:
    """The series of one gRPC method."""

    started: Counter
    received: Counter
    sent: Counter
    handled: Mapping[grpc.StatusCode, Counter]
    handling: Histogram

    def observe_start(self) -> None:
        """An RPC has begun."""
        self.started.inc()

    def observe_message(self) -> None:
        """An RPC's message has been read."""
        self.received.inc()

    def observe_end(self, code: grpc.StatusCode, seconds: float) -> None:
        """An RPC is complete."""
        self.handled[code].inc()
        self.handling.observe(seconds)
        if code is grpc.StatusCode.OK:
            self.sent.inc()


_TO_REJECTED, _TO_ACCEPTED = _DIRECTIONS = ("accepted_to_rejected", "rejected_to_accepted")


class Metrics:
    """Every metric of the process, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; ``registry`` must not hold another instance's."""
        self.registry = registry
        disable_created_metrics()
        call = ("grpc_type", "grpc_service", "grpc_method")
        # Looking up a labelled child costs more than incrementing it.
        self._child: Callable[..., Any] = functools.cache(lambda metric, *labels: metric.labels(*labels))

        def counter(name: str, text: str, labels: Iterable[str]) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.started = counter("grpc_server_started_total", "RPCs started.", call)
        self.handled = counter("grpc_server_handled_total", "RPCs completed, by code.", (*call, "grpc_code"))
        self.received = counter("grpc_server_msg_received_total", "Messages received.", call)
        self.sent = counter("grpc_server_msg_sent_total", "Messages sent.", call)
        self.handling = histogram("grpc_server_handling_seconds", "Seconds until an RPC completed.", call, SECONDS)

        self.loop_lag = histogram("facequality_event_loop_lag_seconds", "How late the event loop calls back.", (), LAG_SECONDS)
        self.loop_stalls = counter(
            "facequality_event_loop_stalls_total", f"How often it called back {STALL_SECONDS:g} s late or later.", ()
        )
        self.in_flight = gauge("facequality_in_flight_calls", "RPCs in progress, health checks aside.")
        self.in_flight_bytes = gauge("facequality_in_flight_bytes", "Bytes of messages held, or set aside for.")
        self.queued = gauge("facequality_queued_calls", "RPCs that wait for a place.")
        self.shed = counter("facequality_shed_calls_total", "Calls that the gate itself refused to begin.", ("cause",))
        for cause in ("queue_full", "queue_time", "connections", "quota"):
            self.shed.labels(cause)
        self.checks = counter("facequality_checks_total", "Photos judged.", ("policy", "verdict"))
        self.rejections = counter("facequality_rejections_total", "Reasons of rejections.", ("policy", "reason"))
        self.near = counter(
            "facequality_near_threshold_total",
            f"Findings within {NEAR:g} points, degrees or px of a bound.",
            ("policy", "measure", "status"),
        )
        self.quality = histogram("facequality_quality_score", "Quality of judged faces, 0-100.", ("measure",), QUALITY_POINTS)
        self.face_size = histogram("facequality_face_size_pixels", "Shorter side of judged faces.", (), FACE_PIXELS)
        self.pose = histogram("facequality_pose_degrees", "Pose of judged faces.", ("measure",), DEGREES)
        self.detector_calls = counter(
            "facequality_detector_requests_total", "Detector calls by class of outcome.", ("detector", "outcome")
        )
        self.detector_seconds = histogram("facequality_detector_seconds", "Seconds a detector call took.", ("detector",), SECONDS)
        self.attempt_seconds = histogram(
            "facequality_detector_attempt_seconds",
            "Seconds from when a paid detector was called to its answer: no wait for a turn in it, no retry.",
            ("detector",),
            SECONDS,
        )
        self.paid = counter("facequality_paid_calls_total", "Detector calls that the vendor bills.", ("detector",))
        self.retries = counter(
            "facequality_detector_retries_total", "Detector calls made again, by class of outcome.", ("detector", "outcome")
        )
        self.breaker = gauge("facequality_breaker_state", "1 for the circuit breaker's state.", ("detector", "state"))
        self.saved = counter("facequality_saved_calls_total", "Detector calls saved.", ("cause",))
        for cause in ("local_rejection", *Saved):
            self.saved.labels(cause)
        self.quota = gauge("facequality_quota_calls_per_second", "Configured share of the vendor's quota; 0: no limit.")
        self.would_flip = counter(
            "facequality_shadow_would_flip_total",
            "Reasons that turn verdicts under the shadow policy.",
            ("policy", "shadow", "direction", "reason"),
        )
        self.flips = counter(
            "facequality_shadow_flips_total",
            "Checks whose verdict the shadow policy would turn.",
            ("policy", "shadow", "direction"),
        )
        self.reloads = counter("facequality_policy_reloads_total", "Reloads of the policy files.", ("result",))
        for result in ("success", "failure"):
            self.reloads.labels(result)
        self.reload_ok = gauge(
            "facequality_policy_last_reload_successful", "1 if what is served is what the policy files say, else 0."
        )
        self.reload_ok.set(1)
        self.policy_info = gauge("facequality_policy_info", "Served policies.", ("policy", "revision", "is_default"))
        self.build_info = gauge("facequality_build_info", "Version and detector.", ("version", "detector"))
        self._observed_measures = tuple(
            (read, MEASURES[measure].takes, histogram.labels(measure.value).observe)
            for histogram, measures in ((self.quality, QUALITY_MEASURES), (self.pose, _POSES))
            for measure in measures
            if (read := MEASURES[measure].read) is not None
        )

    def of_method(self, grpc_type: str, service: str, method: str) -> MethodMetrics:
        """Create a method's series at 0."""
        labels = (grpc_type, service, method)
        return MethodMetrics(
            started=self.started.labels(*labels),
            received=self.received.labels(*labels),
            sent=self.sent.labels(*labels),
            handled={code: self.handled.labels(*labels, spelling) for code, spelling in _SPELLINGS.items()},
            handling=self.handling.labels(*labels),
        )

    def serve_policies(self, policies: PolicySet) -> None:
        """Create the served policies' series at 0 and state their revisions."""
        self.policy_info.clear()
        for policy in policies.policies.values():
            is_default = "true" if policy.name == policies.default else "false"
            self.policy_info.labels(policy.name, policy.revision, is_default).set(1)
            for verdict in Verdict:
                self.checks.labels(policy.name, verdict.value)
            for reason in Reason:
                self.rejections.labels(policy.name, reason.value)
            for direction in _DIRECTIONS if policy.shadow else ():
                self.flips.labels(policy.name, policy.shadow, direction)
                for reason in Reason:
                    self.would_flip.labels(policy.name, policy.shadow, direction, reason.value)
            for measure in (bounded for bounded in policy.bounds if not MEASURES[bounded].is_flag):
                for status in ("PASS", "FAIL"):
                    self.near.labels(policy.name, measure.value, status)

    def serve_detector(self, detector: DetectorInfo) -> None:
        """Create the live detector's series at 0."""
        self.build_info.labels(__version__, detector.name).set(1)
        self.detector_seconds.labels(detector.name)
        self.paid.labels(detector.name)
        if detector.paid:
            self.attempt_seconds.labels(detector.name)
        for outcome in Outcome:
            self.detector_calls.labels(detector.name, outcome.value)
            self.retries.labels(detector.name, outcome.value)
        self.observe_breaker(detector, State.CLOSED)

    def serve_admission(self, *, in_flight_bytes: Callable[[], float], queued: Callable[[], float]) -> None:
        """Read these at each scrape."""
        self.in_flight_bytes.set_function(in_flight_bytes)
        self.queued.set_function(queued)

    def serve_quota(self, calls_per_second: float) -> None:
        """State the configured share of the vendor's quota."""
        self.quota.set(calls_per_second)

    def serve_log(self, lines_lost: Callable[[], float]) -> None:
        """Read this at each scrape; it never falls."""
        self.registry.register(_Counted("facequality_log_lines_lost", "Log lines that could not be written.", lines_lost))

    def observe_shed(self, cause: str) -> None:
        """A call was refused: the gate was busy, or its share of the vendor's quota used up."""
        self.shed.labels(cause).inc()

    def observe_saved_call(self, cause: Saved) -> None:
        """A check needed no detector call of its own."""
        self.saved.labels(cause.value).inc()

    def observe_reload(self, *, success: bool) -> None:
        """The policy files were read again."""
        self._child(self.reloads, "success" if success else "failure").inc()
        self.reload_ok.set(success)

    def observe_check(self, result: CheckResult) -> None:
        """A photo was judged."""
        policy = result.policy.name
        self._child(self.checks, policy, result.judgement.verdict.value).inc()
        for reason in result.judgement.reasons:
            self._child(self.rejections, policy, reason.value).inc()
        if result.refused_locally:
            self._child(self.saved, "local_rejection").inc()
        for finding in result.judgement.findings:
            margin = finding.margin if finding.measure in _SCALES else None
            if margin is not None and abs(margin) <= NEAR:
                self._child(self.near, policy, finding.measure.value, finding.status.value).inc()
        if result.shadow is not None and result.shadow.judgement.verdict is not result.judgement.verdict:
            self._observe_flip(policy, result.shadow.policy.name, result.judgement, result.shadow.judgement)
        if isinstance(result.answer, Detection) and result.judged_face is not None:
            self._observe_face(result.answer.faces[result.judged_face], result.answer)

    def observe_detector_call(self, call: DetectorCall) -> None:
        """A detector call ended."""
        self._child(self.detector_calls, call.detector.name, call.outcome.value).inc()
        self._child(self.detector_seconds, call.detector.name).observe(call.seconds)

    def observe_attempt(self, call: DetectorCall) -> None:
        """A paid detector answered, or failed to."""
        self._child(self.attempt_seconds, call.detector.name).observe(call.seconds)

    def observe_retry(self, detector: DetectorInfo, error: GateError) -> None:
        """A detector call is made again."""
        self._child(self.retries, detector.name, outcome_of(error).value).inc()

    def observe_breaker(self, detector: DetectorInfo, state: State) -> None:
        """The circuit breaker stands so."""
        for each in State:
            self._child(self.breaker, detector.name, each.value).set(each is state)

    def observe_paid_call(self, detector: DetectorInfo) -> None:
        """A request that the vendor bills left."""
        self._child(self.paid, detector.name).inc()

    def _observe_flip(self, policy: str, shadow: str, answered: Judgement, shadowed: Judgement) -> None:
        rejects = shadowed.verdict is Verdict.REJECTED
        direction = _TO_REJECTED if rejects else _TO_ACCEPTED
        self._child(self.flips, policy, shadow, direction).inc()
        for reason in shadowed.reasons if rejects else answered.reasons:
            self._child(self.would_flip, policy, shadow, direction, reason.value).inc()

    def _observe_face(self, face: Face, detection: Detection) -> None:
        """Measures are observed whether or not the policy bounds them: bounds are chosen by looking at them."""
        self.face_size.observe(face.box.size)
        if not is_assessed(face, detection):
            return
        for read, takes, observe in self._observed_measures:
            value = read(face, detection)
            if value is not None and takes(value):
                observe(value)
