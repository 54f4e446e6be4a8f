"""Detects when the event loop stands still: the node froze, the CPU was taken away, or code blocked it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Self

import structlog

log = structlog.get_logger()

PERIOD_SECONDS = 0.1
"""How often the loop's lag is measured."""

STALL_SECONDS = 0.3
"""A lag from which on the loop counts as stalled, s: what timed out meanwhile says nothing about the other side."""


class StallWatch:
    """A context manager that measures how late the running event loop calls back."""

    def __init__(self, on_lag: Callable[[float], None], on_stall: Callable[[], None]) -> None:
        """``on_lag`` is told of each measurement, s; ``on_stall`` of each that is a stall."""
        self._on_lag = on_lag
        self._on_stall = on_stall
        self._last = -math.inf

    def __enter__(self) -> Self:
        """Begin."""
        self._loop = asyncio.get_running_loop()
        self._schedule()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._timer.cancel()

    def stalled_within(self, seconds: float) -> bool:
        """Whether the loop has stood still in the last ``seconds``."""
        return self._loop.time() - self._last <= seconds

    def _schedule(self) -> None:
        self._due = self._loop.time() + PERIOD_SECONDS
        # A timer, not a task: tasks whose time ran out meanwhile run after all timers, and must find the stall noted.
        self._timer = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        lag = max(0.0, self._loop.time() - self._due)
        self._on_lag(lag)
        if lag >= STALL_SECONDS:
            self._last = self._loop.time()
            self._on_stall()
            log.warning("loop.stalled", seconds=round(lag, 2))
        self._schedule()
