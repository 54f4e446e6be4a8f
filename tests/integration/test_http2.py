"""What HTTP/2 itself allows to clients, frame by frame."""

from __future__ import annotations

import asyncio

import pytest
from facequality.rpc import server

from tests.loading import local
from tests.running import running

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
"""Types of HTTP/2 frames."""
END_STREAM, END_HEADERS = 1, 4
"""Flags of frames."""
INITIAL_WINDOW_SIZE = b"\0\4"
MAX_CONCURRENT_STREAMS = b"\0\3"
"""An HTTP/2 setting."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Of the whole connection, without flags."""
    return len(payload).to_bytes(3, "big") + bytes([kind]) + bytes(5) + payload


def call(stream: int, path: str) -> bytes:
    """A call with an empty message: headers as literals, then five bytes."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "gate", "te": "trailers"}
    fields["content-type"] = "application/grpc"
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields.items()
    )
    headers, data = (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
        for kind, flags, payload in ((HEADERS, END_HEADERS, block), (DATA, END_STREAM, bytes(5)))
    )
    return headers + data


async def kinds(reader: asyncio.StreamReader, stream: int) -> list[tuple[int, int]]:
    """Read a stream's frames to its end: their types and flags."""
    found: list[tuple[int, int]] = []
    while not found or (found[-1][0] != RST_STREAM and not found[-1][1] & END_STREAM):
        header = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(header[:3], "big"))
        if int.from_bytes(header[5:], "big") == stream:
            found.append((header[3], header[4]))
    return found


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


async def test_a_stop_waits_until_answers_have_left() -> None:
    """The handler is done, but its caller has not taken the answer yet."""
    app = local()[0]
    ports = await app.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.grpc)
    no_window = frame(SETTINGS, INITIAL_WINDOW_SIZE + bytes(4))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window + call(1, "/facequality.v1.FaceQualityService/ListPolicies"))
    labels = {"grpc_type": "unary", "grpc_service": "facequality.v1.FaceQualityService", "grpc_method": "ListPolicies"}
    while not app.metrics.registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": "OK"}):
        await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(app.stop(drain_seconds=0, grace_seconds=5))
    await asyncio.sleep(0.2)
    assert not stopping.done()
    writer.write((4).to_bytes(3, "big") + bytes([WINDOW_UPDATE, 0]) + (1).to_bytes(4, "big") + (65_535).to_bytes(4, "big"))
    found = await kinds(reader, 1)
    assert [kind for kind, _ in found] == [HEADERS, DATA, HEADERS]
    writer.close()
    await stopping


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
