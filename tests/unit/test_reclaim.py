"""What is given back to the system."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from facequality import reclaim
from facequality.reclaim import resident_bytes

BLOCK = 100_000
"""Bytes; too few for a mapping of their own, so that one in use holds those below it."""


async def test_what_a_burst_leaves_is_given_back_once_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before."""
    monkeypatch.setattr(reclaim, "PAUSE_SECONDS", 0.01)
    idle = False
    task = asyncio.create_task(reclaim.reclaim(lambda: idle))
    await asyncio.sleep(0.02)
    before = resident_bytes()
    burst = [b"x" * BLOCK for _ in range(2000)]
    in_use = burst[::100]
    held = resident_bytes() - before
    assert held > 150e6
    del burst
    await asyncio.sleep(0.1)
    assert resident_bytes() - before > 0.8 * held
    idle = True
    async with asyncio.timeout(5):
        while resident_bytes() - before > 0.2 * held:
            await asyncio.sleep(0.01)
    assert len(in_use) == 20
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
