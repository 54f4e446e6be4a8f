"""Turns on the event loop."""

from __future__ import annotations

import asyncio

import pytest
from facequality.detectors.turns import Turns


async def _rounds(counted: list[int]) -> None:
    while True:
        counted[0] += 1
        await asyncio.sleep(0)


async def test_one_goes_on_in_a_round_and_the_first_ends_first() -> None:
    """Whoever has drawn earlier goes before those who have waited longer."""
    turns, counted, gone = Turns(), [0], list[tuple[int, str]]()
    counting = asyncio.ensure_future(_rounds(counted))

    async def work(name: str, number: int) -> None:
        for _ in range(3):
            await turns.wait(number)
            gone.append((counted[0], name))

    numbers = [turns.draw() for _ in range(3)]
    await asyncio.gather(*(work(name, number) for name, number in zip("cba", reversed(numbers), strict=True)))
    counting.cancel()
    assert "".join(name for _, name in gone) == "aaabbbccc"
    assert len({number for number, _ in gone}) == 9


async def test_whoever_leaves_is_passed_over() -> None:
    """A cancelled waiter costs the others nothing, and later ones are called again."""
    turns = Turns()
    first, second = (asyncio.ensure_future(_one(turns)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(1):
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        for _ in range(3):
            await _one(turns)
            await asyncio.sleep(0.001)


async def _one(turns: Turns) -> None:
    await turns.wait(turns.draw())
