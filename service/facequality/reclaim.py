"""Returns memory to the system after a burst: glibc keeps every free page that lies below one in use."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

PAUSE_SECONDS = 0.5
"""How often to check whether a burst is over, s."""

WORTH_BYTES = 64 * 1024 * 1024
"""Less than this is kept: returning memory takes milliseconds, and so does getting it again."""


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 where Linux does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def reclaim(idle: Callable[[], bool]) -> None:
    """Return what bursts leave behind, whenever ``idle``, for ever; do nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    kept = resident_bytes()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if idle() and resident_bytes() > kept + WORTH_BYTES:
            # This locks the allocator, so nobody may be waiting.
            await asyncio.to_thread(trim, 0)
            kept = resident_bytes()
