"""Decorators of the port for a detector that may fail and is paid per call: a circuit breaker and bounded retries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import stamina

from facequality import deadline
from facequality.breaker import Breaker, State
from facequality.detector import Detector
from facequality.detectors.decorator import DetectorDecorator
from facequality.detectors.outcome import Outcome, outcome_of
from facequality.errors import ErrorReason, GateError, Retry, UpstreamFault, UpstreamSilent
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused, PhotoUri

FAULTS = frozenset({Outcome.NETWORK, Outcome.UPSTREAM, Outcome.MALFORMED})
"""Outcomes that count as vendor faults; verdicts, callers' and operators' errors, throttling and cancellations do not."""

ATTEMPTS = 3
FIRST_WAIT = 0.1
"""Full jitter: waits are drawn from 0 to a bound that starts here and doubles, s."""
THROTTLED_WAIT = 1.0
"""Least wait after the vendor has throttled, s."""


class BreakingDetector(DetectorDecorator):
    """Refuses calls at once while the vendor is known to be failing."""

    def __init__(
        self,
        inner: Detector,
        breaker: Breaker | None = None,
        *,
        fair_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        stalled_within: Callable[[float], bool] = lambda _: False,
        on_state: Callable[[State], None] = lambda _: None,
    ) -> None:
        """A deadline that expires in less than ``fair_seconds`` is no vendor fault: impatient callers must not open the breaker.

        Nor is a failure during which the gate itself stood still; ``stalled_within(seconds)`` tells whether it did that recently.
        ``on_state`` is told of each new state.
        """
        super().__init__(inner)
        self._fair_seconds = fair_seconds
        self._breaker = breaker or Breaker()
        self._clock = clock
        self._stalled_within = stalled_within
        self._on_state = on_state
        self._told = self._breaker.state

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises.

        Raises:
            UpstreamFault: UPSTREAM_BREAKER_OPEN; nothing was sent.
        """
        started = self._clock()
        # A slow host of a URI must not occupy every probe.
        ticket = self._breaker.admit(started, leave_one=isinstance(photo, PhotoUri))
        self._tell_state()
        if ticket is None:
            text = "the vendor has been failing: not called at the moment"
            wait = self._breaker.retry_after(started)
            raise UpstreamFault(ErrorReason.UPSTREAM_BREAKER_OPEN, text, wait_seconds=wait)
        try:
            answer = await self._inner.detect(photo, options)
        except BaseException as error:
            now = self._clock()
            if self._is_fault(photo, error, now - started):
                self._breaker.record(ticket, fault=True, now=now)
            else:
                self._breaker.release(ticket)
            self._tell_state()
            raise
        self._breaker.record(ticket, fault=False, now=self._clock())
        self._tell_state()
        return answer

    def _is_fault(self, photo: Photo, error: BaseException, seconds: float) -> bool:
        """Whether an error is the vendor's fault. What it downloads is only as fast as the host that the caller chose."""
        if self._stalled_within(seconds):
            return False
        if isinstance(photo, PhotoUri):
            return outcome_of(error) in FAULTS and not isinstance(error, UpstreamSilent)
        return outcome_of(error) in FAULTS or (_timed_out(error) and seconds >= self._fair_seconds)

    def _tell_state(self) -> None:
        if self._breaker.state is not self._told:
            self._told = self._breaker.state
            self._on_state(self._told)


def _timed_out(error: BaseException) -> bool:
    """Whether a cancellation is due to an expired deadline: a vendor that hangs must open the breaker."""
    current = deadline.current.get()
    spent = current is not None and asyncio.get_running_loop().time() >= current.at - deadline.NEARLY_OVER_SECONDS
    return isinstance(error, asyncio.CancelledError) and spent


@dataclass(slots=True)
class RetryBudget:
    """A token bucket: calls earn tokens, retries spend one each. In an outage, retries stay within a share of the calls."""

    share: float = 0.1
    """Tokens that a call earns: one retry per ten calls."""
    most: float = 10.0
    """Tokens kept at most: so many retries at once after a quiet time."""
    tokens: float = 3.0
    """Tokens to begin with, so that the first call of a process may be retried."""

    def earn(self) -> None:
        """A call was made."""
        self.tokens = min(self.most, self.tokens + self.share)

    def spend(self) -> bool:
        """Whether a retry may be made."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class RetryingDetector(DetectorDecorator):
    """Retries errors that the error table marks as retryable, within a budget and the call's deadline."""

    def __init__(
        self,
        inner: Detector,
        budget: RetryBudget | None = None,
        *,
        on_retry: Callable[[GateError], None] = lambda _: None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """``on_retry`` is told of each error before its retry; ``jitter`` draws a wait between two bounds, s."""
        super().__init__(inner)
        self._budget = budget or RetryBudget()
        self._on_retry = on_retry
        self._jitter = jitter

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector, at most three times; raises what the last attempt raised."""
        self._budget.earn()
        try:
            return await self._inner.detect(photo, options)
        except GateError as error:
            # Nearly every call succeeds at once: the retry machinery is set up only when one does not.
            failed: GateError | None = error
        failures, most = 0, ATTEMPTS

        def wait(error: Exception) -> bool | float:
            nonlocal failures, most
            if not isinstance(error, GateError):
                return False
            failures += 1
            if error.retry is Retry.ONCE:
                # For the whole call, whatever comes of the second attempt.
                most = 2
            seconds = self._wait(error, failures)
            if seconds is None or failures >= most or not _fits(seconds) or not self._budget.spend():
                return False
            self._on_retry(error)
            return seconds

        try:
            async for attempt in stamina.retry_context(on=wait, attempts=ATTEMPTS, timeout=None):
                with attempt:
                    if failed is not None:
                        try:
                            raise failed
                        finally:
                            # A frame that holds its own traceback's error would keep the photo until the next collection.
                            failed = None
                    return await self._inner.detect(photo, options)
        except GateError as error:
            if failures > 1 and error.retry is Retry.NEVER:
                # Earlier attempts may have been paid for: gRPC's own retries must not begin anew.
                error.retry = Retry.SPENT
            raise
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, error: GateError, failures: int) -> float | None:
        bound = FIRST_WAIT * 2 ** (failures - 1)
        if error.retry in {Retry.YES, Retry.ONCE}:
            return self._jitter(0.0, bound)
        if error.retry is Retry.THROTTLE:
            return THROTTLED_WAIT + self._jitter(0.0, bound)
        return None


def _fits(seconds: float) -> bool:
    current = deadline.current.get()
    return current is None or asyncio.get_running_loop().time() + seconds + deadline.NEARLY_OVER_SECONDS < current.at
