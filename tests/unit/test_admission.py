"""Which calls may begin."""

from __future__ import annotations

import asyncio

import pytest
from facequality.admission import Admission, AdmissionLimits, Place
from facequality.errors import Overloaded
from hypothesis import given
from hypothesis import strategies as st

LARGEST = 8


def admission(calls: int = 2, room: int = 4, queued: int = 2, seconds: float = 30, shed: list[str] | None = None) -> Admission:
    limits = AdmissionLimits(calls, room * LARGEST, LARGEST, queued, seconds)
    return Admission(limits, on_shed=(shed if shed is not None else []).append)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_over_the_limit_wait_their_turn() -> None:
    """First come, first served."""
    gate = admission(calls=1)
    first = await gate.enter()
    order: list[int] = []

    async def call(number: int) -> None:
        place = await gate.enter()
        order.append(number)
        place.leave()

    waiting = [asyncio.create_task(call(number)) for number in range(2)]
    await settle()
    assert (gate.queued, order) == (2, [])
    first.leave()
    await asyncio.gather(*waiting)
    assert order == [0, 1]
    assert (gate.queued, gate.held_bytes) == (0, 0)


async def test_a_full_line_refuses_at_once() -> None:
    """And says so."""
    shed: list[str] = []
    gate = admission(calls=1, queued=0, shed=shed)
    place = await gate.enter()
    with pytest.raises(Overloaded, match="1 calls are in progress"):
        await gate.enter()
    assert shed == ["queue_full"]
    place.leave()


async def test_a_wait_that_is_too_long_is_a_refusal() -> None:
    """The line is short in time too."""
    shed: list[str] = []
    gate = admission(calls=1, seconds=0.01, shed=shed)
    place = await gate.enter()
    with pytest.raises(Overloaded):
        await gate.enter()
    assert (shed, gate.queued) == (["queue_time"], 0)
    place.leave()
    (await gate.enter()).leave()


async def test_room_is_set_aside_for_the_largest_message_until_it_is_read() -> None:
    """Then what it did not need is another's."""
    gate = admission(calls=9, room=2)
    first, second = await gate.enter(), await gate.enter()
    third = asyncio.create_task(gate.enter())
    first.shrink(LARGEST // 2)
    await settle()
    assert not third.done()
    second.shrink(LARGEST // 2)
    await settle()
    assert third.done()
    assert gate.held_bytes == 2 * LARGEST
    for place in (first, second, third.result()):
        place.leave()
    assert gate.held_bytes == 0


async def test_a_caller_that_goes_as_its_turn_comes_leaves_nothing_behind() -> None:
    """Not its place, not its room."""
    gate = admission(calls=1)
    first = await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await settle()
    first.leave()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert_empty(gate, calls=1)


async def test_a_turn_is_not_lost_on_a_caller_that_has_gone() -> None:
    """It is the next one's."""
    gate = admission(calls=1)
    first = await gate.enter()
    gone, waiting = (asyncio.create_task(gate.enter()) for _ in range(2))
    await settle()
    gone.cancel()
    first.leave()
    await settle()
    assert gone.cancelled()
    assert waiting.done()
    waiting.result().leave()
    assert_empty(gate, calls=1)


@given(st.lists(st.tuples(st.sampled_from(["enter", "cancel", "shrink", "leave"]), st.integers(0, LARGEST)), max_size=60))
def test_whatever_happens_the_bounds_hold_and_everything_is_given_back(steps: list[tuple[str, int]]) -> None:
    """Cancelled at any moment."""

    async def run() -> None:
        gate = admission(calls=3, room=3, queued=3)
        calls: list[asyncio.Task[Place]] = []
        shrunk: list[Place] = []
        for number, (step, size) in enumerate(steps):
            held = [place for call in calls if (place := admitted(call)) is not None]
            if step == "enter":
                calls.append(asyncio.create_task(gate.enter()))
            elif step == "cancel" and calls:
                calls[size % len(calls)].cancel()
            elif step == "shrink" and held and held[0] not in shrunk:
                shrunk.append(held[0])
                held[0].shrink(size)
            elif step == "leave" and held:
                leave(calls, held[-1])
            if number % 2:
                await asyncio.sleep(0)
            assert sum(admitted(call) is not None for call in calls) <= 3
            assert gate.held_bytes <= 3 * LARGEST
        await settle()
        while held := [place for call in calls if (place := admitted(call)) is not None]:
            leave(calls, held[0])
            await settle()
        assert all(call.done() for call in calls)
        assert_empty(gate, calls=3)

    asyncio.run(run())


def assert_empty(gate: Admission, calls: int) -> None:
    """Nothing is held, and every place is free: so many calls may begin, and no more."""
    assert (gate.held_bytes, gate.queued) == (0, 0)
    assert [gate.enter_at_once() is not None for _ in range(calls + 1)] == [True] * calls + [False]


def admitted(call: asyncio.Task[Place]) -> Place | None:
    return call.result() if call.done() and not call.cancelled() and call.exception() is None else None


def leave(calls: list[asyncio.Task[Place]], place: Place) -> None:
    calls[:] = [call for call in calls if admitted(call) is not place]
    place.leave()
