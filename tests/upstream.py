"""A DetectFace endpoint on loopback: real HTTP, scripted answers, the signature verified with the official SDK's signer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tencentcloud.common.sign import Sign

SECRET_ID, SECRET_KEY = "AKIDtest", "test-secret-key"
DATA = Path(__file__).parent / "data"
EXAMPLES = {number: (DATA / f"detectface_example_{number}.json").read_bytes() for number in (1, 2)}

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=([^/]+)/(\d{4}-\d\d-\d\d)/([^/]+)/tc3_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire."""

    connection: int
    line: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def document(self) -> dict[str, object]:
        """The body's JSON."""
        document: dict[str, object] = json.loads(self.body)
        return document

    def verify(self) -> None:
        """Assert that the signature is right, as the vendor would check it."""
        match = _AUTHORIZATION.fullmatch(self.headers["authorization"])
        assert match is not None, self.headers["authorization"]
        secret_id, date, service, names, signature = match.groups()
        assert secret_id == SECRET_ID
        payload = self.body
        if self.headers.get("x-tc-content-sha256") == "UNSIGNED-PAYLOAD":
            payload = b"UNSIGNED-PAYLOAD"
        headers = "".join(f"{name}:{self.headers[name]}\n" for name in names.split(";"))
        canonical = f"POST\n/\n\n{headers}\n{names}\n{hashlib.sha256(payload).hexdigest()}"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"TC3-HMAC-SHA256\n{self.headers['x-tc-timestamp']}\n{date}/{service}/tc3_request\n{hashed}"
        assert Sign.sign_tc3(SECRET_KEY, date, service, text) == signature


Exchange = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


async def answer(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK", kind: str = "application/json") -> None:
    """Write a whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def answering(body: bytes, status: str = "200 OK", kind: str = "application/json") -> Exchange:
    """Always answer this."""

    async def exchange(_: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, body, status, kind)

    return exchange


def error(code: str) -> bytes:
    """An error envelope."""
    return json.dumps({"Response": {"Error": {"Code": code, "Message": "secret text"}, "RequestId": "req-1"}}).encode()


@dataclass
class Upstream:
    """The endpoint, and what it has received."""

    exchange: Exchange = field(default_factory=lambda: answering(EXAMPLES[2]))
    before_body: Exchange | None = None
    """Runs when a request's head is there, instead of reading its body."""
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    open_writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        connection = self.connections
        self.open_writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, value in (each.split(":", 1) for each in lines)}
                if self.before_body is not None:
                    await self.before_body(Received(connection, line, headers, b""), writer)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Received(connection, line, headers, body)
                self.received.append(request)
                await self.exchange(request, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.open_writers.discard(writer)
            writer.close()


@asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Upstream]:
    """Listen on a loopback port; 0: a free one."""
    endpoint = Upstream()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", port, ssl=tls, limit=2**16)
    port = server.sockets[0].getsockname()[1]
    endpoint.url = f"https://localhost:{port}" if tls is not None else f"http://127.0.0.1:{port}"
    try:
        yield endpoint
    finally:
        server.close()
        for writer in list(endpoint.open_writers):
            writer.transport.abort()
        await server.wait_closed()
