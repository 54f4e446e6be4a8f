"""A decorator of the port that keeps within the account's quota of calls per second."""

from __future__ import annotations

import asyncio

from aiolimiter import AsyncLimiter

from facequality.detector import Detector
from facequality.detectors import deadline
from facequality.detectors.decorator import DetectorDecorator
from facequality.errors import ErrorReason, LimitReached
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused

BURST = 0.05
"""Calls that may be made at once, as a share of a second's quota. The rest of it is the refill: together they never exceed it."""
LONGEST_WAIT = 1.0
"""How long a call waits for its turn, s."""
MARGIN = 0.02
"""It stops waiting this long before its deadline, s."""


class RateLimitedDetector(DetectorDecorator):
    """A token bucket: calls wait a little for their turn, and are refused when it does not come."""

    def __init__(self, inner: Detector, calls_per_second: float, *, wait_seconds: float = LONGEST_WAIT) -> None:
        """``calls_per_second``: this process's share of the quota."""
        super().__init__(inner)
        burst = max(1.0, BURST * calls_per_second)
        refill = calls_per_second - burst if burst > 1 else calls_per_second
        self._limiter = AsyncLimiter(burst, burst / refill)
        self._wait_seconds = wait_seconds

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector in turn; raises what it raises.

        Raises:
            LimitReached: UPSTREAM_RATE_LIMIT; nothing was sent.
        """
        wait = self._wait_seconds
        if (current := deadline.current.get()) is not None:
            # A call whose time ends in this line must not look like a vendor that hangs.
            wait = min(wait, current.at - asyncio.get_running_loop().time() - MARGIN)
        try:
            async with asyncio.timeout(wait):
                await self._limiter.acquire()
        except TimeoutError as error:
            text = "the configured share of the vendor's quota of calls per second is used up"
            raise LimitReached(ErrorReason.UPSTREAM_RATE_LIMIT, text, wait_seconds=self._wait_seconds) from error
        return await self._inner.detect(photo, options)
