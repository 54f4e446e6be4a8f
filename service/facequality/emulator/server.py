"""The emulator's HTTP server: the vendor's wire, and a health check and metrics beside it."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import ssl
import struct
import time
import tomllib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from importlib import resources
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import orjson
import structlog
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from aiolimiter import AsyncLimiter
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from facequality.address import split_address
from facequality.detector import Detector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.emulator.api import ApiError, answer, read
from facequality.emulator.scenario import Action, Rule, Scenario
from facequality.emulator.verification import SignedRequest, verify
from facequality.errors import GateError
from facequality.model import PhotoBytes, PhotoUri

log = structlog.get_logger()

HttpHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_POST_BYTES = 10_000_000
MAX_GET_BYTES = 32 * 1024
EMULATOR_HEADER = "X-Emulated-By"
"""Says that this is not the vendor; clients do not look at it."""


class _Curt(logging.Filter):
    """A client that sends no HTTP, or leaves before its answer has: a line, not a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError | ConnectionError):
            record.exc_info = None
        return True


_http_log = logging.getLogger("facequality.emulator.http")
_http_log.addFilter(_Curt())

_BLANKS = b" " * 65536
"""A piece of an answer that is too large."""

_PACKAGE = resources.files("facequality.emulator")
_MESSAGES = tomllib.loads(_PACKAGE.joinpath("messages.toml").read_text(encoding="utf-8"))
_EXAMPLES = {n: orjson.loads(_PACKAGE.joinpath(f"detectface_example_{n}.json").read_bytes())["Response"] for n in (1, 2)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request ends in: the envelope, and what happens on its way."""

    response: dict[str, Any]
    code: str = "OK"
    action: Action = field(default_factory=Action)


class Emulator:
    """A DetectFace endpoint on a detector."""

    def __init__(
        self,
        detector: Detector,
        keys: Mapping[str, Credential] | None,
        scenario: Scenario | None = None,
    ) -> None:
        """``keys`` by secret id; None takes every request for authentic."""
        self._detector = detector
        self._keys = keys
        self._scenario = scenario or Scenario()
        self._limiter = self._make_limiter()
        self.calls = 0
        """Authentic requests so far, whatever became of them."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "detectface_emulator_requests_total",
            "Requests, by the answer's code and what a scenario did instead of it or with it.",
            ("code", "action"),
            registry=self.registry,
        )
        self._seconds = Histogram("detectface_emulator_seconds", "Seconds until the answer left.", registry=self.registry)

    def application(self) -> web.Application:
        """Make the web application."""
        application = web.Application(client_max_size=MAX_POST_BYTES, middlewares=[self._envelop])
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_route("*", "/{path:.*}", self._serve, expect_handler=_expect)
        return application

    @web.middleware
    async def _envelop(self, request: web.Request, handler: HttpHandler) -> web.StreamResponse:
        """Answer what has no route, such as ``OPTIONS *``, as every other request."""
        try:
            return await handler(request)
        except web.HTTPException:
            return await self._serve(request)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        started, request_id = time.perf_counter(), str(uuid.uuid4())
        outcome = await self._outcome(request)
        content = orjson.dumps({"Response": {"RequestId": request_id, **outcome.response}})
        try:
            return await _send(request, content, outcome.action, self._now())
        finally:
            seconds, action = time.perf_counter() - started, sorted(outcome.action.model_fields_set)
            self._requests.labels(outcome.code, ",".join(action)).inc()
            self._seconds.observe(seconds)
            log.info(
                "emulator.answered",
                code=outcome.code,
                action=action,
                client=request.headers.get("X-TC-RequestClient", "")[:100],
                upstream_request_id=request_id,
                milliseconds=round(1000 * seconds, 1),
            )

    async def _outcome(self, request: web.Request) -> Outcome:
        language = request.headers.get("X-TC-Language", "zh-CN")
        try:
            return await self._answer(request, language)
        except ApiError as error:
            return _failed(error.code, language)
        except Exception:
            log.exception("emulator.bug")
            return _failed("InternalError", language)

    async def _answer(self, request: web.Request, language: str) -> Outcome:
        query, body = await _read(request)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        self._authenticate(SignedRequest(request.method, query, headers, body))
        self.calls += 1
        call = self.calls
        given = _parameters(request.method, headers, query, body)
        del body
        action, version = (
            headers.get("x-tc-action", given.get("Action", "")),
            headers.get("x-tc-version", given.get("Version", "")),
        )
        limit = self._scenario.rate_limit
        if limit is not None and self._limiter is not None:
            if not self._limiter.has_capacity():
                raise ApiError(limit.code)
            await self._limiter.acquire()
        parameters = await asyncio.to_thread(read, action, version, given)
        image = bytes(parameters.photo.data) if isinstance(parameters.photo, PhotoBytes) else None
        url = parameters.photo.uri if isinstance(parameters.photo, PhotoUri) else None
        # A source of its own per call: what one draws does not depend on how calls overlap.
        source = random.Random(f"{self._scenario.seed}:{call}")
        rule = self._rule(call, image, url, source)
        await asyncio.sleep((rule.latency or self._scenario.latency).draw(source))
        if rule.action.error is not None:
            return replace(_failed(rule.action.error, language), action=rule.action)
        if rule.action.example is not None:
            return Outcome(_EXAMPLES[rule.action.example], action=rule.action)
        if rule.action.response is not None:
            return Outcome(rule.action.response, action=rule.action)
        try:
            return Outcome(await answer(parameters, self._detector), action=rule.action)
        except ApiError as error:
            return replace(_failed(error.code, language), action=rule.action)
        except GateError:
            log.exception("emulator.detector_failed")
            return replace(_failed("InternalError", language), action=rule.action)

    def _now(self) -> float:
        return time.time() + self._scenario.clock_skew_seconds

    def _authenticate(self, signed: SignedRequest) -> None:
        if self._keys is None:
            return
        code = verify(signed, self._keys, self._now())
        if code is None and self._scenario.tokens_expired and "x-tc-token" in signed.headers:
            code = "AuthFailure.TokenFailure"
        if code is not None:
            raise ApiError(code)

    def _rule(self, call: int, image: bytes | None, url: str | None, source: random.Random) -> Rule:
        # Every rule draws, so that one rule's luck does not depend on another's.
        matching = [rule for rule in self._scenario.rules if rule.match.holds(call, image, url, source)]
        return matching[0] if matching else Rule()

    def _make_limiter(self) -> AsyncLimiter | None:
        limit = self._scenario.rate_limit
        return AsyncLimiter(max(1.0, limit.qps), max(1.0, limit.qps) / limit.qps) if limit is not None else None


async def _read(request: web.Request) -> tuple[str, bytes]:
    """Return the query as sent and the body."""
    query = request.rel_url.raw_query_string if request.method == "GET" else ""
    if request.method not in {"GET", "POST"} or request.path != "/":
        raise ApiError("UnsupportedProtocol" if request.path == "/" else "InvalidRequest")
    if len(query) > MAX_GET_BYTES:
        raise ApiError("RequestSizeLimitExceeded")
    try:
        return query, await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError("RequestSizeLimitExceeded") from error


def _text(value: str) -> str:
    """Put something else for bytes that are no text: nobody can have signed them."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


async def _expect(request: web.Request) -> None:
    """Let a client go on that waits to be told so; whatever else it may expect of the API, it gets an answer."""
    is_known = request.version >= HttpVersion11
    if is_known and request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _parameters(method: str, headers: Mapping[str, str], query: str, body: bytes) -> dict[str, Any]:
    if method == "GET":
        return dict(parse_qsl(query, keep_blank_values=True))
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("InvalidParameter")
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError("InvalidParameter") from error
    if not isinstance(given, dict):
        raise ApiError("InvalidParameter")
    return given


def _failed(code: str, language: str) -> Outcome:
    messages = _MESSAGES.get(language, _MESSAGES["zh-CN"])
    return Outcome({"Error": {"Code": code, "Message": messages.get(code, messages["other"])}}, code)


async def _send(request: web.Request, content: bytes, action: Action, now: float) -> web.StreamResponse:
    headers = {"Content-Type": "application/json", "Date": formatdate(now, usegmt=True), EMULATOR_HEADER: "face-quality-gate"}
    transport = request.transport
    if action.hang:
        await asyncio.sleep(3600)
    if action.reset == "before" and transport is not None:
        _reset(transport)
        return web.Response()
    if action.http_status is not None:
        return web.Response(status=action.http_status, text=action.body or "", headers={EMULATOR_HEADER: "face-quality-gate"})
    content = _content(content, action)
    if action.reset is None and action.drip is None and action.oversize is None:
        return web.Response(body=content, headers=headers)
    response = web.StreamResponse(headers={**headers, "Content-Length": str(action.oversize or len(content))})
    await response.prepare(request)
    if action.oversize is not None:
        for start in range(0, action.oversize, len(_BLANKS)):
            await response.write(_BLANKS[: action.oversize - start])
        return response
    if action.reset == "within" and transport is not None:
        await response.write(content[: len(content) // 2])
        _reset(transport)
        return response
    for start in range(len(content)):
        await response.write(content[start : start + 1])
        await asyncio.sleep(1 / action.drip if action.drip else 0)
    return response


def _content(true: bytes, action: Action) -> bytes:
    if action.body is not None:
        return action.body.encode()
    if action.body_hex is not None:
        return bytes.fromhex(action.body_hex)
    return true[: action.truncate]


def _reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@dataclass(slots=True)
class RunningEmulator:
    """An emulator that listens."""

    emulator: Emulator
    port: int
    runner: web.AppRunner

    async def stop(self) -> None:
        """Stop listening and end what is in progress."""
        await self.runner.cleanup()


async def start(emulator: Emulator, host: str, port: int, tls: ssl.SSLContext | None = None) -> RunningEmulator:
    """Listen.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = web.AppRunner(
        emulator.application(),
        access_log=None,
        logger=_http_log,
        # An encoding that nobody knows would be answered with HTTP 400, as one that is not what it says.
        auto_decompress=False,
        shutdown_timeout=1,
        max_line_size=MAX_GET_BYTES * 2,
        max_field_size=MAX_GET_BYTES,
        handle_signals=False,
        handler_cancellation=True,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return RunningEmulator(emulator, runner.addresses[0][1], runner)


async def serve_forever(
    detector: Detector,
    keys: Mapping[str, Credential] | None,
    scenario: Scenario | None,
    address: str,
    tls: ssl.SSLContext | None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ValueError: the address is malformed.
        OSError: it cannot be bound.
    """
    host, port = split_address(address)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = await start(Emulator(detector, keys, scenario), host, port, tls)
    log.info("emulator.started", port=running.port, https=tls is not None, authentication=keys is not None)
    await stop.wait()
    await running.stop()
    await detector.aclose()
    log.info("emulator.stopped", calls=running.emulator.calls)
