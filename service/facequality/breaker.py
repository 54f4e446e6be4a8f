"""A circuit breaker as a pure state machine: times in, decisions out. It knows nothing of what it protects.

CLOSED lets every call through and opens after enough faults in a row, or a large enough share of recent ones. OPEN refuses
until its time is up, then HALF_OPEN lets a bounded number of probes through: if they all succeed it closes, if one faults
it opens again. Only faults count against it: whoever calls ``record`` leaves out verdicts, callers' errors and
cancellations.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens and how it closes."""

    faults_in_a_row: int = 10
    share: float = 0.5
    """Share of faults, 0..1, that opens it, counted over the window."""
    window: int = 40
    """Recent calls that the share is counted over; it counts only once there are as many."""
    open_seconds: float = 10.0
    probes: int = 3
    """Calls let through at a time, and successes needed, when half open."""


@dataclass(slots=True)
class Breaker:
    """The state machine. ``now`` is any clock that does not go back, s."""

    rules: BreakerRules = field(default_factory=BreakerRules)
    state: State = State.CLOSED
    _opened_at: float = 0.0
    _row: int = 0
    _recent: deque[bool] = field(default_factory=deque)
    _probing: int = 0
    _succeeded: int = 0
    _era: int = 0

    def admit(self, now: float, *, leave_one: bool = False) -> int | None:
        """Decide on a call: None refuses it; a ticket admits it and goes to one ``record`` or ``release``.

        ``leave_one``: it may be slow for a reason of its own, and leaves one of several probes' places to calls that are not.
        """
        if self.state is State.OPEN and now >= self._opened_at + self.rules.open_seconds:
            self._enter(State.HALF_OPEN)
        if self.state is State.HALF_OPEN and self._probing < max(1, self.rules.probes - leave_one):
            self._probing += 1
            return self._era
        return self._era if self.state is State.CLOSED else None

    def retry_after(self, now: float) -> float:
        """Seconds until a refused call may be admitted."""
        return max(0.0, self._opened_at + self.rules.open_seconds - now) if self.state is State.OPEN else 1.0

    def record(self, ticket: int, *, fault: bool, now: float) -> None:
        """Record how an admitted call ended; calls admitted before the last change of state are ignored."""
        if ticket != self._era:
            return
        if self.state is State.HALF_OPEN:
            self._probing -= 1
            self._succeeded += not fault
            if fault:
                self._open(now)
            elif self._succeeded >= self.rules.probes:
                self._enter(State.CLOSED)
        else:
            self._row = self._row + 1 if fault else 0
            self._recent.append(fault)
            if len(self._recent) > self.rules.window:
                self._recent.popleft()
            full = len(self._recent) == self.rules.window
            if self._row >= self.rules.faults_in_a_row or (full and sum(self._recent) >= self.rules.share * self.rules.window):
                self._open(now)

    def release(self, ticket: int) -> None:
        """Record that an admitted call ended without a result: it was cancelled, or the error was its caller's."""
        if ticket == self._era and self.state is State.HALF_OPEN:
            self._probing -= 1

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._enter(State.OPEN)

    def _enter(self, state: State) -> None:
        self.state = state
        self._era += 1
        self._row = self._probing = self._succeeded = 0
        self._recent.clear()
