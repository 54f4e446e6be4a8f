"""The cloud detector: signs a DetectFace request, sends it once, reads the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import structlog

from facequality import __version__, correlation
from facequality.detector import DetectorInfo
from facequality.detectors.sharing import Fingerprint
from facequality.detectors.tencentcloud import protocol, signature
from facequality.detectors.tencentcloud.credentials import CredentialSource
from facequality.detectors.transport import AnswerTooLarge, BadAnswer, HttpAnswer, HttpClient, HttpFailure, NoRoom, Url
from facequality.errors import (
    ErrorReason,
    GateError,
    InvalidRequest,
    OperatorFault,
    Overloaded,
    Retry,
    UpstreamFault,
    UpstreamSilent,
)
from facequality.measure import FACE_MEASURES
from facequality.model import Detection, DetectOptions, Photo, PhotoBytes, PhotoRefused

log = structlog.get_logger()

INFO = DetectorInfo("tencentcloud", frozenset(FACE_MEASURES), paid=True, cloud_calibrated=True)

MOST_SKEW = 86_400.0
"""A Date of the vendor's that differs by more is not believed, s."""

SAME_CLOCK = 5.0
"""Offsets that differ by less are the same clock, s: Date has whole seconds, and responses take time."""


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """How DetectFace is called."""

    endpoint: str = "https://iai.tencentcloudapi.com"
    """Scheme and host: the global, a regional, the internal or the international one."""
    region: str = ""
    """X-TC-Region; empty: not sent (DetectFace does not need it)."""
    face_model_version: str = "3.0"
    """For requests that name none."""
    language: str = "en-US"
    """X-TC-Language: of the vendor's messages."""
    attempt_seconds: float = 5.0
    """Limit of one request, from connecting to the whole answer."""
    unsigned_payload: bool = False
    """Leave the body out of the signature: less CPU for large photos, but only TLS protects it then."""


@dataclass(frozen=True, slots=True)
class _Payload:
    """What a request sends and signs."""

    body: protocol.RequestBody
    sha256: str
    """The body's, or the one that is signed instead."""


@dataclass(frozen=True, slots=True)
class _HashedPhoto(PhotoBytes):
    """A photo together with its payload, so that this is made once."""

    payload: _Payload = field(kw_only=True)


class TencentCloudDetector:
    """DetectFace in the cloud. Each request that is sent is billed."""

    info = INFO

    def __init__(
        self,
        credentials: CredentialSource,
        options: CloudOptions | None = None,
        http: HttpClient | None = None,
        *,
        on_paid_call: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_paid_call`` is told of each request that leaves."""
        self._credentials = credentials
        self._options = options = options or CloudOptions()
        self._http = http or HttpClient()
        self._on_paid_call = on_paid_call
        self._offset = 0.0
        # One thread: as many as there are photos would keep the event loop from its processor.
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._url = Url(f"{options.endpoint.rstrip('/')}/")
        # The vendor's page lower-cases signed values, its servers do not: lower case suits both.
        host = urlsplit(options.endpoint).netloc.lower()
        self._signed = (("content-type", protocol.CONTENT_TYPE), ("host", host))
        self._always = {
            "Host": host,
            "Content-Type": protocol.CONTENT_TYPE,
            "Accept": protocol.CONTENT_TYPE,
            "Accept-Encoding": "identity",
            "User-Agent": f"face-quality-gate/{__version__}",
            "X-TC-Action": protocol.ACTION,
            "X-TC-Version": protocol.VERSION,
            "X-TC-Language": options.language,
        }
        if options.region:
            self._always["X-TC-Region"] = options.region
        if options.unsigned_payload:
            self._always["X-TC-Content-SHA256"] = signature.UNSIGNED_PAYLOAD

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call DetectFace once; twice if a kept connection had died, or if the first answer showed that the clock is wrong.

        Raises:
            GateError: the vendor's error, or UPSTREAM_NETWORK, UPSTREAM_HTTP_STATUS, UPSTREAM_MALFORMED, UPSTREAM_CREDENTIALS.
            Overloaded: this machine cannot open another connection.
        """
        payload = photo.payload if isinstance(photo, _HashedPhoto) else await self._payload(photo, options)
        sends = _Sends(self._on_paid_call)
        try:
            return await self._exchange(payload, options, sends)
        except GateError as error:
            if sends.count > 1:
                error.retry = _SENT_TWICE.get(error.retry, error.retry)
            raise

    async def _payload(self, photo: Photo, options: DetectOptions) -> _Payload:
        body = protocol.encode(photo, options, self._options.face_model_version)
        if self._options.unsigned_payload:
            return _Payload(body, signature.UNSIGNED_PAYLOAD_SHA256)
        if len(body) > protocol.LONG_TO_HASH:
            return _Payload(body, await asyncio.get_running_loop().run_in_executor(self._hashing, body.sha256))
        return _Payload(body, body.sha256())

    async def _exchange(self, payload: _Payload, options: DetectOptions, sends: _Sends) -> Detection | PhotoRefused:
        """Send a request, and once more if the vendor's clock has become known in the meantime, from this response or another."""
        signed_with = self._offset
        try:
            return self._read(await self._request(payload, sends), options)
        except _ClockSkew:
            if self._offset == signed_with:
                raise
        return self._read(await self._request(payload, sends), options)

    async def _request(self, payload: _Payload, sends: _Sends) -> HttpAnswer:
        headers, seconds, before = self._headers(payload), self._options.attempt_seconds, sends.count
        try:
            async with asyncio.timeout(seconds):
                return await self._http.request(
                    "POST", self._url, headers, payload.body.chunks, max_answer_bytes=protocol.MAX_ANSWER_BYTES, on_sent=sends
                )
        except TimeoutError as error:
            kind, what = (UpstreamSilent, "gave no answer") if sends.count > before else (UpstreamFault, "was not reached")
            text = f"DetectFace {what} within {seconds:g} s"
            raise kind(ErrorReason.UPSTREAM_NETWORK, text, retry=_retry(sends.count)) from error
        except NoRoom as error:
            raise Overloaded(str(error)) from error
        except HttpFailure as error:
            text = f"DetectFace {'gave no answer' if sends.count > before else 'was not reached'}: {error}"
            raise UpstreamFault(ErrorReason.UPSTREAM_NETWORK, text, retry=_retry(sends.count)) from error
        except AnswerTooLarge as error:
            raise protocol.unread(str(error), error.status) from error
        except BadAnswer as error:
            raise protocol.malformed(str(error)) from error

    def _read(self, answer: HttpAnswer, options: DetectOptions) -> Detection | PhotoRefused:
        try:
            return protocol.decode(answer.status, answer.body, attributes_asked=options.need_face_attributes)
        except OperatorFault as error:
            if error.reason is ErrorReason.UPSTREAM_CLOCK_SKEW:
                self._learn_offset(answer.headers.get("date", ""))
                raise _ClockSkew(error.reason, error.message, metadata=error.metadata) from error
            if error.reason is ErrorReason.MODEL_VERSION_NOT_ALLOWED and options.face_model_version:
                raise InvalidRequest.field(
                    error.reason, "options.face_model_version", "the vendor does not allow it", metadata=error.metadata
                ) from error
            raise

    @property
    def fingerprint(self) -> Fingerprint | None:
        """How to recognise identical calls for free: by the payload's SHA-256, if its signature needs that anyway; else None."""
        return None if self._options.unsigned_payload else self._hashed

    async def _hashed(self, photo: PhotoBytes, options: DetectOptions) -> tuple[str, PhotoBytes]:
        payload = await self._payload(photo, options)
        return payload.sha256, _HashedPhoto(photo.data, payload=payload)

    async def aclose(self) -> None:
        """Close every connection."""
        self._hashing.shutdown(wait=False)
        await self._http.aclose()

    def _learn_offset(self, date: str) -> None:
        """Sign by the vendor's clock from now on, as its response's Date tells it."""
        try:
            offset = parsedate_to_datetime(date).timestamp() - time.time()
        except (ValueError, OverflowError):
            return
        if abs(offset) > MOST_SKEW:
            log.warning("detector.clock_not_believed", detector=INFO.name, seconds=round(offset))
            return
        if abs(offset - self._offset) < SAME_CLOCK:
            return
        self._offset = offset
        log.warning("detector.clock_skew", detector=INFO.name, seconds=round(self._offset))

    def _headers(self, payload: _Payload) -> dict[str, str]:
        credential = self._credentials()
        timestamp = int(time.time() + self._offset)
        canonical = signature.Canonical("POST", "", self._signed, payload.sha256)
        headers = {
            **self._always,
            "Content-Length": str(len(payload.body)),
            "X-TC-Timestamp": str(timestamp),
            "Authorization": signature.authorization(canonical, credential, timestamp, protocol.SERVICE),
        }
        if credential.token:
            headers["X-TC-Token"] = credential.token
        ids = correlation.current.get()
        if ids is not None and ids.traceparent is not None:
            headers[correlation.TRACEPARENT_HEADER] = ids.traceparent
        return headers


class _ClockSkew(OperatorFault):
    """The vendor refused a signature for its time. The client has already tried its clock, so this is not retried."""


class _Sends:
    """Counts the requests sent in one attempt, and reports each."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.count = 0
        self._tell = tell

    def __call__(self) -> None:
        self.count += 1
        self._tell()


_SENT_TWICE = {Retry.YES: Retry.ONCE, Retry.THROTTLE: Retry.SPENT}
"""After an attempt that sent its request twice, there are fewer retries."""


def _retry(sends: int) -> Retry:
    """A request that was sent may have been processed, and billed: it is not sent a third time."""
    return (Retry.YES, Retry.ONCE, Retry.SPENT)[min(sends, 2)]
