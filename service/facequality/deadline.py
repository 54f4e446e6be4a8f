"""A call's time: one budget for waiting, reading, every attempt and the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from facequality.errors import DeadlineExceeded

NEARLY_OVER_SECONDS = 0.1
"""With no more of its time left, s, a cancelled call was ended by its caller's deadline, not by a loss of interest.

The caller's own timer may fire a little before the gate's.
"""


def fair_seconds(budget: float) -> float:
    """Tell how much of a call's budget, s, a detector must have had to be blamed for not answering in it."""
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
        """When a detector must be called, event loop's time, s, to have its fair part of the budget."""
        return self.at - fair_seconds(self.budget)

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
