"""Admission control: a limit on calls, a limit on the bytes of their messages, and a short queue for both."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from facequality.errors import Overloaded


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The limits of admission."""

    calls: int
    """Calls in progress."""
    message_bytes: int
    """Bytes of their messages."""
    largest_message: int
    """Bytes reserved for a call until its message has been read."""
    queued: int
    """Calls that may wait for either limit."""
    queue_seconds: float
    """Longest wait, s."""


class Admission:
    """Admits calls, first come first served, and refuses the rest. For use in one event loop."""

    def __init__(self, limits: AdmissionLimits, *, on_shed: Callable[[str], None] = lambda _: None) -> None:
        """``on_shed`` is told the cause of each refusal: queue_full or queue_time."""
        self._limits = limits
        self._on_shed = on_shed
        self._line: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of messages held or reserved."""
        return self._held

    @property
    def queued(self) -> int:
        """Calls waiting."""
        return len(self._line)

    def enter_at_once(self) -> Place | None:
        """Take a place and reserve room for the largest message, if both are free and nobody is waiting."""
        if self._line or not self._fits():
            return None
        self._take()
        return Place(self, self._limits.largest_message)

    async def enter(self) -> Place:
        """Wait for a place and for room for the largest message.

        Raises:
            Overloaded: the queue is full, or the wait was too long.
        """
        place = self.enter_at_once()
        if place is None:
            await self._wait()
            place = Place(self, self._limits.largest_message)
        return place

    def give_back(self, size: int, *, place: bool) -> None:
        """Take back room, and perhaps a place, and admit those who have waited longest."""
        self._held -= size
        self._running -= place
        while self._line and self._fits():
            turn = self._line.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)

    async def _wait(self) -> None:
        if len(self._line) >= self._limits.queued:
            raise self._shed("queue_full")
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(self._limits.queue_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The turn came in the same moment.
                self.give_back(self._limits.largest_message, place=True)
            elif turn in self._line:
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._shed("queue_time") from error
            raise

    def _shed(self, cause: str) -> Overloaded:
        self._on_shed(cause)
        return Overloaded(f"{self._running} calls are in progress")

    def _fits(self) -> bool:
        limits = self._limits
        return self._running < limits.calls and self._held + limits.largest_message <= limits.message_bytes

    def _take(self) -> None:
        self._running += 1
        self._held += self._limits.largest_message


class Place:
    """The place and the room of one admitted call."""

    __slots__ = ("_admission", "_size")

    def __init__(self, admission: Admission, size: int) -> None:
        """Hold ``size`` bytes."""
        self._admission = admission
        self._size = size

    def shrink(self, size: int) -> None:
        """Keep only ``size`` bytes reserved: the message has been read."""
        spare = self._size - size
        self._size = size
        self._admission.give_back(spare, place=False)

    def leave(self) -> None:
        """Give everything back. Once."""
        self._admission.give_back(self._size, place=True)
