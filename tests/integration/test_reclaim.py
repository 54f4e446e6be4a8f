"""What is given back to the system."""

from __future__ import annotations

import subprocess
import sys

BURST = """
import asyncio

from facequality import reclaim
from facequality.reclaim import resident_bytes

reclaim.PAUSE_SECONDS = 0.01
asked, trimmed = [], []
BLOCK = 100_000  # bytes; too few for a mapping of their own, so that one in use holds those below it


async def looks(number):
    # Until it has been asked so many times more whether nothing is in progress.
    asked.clear()
    while len(asked) < number:
        await asyncio.sleep(0.01)


async def main():
    idle = False
    true = asyncio.to_thread
    asyncio.to_thread = lambda *call: trimmed.append(call) or true(*call)
    task = asyncio.create_task(reclaim.reclaim(lambda: asked.append(idle) or idle))
    await looks(2)
    before = resident_bytes()
    burst = [b"x" * BLOCK for _ in range(2000)]
    in_use = burst[::100]
    held = resident_bytes() - before
    del burst
    await looks(5)
    kept = resident_bytes() - before
    idle = True
    await looks(5)
    left = resident_bytes() - before
    # What is in use from now on is no burst.
    base = [bytearray(BLOCK) for _ in range(2000)]
    await looks(5)
    trims = len(trimmed)
    await looks(20)
    task.cancel()
    print(held / 1e6, kept / held, left / held, len(trimmed) - trims, len(in_use), len(base))


asyncio.run(main())
"""


def test_what_a_burst_leaves_is_given_back_once_nobody_waits() -> None:
    """And not before. In a process of its own: nothing else is free or in use."""
    done = subprocess.run([sys.executable, "-c", BURST], check=True, capture_output=True, text=True, timeout=60)
    held, kept, left, again, *_ = map(float, done.stdout.split())
    assert held > 150
    assert kept > 0.8
    assert left < 0.2
    assert again == 0, "what stays in use is not looked for again and again"
