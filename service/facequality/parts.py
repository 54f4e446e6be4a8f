"""The parts that a gate is put together from: settings in, detector and policies out."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from cachetools import TTLCache

from facequality.admission import Admission, AdmissionLimits
from facequality.breaker import State
from facequality.deadline import fair_seconds
from facequality.detector import Detector
from facequality.detectors.download import DownloadingDetector
from facequality.detectors.embedded.start import embedded_detector
from facequality.detectors.observed import ObservedDetector
from facequality.detectors.rate import ConcurrencyLimitedDetector, RateLimitedDetector
from facequality.detectors.resilience import BreakingDetector, RetryingDetector
from facequality.detectors.sharing import Answer, Fingerprint, Key, SharingDetector
from facequality.detectors.tencentcloud import client as cloud_client
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.credentials import CredentialSource, FileCredentials, usable
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.errors import OperatorFault, StartError
from facequality.metrics import Metrics
from facequality.notes import add_paid_call
from facequality.photo_uri import UriRules
from facequality.policy import DEFAULT_PRESET, PolicySet, built_in
from facequality.policy_file import load
from facequality.policy_mistakes import PolicyFileError
from facequality.rpc.server import MAX_RECEIVE_BYTES
from facequality.settings import DetectorName, Settings

log = structlog.get_logger()

MIB = 1024 * 1024


def build_detector(settings: Settings, metrics: Metrics, stalled_within: Callable[[float], bool] = lambda _: False) -> Detector:
    """Make the live detector; what only it sees of its calls goes into the metrics.

    ``stalled_within`` tells whether the gate has stood still in the last so many seconds.

    Raises:
        StartError: an extra or a file that it needs is missing, or its keys or authorities cannot be used.
    """
    if settings.detector is DetectorName.EMBEDDED:
        engine = embedded_detector(settings.embedded_workers or None)
        if settings.embedded_fetch_uris:
            engine = DownloadingDetector(engine, rules=uri_rules(settings), connections=settings.max_in_flight)
        return _sharing(engine, settings, metrics)
    return _cloud(settings, metrics, stalled_within)


def admission(settings: Settings, metrics: Metrics) -> Admission:
    """Make the bounds on what is in progress; how much is, goes into the metrics."""
    limits = AdmissionLimits(
        calls=settings.max_in_flight,
        message_bytes=settings.max_in_flight_mib * MIB,
        largest_message=MAX_RECEIVE_BYTES,
        queued=settings.max_queued,
        queue_seconds=settings.queue_seconds,
    )
    made = Admission(limits, on_shed=metrics.observe_shed)
    metrics.serve_admission(in_flight_bytes=lambda: made.held_bytes, queued=lambda: made.queued)
    return made


def load_policies(settings: Settings) -> PolicySet:
    """Load the policies to serve.

    Raises:
        StartError: the policy file is broken; the text names every mistake.
    """
    now = datetime.now(UTC)
    try:
        if settings.policy_file is None:
            return built_in(now, settings.default_policy or DEFAULT_PRESET)
        return load(settings.policy_file, now, settings.default_policy)
    except (PolicyFileError, ValueError) as error:
        raise StartError(str(error)) from error


def uri_rules(settings: Settings) -> UriRules:
    """Make the rules on photo URIs."""
    hosts = (host.strip().lower() for host in settings.photo_uri_hosts.split(","))
    return UriRules(frozenset(host for host in hosts if host))


def _cloud(settings: Settings, metrics: Metrics, stalled_within: Callable[[float], bool]) -> Detector:
    credentials: CredentialSource
    if settings.secret_id_file is not None and settings.secret_key_file is not None:
        credentials = FileCredentials(settings.secret_id_file, settings.secret_key_file, settings.token_file)
    else:
        secrets = (settings.secret_id, settings.secret_key, settings.token)
        secret_id, secret_key, token = (secret.get_secret_value() for secret in secrets)
        credentials = functools.cache(functools.partial(usable, secret_id, secret_key, token or None))
    try:
        credentials()
        tls = ssl.create_default_context(cafile=settings.tencentcloud_ca_file)
    except OperatorFault as error:
        raise StartError(error.message) from error
    except OSError as error:
        raise StartError(f"{settings.tencentcloud_ca_file} is not a PEM file of certificate authorities") from error
    http = HttpOptions(
        connections=settings.tencentcloud_connections,
        connect_seconds=settings.tencentcloud_connect_seconds,
        tls=tls,
        proxy=settings.tencentcloud_proxy.get_secret_value() or None,
    )
    options = CloudOptions(
        endpoint=settings.tencentcloud_endpoint,
        region=settings.tencentcloud_region,
        face_model_version=settings.tencentcloud_face_model_version,
        language=settings.tencentcloud_language,
        attempt_seconds=settings.tencentcloud_attempt_seconds,
        unsigned_payload=settings.tencentcloud_unsigned_payload,
    )
    info = cloud_client.INFO

    def on_paid_call() -> None:
        metrics.observe_paid_call(info)
        add_paid_call()

    def on_state(state: State) -> None:
        metrics.observe_breaker(info, state)
        (log.warning if state is State.OPEN else log.info)("detector.breaker", detector=info.name, state=state.value)

    client = TencentCloudDetector(credentials, options, HttpClient(http), on_paid_call=on_paid_call)
    within_quota: Detector = ObservedDetector(client, metrics.observe_attempt)
    if settings.tencentcloud_qps:
        on_refused = functools.partial(metrics.observe_shed, "quota")
        within_quota = RateLimitedDetector(within_quota, settings.tencentcloud_qps, on_refused=on_refused)
    metrics.serve_quota(settings.tencentcloud_qps)
    on_refused = functools.partial(metrics.observe_shed, "connections")
    limited = ConcurrencyLimitedDetector(within_quota, settings.tencentcloud_connections, on_refused=on_refused)
    fair = fair_seconds(settings.deadline_seconds)
    breaking = BreakingDetector(limited, fair_seconds=fair, stalled_within=stalled_within, on_state=on_state)
    retrying = RetryingDetector(breaking, on_retry=functools.partial(metrics.observe_retry, info))
    return _sharing(retrying, settings, metrics, client.fingerprint)


def _sharing(inner: Detector, settings: Settings, metrics: Metrics, fingerprint: Fingerprint | None = None) -> Detector:
    cache: TTLCache[Key, Answer] | None = None
    if settings.cache_seconds:
        cache = TTLCache(settings.cache_entries, settings.cache_seconds)
    return SharingDetector(inner, fingerprint, cache=cache, on_saved=metrics.observe_saved_call)
