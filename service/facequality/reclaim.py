"""Gives memory back to the system after a burst: glibc keeps every free page below one in use, whatever its thresholds are."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

PAUSE_SECONDS = 0.5
"""How often it is looked whether a burst is over."""

WORTH_BYTES = 64 * 1024 * 1024
"""Less is kept for the next checks: giving back takes milliseconds, and so does having it again."""


def resident_bytes() -> int:
    """Memory of this process that is in use or kept, by Linux's count; 0 where that cannot be read."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def reclaim(idle: Callable[[], bool]) -> None:
    """Give back, for ever, what bursts leave, whenever ``idle``; return at once where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    kept = resident_bytes()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if idle() and resident_bytes() > kept + WORTH_BYTES:
            # The allocator is locked meanwhile: that is why nobody may be waiting.
            await asyncio.to_thread(trim, 0)
            kept = resident_bytes()
