"""HTTP for detectors: the only module that imports an HTTP library.

Requests and responses are httpx's, carried by the maintained aiohttp transport, called directly: after cancelled calls httpx's
own pool never gives their slots back. The transport's error classes mislead (a reset in mid-answer surfaces as a connect
timeout), so failures are told apart by their cause, and by whether the body had begun to leave.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from httpx_aiohttp import AiohttpTransport

from facequality.photo_uri import IpAddress

IDLE_SECONDS = 15.0
"""Idle connections are closed before the peer or a middlebox does."""


Resolver = AbstractResolver
"""Resolves host names; tests bring their own."""


class HttpFailure(Exception):
    """No answer. ``sent`` tells whether the request may have been processed; the text names the kind of failure only."""

    def __init__(self, text: str, *, sent: bool) -> None:
        """``sent``: the request had begun to leave."""
        super().__init__(text)
        self.sent = sent


class BadAnswer(Exception):
    """There was an answer, but it is not HTTP, or it is too large."""


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
    """Limit of one TCP and TLS handshake."""
    tls: ssl.SSLContext | None = None
    """None: the system's certificate authorities."""
    proxy: str | None = field(default=None, repr=False)
    """URL of an HTTP proxy; may hold credentials."""
    resolver: Resolver | None = None
    """None: the system's."""
    is_allowed: Callable[[IpAddress], bool] | None = None
    """Judges each address that a host name resolves to; None: every address."""


class HttpClient:
    """Sends requests. Has no total time limit of its own: the caller cancels, and the connection is closed."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        """Connect to nothing yet."""
        self._options = options = options or HttpOptions()
        tls = options.tls or ssl.create_default_context()
        proxy = httpx.Proxy(options.proxy) if options.proxy else None

        resolver = options.resolver
        if options.is_allowed is not None:
            resolver = _GuardedResolver(resolver, options.is_allowed)

        def open_session() -> aiohttp.ClientSession:
            connector = aiohttp.TCPConnector(
                limit=options.connections, ssl=tls, keepalive_timeout=IDLE_SECONDS, resolver=resolver
            )
            return aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
            )

        # The session belongs to the running loop: the transport opens it with the first request.
        self._transport = AiohttpTransport(client=open_session, verify=tls, proxy=proxy, trust_env=False)
        self._timeouts = {"connect": options.connect_seconds, "read": None, "write": None, "pool": None}

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Iterable[bytes] = (),
        *,
        max_answer_bytes: int,
        on_sent: Callable[[], None] = lambda: None,
    ) -> HttpAnswer:
        """Send a request and read the whole answer; redirects are not followed.

        ``on_sent`` is called once, when a connection stands and the body begins to leave. With a body, the headers must give its
        Content-Length.

        Raises:
            HttpFailure: no answer, or not the whole of it.
            BadAnswer: the answer is not HTTP or exceeds ``max_answer_bytes``.
        """
        progress = _Progress(on_sent)
        content = progress.watch(body) if method == "POST" else None
        request = httpx.Request(method, url, headers=dict(headers), content=content, extensions={"timeout": self._timeouts})
        try:
            response = await self._transport.handle_async_request(request)
            try:
                content_read = await _read(response, max_answer_bytes)
            finally:
                await response.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translated(error, sent=progress.sent or method != "POST") from error
        return HttpAnswer(response.status_code, dict(response.headers), content_read)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


class _GuardedResolver(AbstractResolver):
    """Leaves out every address that is not allowed: the connection goes to the very addresses that were checked."""

    def __init__(self, inner: Resolver | None, is_allowed: Callable[[IpAddress], bool]) -> None:
        self._inner = inner
        self._is_allowed = is_allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        # The system's resolver needs a running loop.
        self._inner = self._inner or ThreadedResolver()
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if self._is_allowed(ipaddress.ip_address(each["host"].split("%")[0]))]
        if not allowed:
            raise OSError(None, "the host has no allowed address")
        return allowed

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()


class _Progress:
    """Notices when a body begins to leave: the transport pulls it only once a connection stands."""

    def __init__(self, on_sent: Callable[[], None]) -> None:
        self.sent = False
        self._on_sent = on_sent

    async def watch(self, body: Iterable[bytes]) -> AsyncIterator[bytes]:
        self.sent = True
        self._on_sent()
        for chunk in body:
            yield chunk


async def _read(response: httpx.Response, limit: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit:
            raise BadAnswer(f"the answer is larger than {limit} bytes")
    return bytes(content)


# Most specific first: each is a subclass of a later one or stands alone.
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host name does not resolve"),
    (aiohttp.ClientConnectorCertificateError, "the certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, "the proxy refused the connection"),
    (aiohttp.ClientHttpProxyError, "the proxy refused the request"),
    (aiohttp.ClientConnectorError, "the connection was refused"),
    (aiohttp.ConnectionTimeoutError, "connecting took too long"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the connection was closed within the answer"),
    (aiohttp.ClientOSError, "the connection was reset"),
)


def _translated(error: Exception, *, sent: bool) -> HttpFailure | BadAnswer:
    # httpx wraps what the transport knows of; the rest comes as it is.
    cause = error.__cause__ or error if isinstance(error, httpx.HTTPError) else error
    if isinstance(cause, aiohttp.ClientResponseError) and not isinstance(cause, aiohttp.ClientHttpProxyError):
        return BadAnswer("the answer is not HTTP")
    for kind, text in _CAUSES:
        if isinstance(cause, kind):
            return HttpFailure(text, sent=sent)
    return HttpFailure("the connection failed", sent=sent)
