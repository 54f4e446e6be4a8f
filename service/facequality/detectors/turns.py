"""Turns on the event loop for what takes long, so that what is short need not wait for all of it."""

from __future__ import annotations

import asyncio
import heapq
from contextvars import Context
from itertools import count


class Turns:
    """In each round of the event loop one waiter goes on: of those that wait, the one whose number was drawn first.

    So the first ends first; were all to advance evenly, all would end late under load, and miss their deadlines. For use in one
    event loop.
    """

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._is_calling = False
        # Not that of whoever waits first: it would be kept for as long as anybody waits.
        self._context = Context()

    def draw(self) -> int:
        """Draw a number."""
        return next(self._numbers)

    def wait(self, number: int) -> asyncio.Future[None]:
        """Wait for the next turn of a number. May be cancelled."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        # The second number orders those that have the same first one.
        heapq.heappush(self._waiting, (number, self.draw(), turn))
        if not self._is_calling:
            self._is_calling = True
            loop.call_soon(self._call, loop, context=self._context)
        return turn

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                loop.call_soon(self._call, loop, context=self._context)
                return
        self._is_calling = False
