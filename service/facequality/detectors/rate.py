"""Decorators of the port that make calls wait for their turn: for the account's quota per second, and for a connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from aiolimiter import AsyncLimiter

from facequality import deadline
from facequality.detector import Detector
from facequality.detectors.decorator import DetectorDecorator
from facequality.errors import ErrorReason, LimitReached, Overloaded
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused

BURST = 0.05
"""Burst as a share of a second's quota. The rest is the refill rate, so that no second ever exceeds the quota."""
LONGEST_WAIT = 1.0
"""Longest wait of a call for its turn, s."""


class RateLimitedDetector(DetectorDecorator):
    """A token bucket: calls wait a little for their turn, and are refused when it does not come."""

    def __init__(
        self,
        inner: Detector,
        calls_per_second: float,
        *,
        wait_seconds: float = LONGEST_WAIT,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """``calls_per_second``: this process's share of the quota.

        ``on_refused`` is told of each call whose turn did not come.
        """
        super().__init__(inner)
        self._on_refused = on_refused
        burst = max(1.0, BURST * calls_per_second)
        refill = calls_per_second - burst if burst > 1 else calls_per_second
        self._limiter = AsyncLimiter(burst, burst / refill)
        self._wait_seconds = wait_seconds

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector in turn; raises what it raises.

        Raises:
            LimitReached: UPSTREAM_RATE_LIMIT; nothing was sent.
        """
        try:
            await _in_turn(self._limiter.acquire, self._wait_seconds)
        except TimeoutError as error:
            self._on_refused()
            text = "the configured share of the vendor's quota of calls per second is used up"
            raise LimitReached(ErrorReason.UPSTREAM_RATE_LIMIT, text, wait_seconds=self._wait_seconds) from error
        return await self._inner.detect(photo, options)


class ConcurrencyLimitedDetector(DetectorDecorator):
    """Limits calls to the number of connections: a call that waited in the pool would look like a vendor that hangs."""

    def __init__(self, inner: Detector, calls: int, *, on_refused: Callable[[], None] = lambda: None) -> None:
        """``on_refused`` is told of each call whose turn came too late."""
        super().__init__(inner)
        self._calls = calls
        self._on_refused = on_refused
        self._places = asyncio.Semaphore(calls)

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector in turn; raises what it raises.

        Raises:
            Overloaded: nothing was sent.
        """
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        try:
            return await self._inner.detect(photo, options)
        finally:
            self._places.release()

    async def _wait(self) -> None:
        try:
            await _in_turn(self._places.acquire, give_back=self._places.release)
        except TimeoutError as error:
            self._on_refused()
            raise Overloaded(f"each of the gate's {self._calls} connections to the vendor is in use") from error


async def _in_turn(
    acquire: Callable[[], Awaitable[object]], seconds: float = math.inf, *, give_back: Callable[[], None] = lambda: None
) -> None:
    """Acquire within ``seconds``, and while the call has enough time left to use its turn: else it would be paid for nothing.

    Raises:
        TimeoutError: the turn did not come.
    """
    now = asyncio.get_running_loop().time
    end = now() + seconds
    while True:
        until = _until(end)
        had_time = until > now()
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                await acquire()
        except TimeoutError:
            # A more patient caller that joins a shared call extends its deadline.
            if _until(end) <= until:
                raise
        else:
            # Its leaving shortens it again: the turn may have come too late. (A call without time to wait goes if it need not.)
            if had_time and _until(end) < now():
                give_back()
                raise TimeoutError
            return


def _until(end: float) -> float:
    current = deadline.current.get()
    return end if current is None else min(end, current.latest_start)
