"""The circuit breaker's state machine."""

from __future__ import annotations

import pytest
from facequality.breaker import Breaker, BreakerRules, State
from hypothesis import given
from hypothesis import strategies as st

RULES = BreakerRules(faults_in_a_row=3, share=0.5, window=10, open_seconds=10, probes=2)


def state(breaker: Breaker) -> State:
    return breaker.state


def tripped(rules: BreakerRules = RULES, *, now: float = 0) -> Breaker:
    breaker = Breaker(rules)
    for _ in range(3):
        run(breaker, fault=True, now=now)
    assert state(breaker) is State.OPEN
    return breaker


def run(breaker: Breaker, *, fault: bool, now: float) -> None:
    ticket = breaker.admit(now)
    assert ticket is not None
    breaker.record(ticket, fault=fault, now=now)


def test_it_opens_after_ten_in_a_row_or_half_of_forty() -> None:
    """As README says, and lets three probes through after ten seconds."""
    assert BreakerRules() == BreakerRules(faults_in_a_row=10, share=0.5, window=40, open_seconds=10.0, probes=3)


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


def test_calls_that_may_be_slow_for_reasons_of_their_own_leave_the_last_probe_to_others() -> None:
    """Or slow hosts of photos could keep it half open for everybody."""
    breaker = tripped()
    assert breaker.admit(10, leave_one=True) is not None
    assert breaker.admit(10, leave_one=True) is None
    assert breaker.admit(10) is not None


def test_probes_that_have_ended_or_were_those_of_the_last_time_hold_no_place() -> None:
    """Or a gate that is only asked about URIs would run out of them."""
    breaker = tripped()
    for _ in range(2):
        ticket = breaker.admit(10, leave_one=True)
        assert ticket is not None
        breaker.record(ticket, fault=False, now=10)
    assert state(breaker) is State.CLOSED
    breaker = tripped()
    pending, faulty = breaker.admit(10), breaker.admit(10)
    assert pending is not None
    assert faulty is not None
    breaker.record(faulty, fault=True, now=10)
    assert [breaker.admit(20) is not None for _ in range(3)] == [True, True, False]


def test_where_there_is_one_probe_anyone_may_be_it() -> None:
    """A gate that is only ever asked about URIs must close again, too."""
    breaker = tripped(BreakerRules(faults_in_a_row=3, probes=1))
    assert breaker.admit(10, leave_one=True) is not None
    assert breaker.admit(10) is None


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
    assert [breaker.admit(10) is not None for _ in range(2)] == [True, False]


def test_a_straggler_from_before_a_change_of_state_tells_nothing() -> None:
    """A slow failure of the last outage does not fail today's probe, nor is a cancelled one's place a probe's."""
    breaker = Breaker(RULES)
    straggler = breaker.admit(0)
    assert straggler is not None
    for _ in range(3):
        run(breaker, fault=True, now=0)
    assert breaker.admit(10) is not None
    breaker.record(straggler, fault=True, now=11)
    assert state(breaker) is State.HALF_OPEN
    assert breaker.admit(11) is not None
    breaker.release(straggler)
    assert breaker.admit(11) is None


def test_only_recent_calls_have_a_share() -> None:
    """The window moves on, and nothing is counted before it is full."""
    breaker = Breaker(RULES)
    for _ in range(20):
        run(breaker, fault=False, now=0)
    for fault in (True, True, False, True, True, False):
        run(breaker, fault=fault, now=0)
    assert state(breaker) is State.CLOSED
    run(breaker, fault=True, now=0)
    assert state(breaker) is State.OPEN
    young = Breaker(RULES)
    for fault in (True, True, False, True, True, False, True):
        run(young, fault=fault, now=0)
    assert state(young) is State.CLOSED


def test_closed_again_it_has_forgotten_the_outage() -> None:
    """Neither its row nor its share."""
    row = tripped()
    for _ in range(2):
        run(row, fault=False, now=10)
    run(row, fault=True, now=11)
    assert state(row) is State.CLOSED
    share = Breaker(RULES)
    for fault in (True, True, False, True, True, False, False, False, True, True):
        run(share, fault=fault, now=0)
    assert state(share) is State.OPEN
    for fault in (False, False, False, True):
        run(share, fault=fault, now=10)
    assert state(share) is State.CLOSED


def test_open_again_it_has_forgotten_the_probes_that_succeeded() -> None:
    """All of them must, in one go."""
    breaker = tripped()
    run(breaker, fault=False, now=10)
    run(breaker, fault=True, now=10)
    assert state(breaker) is State.OPEN
    run(breaker, fault=False, now=20)
    assert state(breaker) is State.HALF_OPEN


def test_half_open_it_says_to_come_back_in_a_second() -> None:
    """By then the probes may be in."""
    breaker = tripped()
    breaker.admit(10)
    assert breaker.retry_after(10) == 1


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
