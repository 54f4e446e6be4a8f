"""A call's deadline: one budget for queueing, reading, every attempt and the response."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from facequality.errors import DeadlineExceeded

NEARLY_OVER_SECONDS = 0.1
"""A call that is cancelled with less than this left, s, counts as having met its deadline: the caller's timer may be early.

With more left, its caller has lost interest.
"""


def fair_seconds(budget: float) -> float:
    """Return how much of a call's budget, s, a detector must have had to be blamed for not answering."""
    return min(1.0, 0.8 * budget)


@dataclass(slots=True)
class Deadline:
    """When a call must end: the event loop's time, s, and the budget that led to it, s."""

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Count from now."""
        return cls(asyncio.get_running_loop().time() + seconds, seconds)

    @property
    def latest_start(self) -> float:
        """The latest time to call a detector so that it has a fair part of the budget; event loop's time, s."""
        return self.at - fair_seconds(self.budget)

    def cover(self, others: Iterable[Deadline | None]) -> None:
        """Extend or shorten to the latest of other deadlines; None has no end."""
        self.at, self.budget = max((each.at, each.budget) if each is not None else (math.inf, math.inf) for each in others)


current: ContextVar[Deadline | None] = ContextVar("facequality_deadline", default=None)
"""The deadline of the call that the current task serves."""


class Enforced:
    """A context manager that cancels its body at the call's deadline, or at a limit of its own.

    Raises:
        DeadlineExceeded: the time is up.
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
            # A timer would only fire after a whole request had been sent, and billed.
            raise DeadlineExceeded(self._budget, self._awaited)
        self._timer = asyncio.timeout_at(at if at < math.inf else None)
        await self._timer.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeadlineExceeded(self._budget, self._awaited) from error
