"""HTTP for detectors: with the emulator's server, the only module that imports an HTTP library.

Requests and responses are httpx's. They go through the httpx-aiohttp transport, called directly: httpx's own pool leaks the
slots of cancelled calls. The transport's error classes mislead (a reset during the response surfaces as a connect timeout), so
failures are classified by their cause, and by whether sending the body had begun.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
from aiohttp import ClientRequest, ClientTimeout
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.resolver import ThreadedResolver
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from facequality.detectors.turns import Turns
from facequality.photo_uri import IpAddress

IDLE_SECONDS = 15.0
"""Idle connections are closed before the peer or a middlebox does."""

LARGE_REST = 384 * 1024
"""A body of which more is left, bytes, waits for its turn: it takes over a third of a millisecond to send."""

Resolver = AbstractResolver
"""Resolves host names; tests bring their own."""

Url = httpx.URL
"""A URL that is parsed once for many requests."""


Body = Callable[[], Iterable[bytes]] | None
"""Makes a request's body anew each time it is sent; None: no body."""


class HttpFailure(Exception):
    """There was no answer. The text only names the kind of failure."""


class NoRoom(HttpFailure):
    """This machine cannot open another connection."""


class BadAnswer(Exception):
    """There was an answer, but it is not HTTP."""


class AnswerTooLarge(BadAnswer):
    """The answer is larger than it may be."""

    def __init__(self, limit: int, status: int) -> None:
        """``limit`` in bytes; ``status`` is the answer's."""
        super().__init__(f"the answer is larger than {limit} bytes")
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to connect. Nothing is taken from the environment."""

    connections: int = 64
    """Most connections at a time; as many are kept alive."""
    connect_seconds: float = 3.0
    """Limit of making one connection: name, TCP, proxy, TLS."""
    tls: ssl.SSLContext | None = None
    """None: the system's certificate authorities."""
    proxy: str | None = field(default=None, repr=False)
    """URL of an HTTP proxy; may hold credentials."""
    resolver: Resolver | None = None
    """None: the system's."""
    is_allowed: Callable[[IpAddress], bool] | None = None
    """Judges each address that a host name resolves to; None: every address."""


class HttpClient:
    """Sends requests. It has no total timeout: the caller cancels, which closes the connection."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        """Connect to nothing yet."""
        options = options or HttpOptions()
        tls = options.tls or ssl.create_default_context()
        proxy = httpx.Proxy(options.proxy) if options.proxy else None

        resolver = options.resolver
        if options.is_allowed is not None:
            resolver = _GuardedResolver(resolver, options.is_allowed)

        def open_session() -> aiohttp.ClientSession:
            connector = _Connector(
                options.connect_seconds,
                limit=options.connections,
                ssl=tls,
                keepalive_timeout=IDLE_SECONDS,
                resolver=resolver,
            )
            return aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
            )

        self._turns = Turns()
        # The session belongs to the running loop: the transport opens it with the first request.
        self._transport = AiohttpTransport(client=open_session, verify=tls, proxy=proxy, trust_env=False)

    async def request(
        self,
        method: str,
        url: str | Url,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        max_answer_bytes: int,
        on_sent: Callable[[], None] = lambda: None,
    ) -> HttpAnswer:
        """Send a request and read the whole answer; redirects are not followed.

        ``on_sent`` is called when a connection is established and sending begins. With a body, the headers must give its
        Content-Length. If a kept connection turns out to have died before a byte of the answer, it is replaced once: most likely
        the peer had closed it before it read the request. The body is then sent, and ``on_sent`` called, a second time.

        Raises:
            HttpFailure: no answer, or not the whole of it; NoRoom if this machine is why.
            BadAnswer: the answer is not HTTP.
            AnswerTooLarge: the answer exceeds ``max_answer_bytes``.
        """
        progress = _Progress(on_sent, self._turns.draw())
        token = _progress.set(progress)
        try:
            while True:
                try:
                    return await self._exchange(method, url, headers, body, max_answer_bytes, progress)
                except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, TimeoutError, UnicodeError) as error:
                    if progress.may_replace(error):
                        continue
                    raise _translated(error, sent=progress.sent) from error
        finally:
            _progress.reset(token)

    async def _exchange(
        self,
        method: str,
        url: str | Url,
        headers: Mapping[str, str],
        body: Body,
        max_answer_bytes: int,
        progress: _Progress,
    ) -> HttpAnswer:
        request = httpx.Request(method, url, stream=None if body is None else _Body(body, progress, self._turns))
        # As aiohttp keeps them: httpx's own kind is slow to fill, and converted here.
        request.headers = CIMultiDict(headers)  # type: ignore[assignment]
        progress.target = request.url.raw_path.decode("ascii")
        response = await self._transport.handle_async_request(request)
        progress.answered = True
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous transport's
        try:
            read = await _read(response.stream, response.status_code, max_answer_bytes)
        finally:
            await response.stream.aclose()
        return HttpAnswer(response.status_code, response.headers, read)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


class _NoAllowedAddressError(OSError):
    """A host name has no allowed address."""


class _GuardedResolver(AbstractResolver):
    """Leaves out addresses that are not allowed, so that connections go only to addresses that were checked."""

    def __init__(self, inner: Resolver | None, is_allowed: Callable[[IpAddress], bool]) -> None:
        self._inner = inner
        self._is_allowed = is_allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        # The system's resolver needs a running loop.
        self._inner = self._inner or ThreadedResolver()
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if self._is_allowed(ipaddress.ip_address(each["host"].split("%")[0]))]
        if not allowed:
            raise _NoAllowedAddressError
        return allowed

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()


class _Progress:
    """How far an exchange has come."""

    def __init__(self, on_sent: Callable[[], None], number: int) -> None:
        self.number = number
        """Its number in the line for turns: it keeps its place when it is sent again."""
        self.sent = False
        self.answered = False
        self.reused = False
        """Whether the connection had been used before."""
        self.target = "/"
        """Path and query, escaped as the URL is."""
        self._on_sent = on_sent
        self._replaced = False

    def begin_body(self) -> None:
        """Sending begins."""
        self.sent = True
        self._on_sent()

    def may_replace(self, error: Exception) -> bool:
        """Whether a kept connection had died and is to be replaced; True once at most."""
        cause = error.__cause__
        died = isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
        if not (died and self.reused and not self.answered) or self._replaced:
            return False
        self._replaced = True
        return True


class _Body(httpx.AsyncByteStream, aiohttp.Payload):
    """A request's body: a stream to httpx, which only passes it on, and a payload to aiohttp, which sends it.

    As long as more than ``LARGE_REST`` is left, it waits for its turn. Otherwise a small request would wait, in each round of the
    event loop that it needs, for a chunk of every large body.
    """

    def __init__(self, body: Callable[[], Iterable[bytes]], progress: _Progress, turns: Turns) -> None:
        super().__init__(body)
        self._progress = progress
        self._turns = turns

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._progress.begin_body()
        left = content_length or 0
        for chunk in self._value():
            await writer.write(chunk)
            left -= len(chunk)
            if left > LARGE_REST:
                del chunk  # whoever waits keeps no memory that others need
                await self._turns.wait(self._progress.number)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value()).decode(encoding, errors)


_progress: ContextVar[_Progress] = ContextVar("facequality_exchange")


class _Connector(aiohttp.TCPConnector):
    """Limits the time to connect, discards idle connections with unsolicited bytes, and keeps URLs as they are escaped."""

    def __init__(self, connect_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._connect_seconds = connect_seconds

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        progress = _progress.get()
        if req.url.raw_path_qs != progress.target:
            # aiohttp escapes anew: "%2F" in a query becomes "/", and a signed URL is no longer what was signed.
            req.url = URL(f"{req.url.origin()}{progress.target}", encoded=True)
        while True:
            progress.reused = True
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            # Its unsolicited bytes would be read as the answer to this request.
            connection.close()

    async def _create_connection(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> ResponseHandler:
        _progress.get().reused = False
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error


async def _read(stream: httpx.AsyncByteStream, status: int, limit: int) -> bytes:
    content = bytearray()
    async for chunk in stream:
        content += chunk
        if len(content) > limit:
            raise AnswerTooLarge(limit, status)
    return bytes(content)


# Of the error, or of what it came from. Most specific first: each is a subclass of a later one or stands alone.
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (_NoAllowedAddressError, "the host name has no address that is allowed"),
    (aiohttp.ClientConnectorDNSError, "the host name does not resolve"),
    (aiohttp.ClientConnectorCertificateError, "the certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, "the proxy refused the connection"),
    (aiohttp.ClientHttpProxyError, "the proxy refused the request"),
    (ConnectionRefusedError, "the connection was refused"),
    (aiohttp.ClientConnectorError, "no connection could be made"),
    (aiohttp.ConnectionTimeoutError, "resolving its name or connecting took too long"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the connection was closed within the answer"),
    (aiohttp.ClientOSError, "the connection was reset"),
)


_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""File descriptors, the system's too; buffers, memory, ports."""


def _translated(error: Exception, *, sent: bool) -> HttpFailure | BadAnswer:
    # httpx wraps what the transport knows of; the rest comes as it is.
    cause = (error.__cause__ or error) if isinstance(error, httpx.HTTPError) else error
    if isinstance(cause, OSError) and cause.errno in _OUT_OF:
        return NoRoom(f"no connection can be opened: {cause.strerror}")
    if sent and isinstance(cause, aiohttp.ClientResponseError) and not isinstance(cause, aiohttp.ClientHttpProxyError):
        return BadAnswer("the answer is not HTTP")
    for kind, text in _CAUSES:
        if isinstance(cause, kind) or isinstance(cause.__cause__, kind):
            return HttpFailure(text)
    return HttpFailure("the connection failed")
