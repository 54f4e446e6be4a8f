"""What stands around every call, outermost first: metrics, calls in flight, correlation with the access log, errors.

Each is a context manager; one interceptor applies such a manager to every kind of handler.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import structlog
from grpc_status import rpc_status

from facequality import correlation
from facequality.errors import Code, GateError
from facequality.metrics import Metrics
from facequality.rpc.handlers import Context, Continuation, Handler, Method, behaviour_of, with_behaviour
from facequality.rpc.status import bug_status, to_status

log = structlog.get_logger()

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
        return None if handler is None else self._wrap(handler, Method.of(handler_call_details.method))

    def _wrap(self, handler: Handler, method: Method) -> Handler:
        inner = behaviour_of(handler)
        around = self._around

        async def call(request: Any, context: Context) -> Any:
            async with around(method, context):
                return await inner(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with around(method, context):
                async for response in inner(request, context):
                    yield response

        wrapped = stream if inspect.isasyncgenfunction(inner) else call
        return with_behaviour(handler, wrapped, parse=handler.request_deserializer)


class InFlight:
    """The calls in progress, infrastructure aside."""

    def __init__(self, metrics: Metrics) -> None:
        """Nothing is in progress yet."""
        self._gauge = metrics.in_flight
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


def _code(context: Context, error: BaseException | None) -> grpc.StatusCode:
    if isinstance(error, asyncio.CancelledError):
        remaining = context.time_remaining()
        return grpc.StatusCode.DEADLINE_EXCEEDED if remaining == 0 else grpc.StatusCode.CANCELLED
    # Stubs promise a code; on success gRPC gives None.
    code: grpc.StatusCode | None = context.code()
    return code or (grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN)
