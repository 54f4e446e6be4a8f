"""The circuit breaker's state machine."""

from __future__ import annotations

import asyncio

import pytest
from facequality.breaker import Breaker, BreakerRules, State
from facequality.detectors import deadline
from facequality.detectors.resilience import BreakingDetector
from facequality.errors import ErrorReason, UpstreamFault
from facequality.model import DetectOptions, PhotoBytes
from hypothesis import given
from hypothesis import strategies as st

from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector, RecordingDetector

PHOTO = PhotoBytes(b"x")
RULES = BreakerRules(faults_in_a_row=3, share=0.5, window=10, open_seconds=10, probes=2)


def state(breaker: Breaker) -> State:
    return breaker.state


def tripped(now: float = 0) -> Breaker:
    breaker = Breaker(RULES)
    for _ in range(3):
        run(breaker, fault=True, now=now)
    assert state(breaker) is State.OPEN
    return breaker


def run(breaker: Breaker, *, fault: bool, now: float) -> None:
    ticket = breaker.admit(now)
    assert ticket is not None
    breaker.record(ticket, fault=fault, now=now)


def test_faults_in_a_row_open_it_and_one_success_between_does_not() -> None:
    """Three in a row here."""
    breaker = Breaker(RULES)
    for fault in (True, True, False, True, True):
        run(breaker, fault=fault, now=0)
    assert state(breaker) is State.CLOSED
    run(breaker, fault=True, now=0)
    assert state(breaker) is State.OPEN


def test_a_share_of_recent_faults_opens_it() -> None:
    """Half of ten, never three in a row."""
    breaker = Breaker(RULES)
    for fault in (True, True, False, True, True, False, False, False, False):
        run(breaker, fault=fault, now=0)
    assert state(breaker) is State.CLOSED
    run(breaker, fault=True, now=0)
    assert state(breaker) is State.OPEN


def test_open_it_refuses_until_its_time_is_up() -> None:
    """And says how long that is."""
    breaker = tripped(now=100)
    assert breaker.admit(109.9) is None
    assert breaker.retry_after(104) == 6
    assert breaker.admit(110) is not None
    assert state(breaker) is State.HALF_OPEN


def test_half_open_it_lets_a_bounded_number_of_probes_through() -> None:
    """Two at a time here; both must succeed."""
    breaker = tripped()
    first, second = breaker.admit(10), breaker.admit(10)
    assert first is not None
    assert second is not None
    assert breaker.admit(10) is None
    breaker.record(first, fault=False, now=11)
    assert state(breaker) is State.HALF_OPEN
    breaker.record(second, fault=False, now=11)
    assert state(breaker) is State.CLOSED


def test_one_faulty_probe_opens_it_again() -> None:
    """For the whole time."""
    breaker = tripped()
    run(breaker, fault=True, now=10)
    assert state(breaker) is State.OPEN
    assert breaker.admit(19.9) is None


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """It told nothing."""
    breaker = tripped()
    tickets = [breaker.admit(10), breaker.admit(10)]
    assert breaker.admit(10) is None
    assert tickets[0] is not None
    breaker.release(tickets[0])
    assert breaker.admit(10) is not None


def test_a_straggler_from_before_a_change_of_state_tells_nothing() -> None:
    """A slow failure of the last outage does not fail today's probe."""
    breaker = Breaker(RULES)
    straggler = breaker.admit(0)
    assert straggler is not None
    for _ in range(3):
        run(breaker, fault=True, now=0)
    assert breaker.admit(10) is not None
    breaker.record(straggler, fault=True, now=11)
    assert state(breaker) is State.HALF_OPEN


async def test_every_new_state_is_told_when_it_begins() -> None:
    """Half open too, though its probe may hang."""
    now, told = 0.0, list[State]()
    fault = UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "down")
    inner = RecordingDetector(fault)
    detector = BreakingDetector(
        inner, Breaker(BreakerRules(faults_in_a_row=1, probes=1)), clock=lambda: now, on_state=told.append
    )
    with pytest.raises(UpstreamFault):
        await detector.detect(PHOTO, DetectOptions())
    assert told == [State.OPEN]
    now = 10.0
    with pytest.raises(UpstreamFault):
        await detector.detect(PHOTO, DetectOptions())
    assert told == [State.OPEN, State.HALF_OPEN, State.OPEN]
    now, inner.answer = 20.0, EXAMPLE_2
    await detector.detect(PHOTO, DetectOptions())
    assert told[3:] == [State.HALF_OPEN, State.CLOSED]


@pytest.mark.parametrize(
    ("spent", "left", "state"),
    [
        (1.2, 0.0, State.OPEN),
        # Its caller's own timer was first, by as much as the request was longer on its way than the caller's leaving.
        (1.2, 0.05, State.OPEN),
        (1.2, 5.0, State.CLOSED),
        (0.9, 0.0, State.CLOSED),
    ],
)
async def test_a_call_that_ends_with_its_time_is_the_vendors_fault_if_it_had_a_second(
    spent: float, left: float, state: State
) -> None:
    """Whoever's timer is first. A caller that leaves early tells nothing of the vendor."""
    now, breaker = 0.0, Breaker(BreakerRules(faults_in_a_row=1))
    inner = FakeDetector()
    inner.answer = asyncio.CancelledError()
    detector = BreakingDetector(inner, breaker, clock=lambda: now)
    deadline.current.set(deadline.Deadline.after(left))
    call = asyncio.ensure_future(detector.detect(PHOTO, DetectOptions()))
    # It has been admitted once it waits.
    inner.delay = 0.01
    await asyncio.sleep(0)
    now = spent
    with pytest.raises(asyncio.CancelledError):
        await call
    assert breaker.state is state


@given(st.lists(st.tuples(st.sampled_from(["ok", "fault", "release", "admit"]), st.floats(0, 5)), max_size=80))
def test_any_history_keeps_its_bounds(history: list[tuple[str, float]]) -> None:
    """Never more probes than allowed, never stuck: after its time it admits again once the probes are in."""
    breaker, now = Breaker(RULES), 0.0
    pending: list[int] = []
    for what, pause in history:
        now += pause
        if what == "admit" or not pending:
            ticket = breaker.admit(now)
            if ticket is not None:
                pending.append(ticket)
            continue
        ticket = pending.pop()
        if what == "release":
            breaker.release(ticket)
        else:
            breaker.record(ticket, fault=what == "fault", now=now)
        assert 0 <= breaker._probing <= RULES.probes
    while pending:
        breaker.release(pending.pop())
    assert breaker.admit(now + RULES.open_seconds) is not None


@pytest.mark.parametrize("fault", [True, False])
def test_closed_it_refuses_nobody(fault: bool) -> None:
    """Short of its rules."""
    breaker = Breaker(RULES)
    run(breaker, fault=fault, now=0)
    assert breaker.admit(0) is not None
