"""What HTTP/2 itself allows to clients, frame by frame."""

from __future__ import annotations

import asyncio

import pytest
from facequality.rpc import server

from tests.loading import local
from tests.running import running

SETTINGS, PING, GOAWAY = 4, 6, 7
"""Types of HTTP/2 frames."""
MAX_CONCURRENT_STREAMS = b"\0\3"
"""An HTTP/2 setting."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Of the whole connection, without flags."""
    return len(payload).to_bytes(3, "big") + bytes([kind]) + bytes(5) + payload


async def goes_away(reader: asyncio.StreamReader) -> None:
    """Read until the server asks to leave."""
    kind = None
    while kind != GOAWAY:
        header = await reader.readexactly(9)
        kind = header[3]
        await reader.readexactly(int.from_bytes(header[:3], "big"))


async def test_a_connection_carries_only_so_many_calls() -> None:
    """Each whose answer is not taken holds memory that no other bound counts."""
    async with running(local()[0]) as (_, ports):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.grpc)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        header = await reader.readexactly(9)
        assert header[3] == SETTINGS
        payload = await reader.readexactly(int.from_bytes(header[:3], "big"))
        settings = {payload[at : at + 2]: int.from_bytes(payload[at + 2 : at + 6], "big") for at in range(0, len(payload), 6)}
        assert settings[MAX_CONCURRENT_STREAMS] == server.CONCURRENT_STREAMS
        writer.close()


@pytest.mark.parametrize(("seconds", "welcome"), [(0.02, True), (60, False)])
async def test_a_client_may_ping_an_idle_connection(monkeypatch: pytest.MonkeyPatch, seconds: float, welcome: bool) -> None:
    """As keepalive does, which a health watch keeps going; more often than allowed, the connection is closed."""
    name = "grpc.http2.min_ping_interval_without_data_ms"
    # The most patient minimum of a client's: gRPC for Go has 10 s.
    assert 1000 <= dict(server._OPTIONS)[name] < 10_000
    options = [(option, round(1000 * seconds) if option == name else value) for option, value in server._OPTIONS]
    monkeypatch.setattr(server, "_OPTIONS", tuple(options))
    async with running(local()[0]) as (_, ports):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.grpc)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        went = asyncio.ensure_future(goes_away(reader))
        for _ in range(6):
            writer.write(frame(PING, bytes(8)))
            await asyncio.sleep(0.05)
        assert went.done() is not welcome
        went.cancel()
        writer.close()
