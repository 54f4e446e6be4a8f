"""A gate that runs for as long as a test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from facequality.app import App, Ports


@asynccontextmanager
async def running(app: App) -> AsyncIterator[tuple[grpc.aio.Channel, Ports]]:
    """Start a gate and open a channel to it; stop it at the end, of a failed test too."""
    ports = await app.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            yield channel, ports
    finally:
        await app.stop(drain_seconds=0, grace_seconds=1)
