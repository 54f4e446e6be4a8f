"""A decorator of the port that tells an observer about each call: how long, and with which class of outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from facequality.detector import Detector, DetectorInfo
from facequality.detectors.decorator import DetectorDecorator
from facequality.errors import ErrorReason, GateError, InvalidRequest
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused


class Outcome(StrEnum):
    """What alerts key on: a closed set of classes."""

    OK = "ok"
    PHOTO_REFUSED = "photo_refused"
    CALLER = "caller"
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    ACCOUNT = "account"
    CONFIGURATION = "configuration"
    THROTTLED = "throttled"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    BREAKER_OPEN = "breaker_open"
    NETWORK = "network"
    UPSTREAM = "upstream"
    MALFORMED = "malformed"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    BUG = "bug"


_R = ErrorReason
_OUTCOMES = {
    _R.MESSAGE_MALFORMED: Outcome.CALLER,
    _R.PARAMETER_MISSING: Outcome.CALLER,
    _R.PARAMETER_INVALID: Outcome.CALLER,
    _R.IMAGE_EMPTY: Outcome.CALLER,
    _R.URL_INVALID: Outcome.CALLER,
    _R.URL_FORBIDDEN: Outcome.CALLER,
    _R.FACE_NUM_LIMIT: Outcome.CALLER,
    _R.POLICY_NOT_FOUND: Outcome.CALLER,
    _R.IMAGE_DOWNLOAD_FAILED: Outcome.CALLER,
    _R.UPSTREAM_CREDENTIALS: Outcome.CREDENTIALS,
    _R.UPSTREAM_TOKEN: Outcome.CREDENTIALS,
    _R.UPSTREAM_PERMISSION: Outcome.PERMISSION,
    _R.UPSTREAM_IP_DENIED: Outcome.PERMISSION,
    _R.UPSTREAM_ACCOUNT: Outcome.ACCOUNT,
    _R.UPSTREAM_ACCOUNT_PROVISIONING: Outcome.ACCOUNT,
    _R.UPSTREAM_CONFIG: Outcome.CONFIGURATION,
    _R.UPSTREAM_CLOCK_SKEW: Outcome.CONFIGURATION,
    _R.MODEL_VERSION_NOT_ALLOWED: Outcome.CONFIGURATION,
    _R.UPSTREAM_RATE_LIMIT: Outcome.THROTTLED,
    _R.UPSTREAM_QUOTA: Outcome.QUOTA,
    _R.UPSTREAM_NETWORK: Outcome.NETWORK,
    _R.UPSTREAM_TIMEOUT: Outcome.UPSTREAM,
    _R.UPSTREAM_INTERNAL: Outcome.UPSTREAM,
    _R.UPSTREAM_HTTP_STATUS: Outcome.UPSTREAM,
    _R.UPSTREAM_RESPONSE_TOO_LARGE: Outcome.UPSTREAM,
    _R.UPSTREAM_UNKNOWN: Outcome.UPSTREAM,
    _R.UPSTREAM_UNEXPECTED: Outcome.UPSTREAM,
    _R.UPSTREAM_MALFORMED: Outcome.MALFORMED,
    _R.UPSTREAM_BREAKER_OPEN: Outcome.BREAKER_OPEN,
    _R.DEADLINE: Outcome.DEADLINE,
    _R.OVERLOADED: Outcome.OVERLOADED,
    _R.GATE_BUG: Outcome.BUG,
}


def outcome_of(error: BaseException) -> Outcome:
    """Class an exception that ended a detector call."""
    if isinstance(error, InvalidRequest):
        # Also for reasons that are normally the operator's, where the caller chose the value.
        return Outcome.CALLER
    if isinstance(error, GateError):
        return _OUTCOMES[error.reason]
    return Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.BUG


@dataclass(frozen=True, slots=True)
class DetectorCall:
    """One finished call of a detector."""

    detector: DetectorInfo
    outcome: Outcome
    seconds: float


class ObservedDetector(DetectorDecorator):
    """Passes calls on and tells the observer how they ended; an answer from the cache was no call."""

    def __init__(
        self,
        inner: Detector,
        observe: Callable[[DetectorCall], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``clock`` gives seconds."""
        super().__init__(inner)
        self._observe = observe
        self._clock = clock

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises."""
        started = self._clock()
        try:
            answer = await self._inner.detect(photo, options)
        except BaseException as error:
            self._tell(outcome_of(error), started)
            raise
        if not answer.cached:
            self._tell(Outcome.PHOTO_REFUSED if isinstance(answer, PhotoRefused) else Outcome.OK, started)
        return answer

    def _tell(self, outcome: Outcome, started: float) -> None:
        self._observe(DetectorCall(self.info, outcome, self._clock() - started))
