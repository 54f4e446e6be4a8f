"""Interceptors, outermost first: metrics, calls in flight, correlation with the access log, errors, admission, parsing.

All but the last are context managers around a call; one interceptor applies such a manager to every kind of handler.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from facequality import correlation
from facequality.errors import Code, ErrorReason, GateError, InvalidRequest, Overloaded
from facequality.metrics import Metrics
from facequality.rpc.status import bug_status, to_status

log = structlog.get_logger()

# Strings: gRPC's classes are generic in their stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

_QUIET_SERVICES = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


_OPERATORS_BUSINESS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
    }
)
"""Codes that are logged as warnings."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method being called."""

    kind: str
    """unary, server_stream, client_stream or bidi_stream: the labels of go-grpc-middleware."""
    service: str
    name: str

    @property
    def is_quiet(self) -> bool:
        """Whether it is infrastructure, logged at debug level and not counted as in flight."""
        return self.service in _QUIET_SERVICES


Around = Callable[[Method, Context], AbstractAsyncContextManager[None]]


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Runs every call within a context manager."""

    def __init__(self, around: Around) -> None:
        """``around`` is entered before the handler runs and left with its exception, if any."""
        self._around = around

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler; an unknown method has none."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._wrap(handler, _method(handler, handler_call_details.method))

    def _wrap(self, handler: Handler, method: Method) -> Handler:
        inner = _behaviour(handler)
        around = self._around

        async def call(request: Any, context: Context) -> Any:
            async with around(method, context):
                return await inner(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with around(method, context):
                async for response in inner(request, context):
                    yield response

        wrapped = stream if inspect.isasyncgenfunction(inner) else call
        return _with_behaviour(handler, wrapped, parse=handler.request_deserializer)


class ParsingInterceptor(grpc.aio.ServerInterceptor):
    """Moves parsing into the handler, where a malformed message can be answered in the contract's own way.

    gRPC parses before the handler runs and answers UNKNOWN with the parser's exception in its text.
    """

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap every handler that parses."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        return _with_behaviour(handler, _parsing(handler, handler.request_deserializer), parse=None)


def _parsing(handler: Handler, parse: Callable[[bytes], Any]) -> Callable[..., Any]:
    inner = _behaviour(handler)

    def parsed(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError as error:
            text = "the request is not a message of this method"
            raise InvalidRequest(ErrorReason.MESSAGE_MALFORMED, text) from error

    async def each(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raws:
            yield parsed(raw)

    take: Callable[[Any], Any] = each if handler.request_streaming else parsed

    async def call(raw: Any, context: Context) -> Any:
        return await inner(take(raw), context)

    async def stream(raw: Any, context: Context) -> AsyncIterator[Any]:
        async for response in inner(take(raw), context):
            yield response

    return stream if inspect.isasyncgenfunction(inner) else call


class InFlight:
    """The calls in progress, infrastructure aside."""

    def __init__(self, metrics: Metrics, limit: int) -> None:
        """Nothing is in progress yet; ``limit`` is how many calls may be."""
        self._gauge = metrics.in_flight
        self._limit = limit
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

    @asynccontextmanager
    async def around(self, method: Method, _: Context) -> AsyncIterator[None]:
        """Count a call."""
        if method.is_quiet:
            yield
            return
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    @asynccontextmanager
    async def admission(self, method: Method, _: Context) -> AsyncIterator[None]:
        """Refuse a call over the limit. Health is never refused: a busy gate is not a dead one."""
        if not method.is_quiet and self._count > self._limit:
            raise Overloaded(self._limit)
        yield

    def _change(self, by: int) -> None:
        self._count += by
        self._gauge.set(self._count)
        if self._count:
            self._idle.clear()
        else:
            self._idle.set()


def metrics_around(metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> Around:
    """Count and time every call."""

    @asynccontextmanager
    async def around(method: Method, context: Context) -> AsyncIterator[None]:
        labels = (method.kind, method.service, method.name)
        started, error = clock(), None
        metrics.observe_rpc_start(*labels)
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            metrics.observe_rpc_end(*labels, _code(context, error), clock() - started)

    return around


@asynccontextmanager
async def access_log(method: Method, context: Context) -> AsyncIterator[None]:
    """Take or make the request id, echo it, and log one line a call."""
    ids = correlation.correlate(context.invocation_metadata() or ())
    correlation.current.set(ids)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=ids.request_id)
    if ids.traceparent is not None:
        structlog.contextvars.bind_contextvars(traceparent=ids.traceparent)
    context.set_trailing_metadata(((correlation.REQUEST_ID_HEADER, ids.request_id),))
    started, error = time.perf_counter(), None
    try:
        yield
        if not method.is_quiet:
            await context.send_initial_metadata(((correlation.REQUEST_ID_HEADER, ids.request_id),))
    except BaseException as caught:
        error = caught
        raise
    finally:
        code = _code(context, error)
        milliseconds = round(1000 * (time.perf_counter() - started), 1)
        emit = log.debug if method.is_quiet else log.warning if code in _OPERATORS_BUSINESS else log.info
        emit("rpc.handled", method=f"/{method.service}/{method.name}", code=code.name, milliseconds=milliseconds)


@asynccontextmanager
async def errors(method: Method, context: Context) -> AsyncIterator[None]:
    """Answer every exception in the contract's way; of an unexpected one nothing leaks but that it happened."""
    try:
        yield
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except GateError as error:
        vendor = {name: value for name, value in error.metadata.items() if name.startswith("upstream_")}
        structlog.contextvars.bind_contextvars(**vendor, error_reason=error.reason.value, error=error.message)
        if error.code is Code.INTERNAL:
            log.exception("rpc.bug", method=f"/{method.service}/{method.name}")
        await _abort(context, rpc_status.to_status(to_status(error)), retry_after=error.retry_after)
    except Exception:
        log.exception("rpc.bug", method=f"/{method.service}/{method.name}")
        await _abort(context, rpc_status.to_status(bug_status()))


async def _abort(context: Context, status: grpc.Status, retry_after: float | None = None) -> None:
    # Trailing metadata given to abort replaces what was set before: keep both.
    trailing = (*context.trailing_metadata(), *status.trailing_metadata)
    if retry_after is not None:
        # gRPC's built-in retries do not read RetryInfo, but honour this.
        trailing = (*trailing, ("grpc-retry-pushback-ms", str(round(1000 * retry_after))))
    await context.abort(status.code, status.details, trailing)


def _method(handler: Handler, path: str) -> Method:
    kinds = {(False, False): "unary", (False, True): "server_stream", (True, False): "client_stream"}
    kind = kinds.get((bool(handler.request_streaming), bool(handler.response_streaming)), "bidi_stream")
    _, service, name = path.split("/", 2)
    return Method(kind, service, name)


def _code(context: Context, error: BaseException | None) -> grpc.StatusCode:
    if isinstance(error, asyncio.CancelledError):
        remaining = context.time_remaining()
        return grpc.StatusCode.DEADLINE_EXCEEDED if remaining == 0 else grpc.StatusCode.CANCELLED
    # Stubs promise a code; on success gRPC gives None.
    code: grpc.StatusCode | None = context.code()
    return code or (grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN)


def _behaviour(handler: Handler) -> Callable[..., Any]:
    for behaviour in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream):
        if behaviour is not None:
            return behaviour
    raise TypeError("a handler without a behaviour")


def _with_behaviour(handler: Handler, behaviour: Callable[..., Any], *, parse: Callable[[bytes], Any] | None) -> Handler:
    make: Callable[..., Handler] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(behaviour, parse, handler.response_serializer)
