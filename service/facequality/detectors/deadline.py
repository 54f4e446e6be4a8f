"""A decorator of the port that ends a call when its time is spent, and says so.

It stands beneath the observer: a detector that hangs is a deadline to alerts, not a caller that went away.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from facequality.detector import Detector, DetectorInfo
from facequality.errors import DeadlineExceeded
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call must end: the event loop's time, s, and the budget that led to it, s."""

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Count from now."""
        return cls(asyncio.get_running_loop().time() + seconds, seconds)


current: ContextVar[Deadline | None] = ContextVar("facequality_deadline", default=None)
"""The deadline of the call that this task serves."""


class DeadlineDetector:
    """Passes calls on for as long as there is time."""

    def __init__(self, inner: Detector) -> None:
        """Wrap a detector."""
        self._inner = inner

    @property
    def info(self) -> DetectorInfo:
        """The inner detector's."""
        return self._inner.info

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises.

        Raises:
            DeadlineExceeded: the call's time is spent.
        """
        deadline = current.get()
        if deadline is None:
            return await self._inner.detect(photo, options)
        if deadline.at <= asyncio.get_running_loop().time():
            # A timer alone would let a whole request leave, and be paid, before it fires.
            raise DeadlineExceeded(deadline.budget)
        timer = asyncio.timeout_at(deadline.at)
        try:
            async with timer:
                return await self._inner.detect(photo, options)
        except TimeoutError as error:
            if timer.expired():
                raise DeadlineExceeded(deadline.budget) from error
            raise

    async def aclose(self) -> None:
        """Close the inner detector."""
        await self._inner.aclose()
