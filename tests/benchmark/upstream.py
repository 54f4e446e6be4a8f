"""A cheap fake vendor in a process of its own: reads a request, answers after a delay. Prints its port, counts its connections.

``python -m tests.benchmark.upstream --delay 0.05 --certificate FILE``; ``GET /`` answers with the counts. With ``--stall`` it reads the
beginning of each request and then no more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from pathlib import Path

import uvloop

ANSWER = (Path(__file__).parent.parent / "data" / "detectface_example_2.json").read_bytes()
BUFFER = bytearray(1 << 20)
"""Shared: nobody looks at a body."""


class Counts:
    """What has come so far."""

    connections = 0
    requests = 0


class Vendor(asyncio.BufferedProtocol):
    """HTTP/1.1 with Content-Length, one request at a time."""

    def __init__(self, delay: float, *, stall: bool) -> None:
        self._delay = delay
        self._stall = stall
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counts.connections += 1
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(BUFFER)

    def buffer_updated(self, nbytes: int) -> None:
        if self._stall:
            self._transport.pause_reading()  # type: ignore[attr-defined]
        elif self._left:
            self._left -= nbytes
        else:
            self._head += BUFFER[:nbytes]
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            if head.startswith(b"GET"):
                Counts.connections -= 1
                self._answer(json.dumps({"connections": Counts.connections, "requests": Counts.requests}).encode())
                return
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            self._left = int(length) - len(body)
        if self._left == 0:
            Counts.requests += 1
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._answer, ANSWER)
            else:
                self._answer(ANSWER)

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)  # type: ignore[attr-defined]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--stall", action="store_true")
    options = parser.parse_args()
    tls = None
    if options.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Vendor(options.delay, stall=options.stall), "127.0.0.1", 0, ssl=tls, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the driver reads it
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
