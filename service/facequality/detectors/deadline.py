"""A call's time: one budget for waiting, reading, every attempt and the answer; and a decorator of the port that ends with it.

The decorator stands beneath the observer: a detector that hangs is a deadline to alerts, not a caller that went away.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from facequality.detectors.decorator import DetectorDecorator
from facequality.errors import DeadlineExceeded
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused

NEARLY_OVER_SECONDS = 0.1
"""With no more left of its time, s, a call is as good as over, and a caller that goes away has not lost interest.

Its own timer fires around ours, before it where the request was longer on its way than the caller's leaving.
"""


@dataclass(slots=True)
class Deadline:
    """When a call must end: the event loop's time, s, and the budget that led to it, s."""

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Count from now."""
        return cls(asyncio.get_running_loop().time() + seconds, seconds)

    def cover(self, others: Iterable[Deadline | None]) -> None:
        """Last as long as the longest of others; None has no end."""
        self.at, self.budget = max((each.at, each.budget) if each is not None else (math.inf, math.inf) for each in others)


current: ContextVar[Deadline | None] = ContextVar("facequality_deadline", default=None)
"""The deadline of the call that this task serves."""


class Enforced:
    """A context manager that ends what is within when the call's time is spent, or a limit of its own.

    Raises:
        DeadlineExceeded: it is.
    """

    __slots__ = ("_awaited", "_budget", "_limit", "_timer")

    def __init__(self, awaited: str = "answer", limit: float = math.inf) -> None:
        """``limit``, s, on what is ``awaited``."""
        self._awaited = awaited
        self._limit = limit

    async def __aenter__(self) -> None:
        """Begin."""
        deadline = current.get()
        now = asyncio.get_running_loop().time()
        at, self._budget = now + self._limit, self._limit
        if deadline is not None and deadline.at < at:
            at, self._budget = deadline.at, deadline.budget
        if at <= now:
            # A timer alone would let a whole request leave, and be paid, before it fires.
            raise DeadlineExceeded(self._budget, self._awaited)
        self._timer = asyncio.timeout_at(at if at < math.inf else None)
        await self._timer.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeadlineExceeded(self._budget, self._awaited) from error


class DeadlineDetector(DetectorDecorator):
    """Passes calls on for as long as there is time."""

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises.

        Raises:
            DeadlineExceeded: the call's time is spent.
        """
        async with Enforced():
            return await self._inner.detect(photo, options)
