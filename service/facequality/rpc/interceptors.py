"""What surrounds every call: correlation, metrics and logs, and the translation of its errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
import traceback
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Protocol, TypeGuard

import grpc
import structlog
from grpc_status import rpc_status

from facequality import correlation, deadline, notes
from facequality.errors import Code, GateError, Retry
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

LONGEST_AGENT = 100
"""A caller's user-agent is logged up to this length, characters."""

LONGEST_PUSHBACK = 1.0
"""gRPC's built-in retries are asked to wait at most this long, s."""


class CallObserver(Protocol):
    """Watches calls."""

    def began(self, method: Method) -> None:
        """A call has begun."""
        ...

    def ended(self, method: Method, code: grpc.StatusCode, seconds: float, /) -> None:
        """It has ended so."""
        ...


class InFlight:
    """The calls in progress, infrastructure aside."""

    def __init__(self, metrics: Metrics) -> None:
        """Nothing is in progress yet."""
        self.are_cut = False
        """Whether the gate itself is ending the remaining calls, so that their cancellation is not their callers'."""
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.in_flight.set_function(lambda: self._count)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    async def wait_idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

    def began(self, method: Method) -> None:
        """Count a call."""
        if not method.is_infrastructure:
            self._count += 1
            self._idle.clear()

    def ended(self, method: Method, _: grpc.StatusCode, __: float) -> None:
        """Count it no more."""
        if not method.is_infrastructure:
            self._count -= 1
            if not self._count:
                self._idle.set()


class CallMetrics:
    """Counts and times every call."""

    def __init__(self, metrics: Metrics) -> None:
        """Write into these."""
        self._of = functools.cache(lambda method: metrics.of_method(method.kind, method.service, method.name))

    def serve(self, method: Method) -> None:
        """Create a method's series before its first call."""
        self._of(method)

    def began(self, method: Method) -> None:
        """Count its beginning; infrastructure's message counts as received with it."""
        self._of(method).observe_start()
        if method.is_infrastructure:
            self.received(method)

    def received(self, method: Method) -> None:
        """Its message has been read."""
        self._of(method).observe_message()

    def ended(self, method: Method, code: grpc.StatusCode, seconds: float) -> None:
        """It is complete."""
        self._of(method).observe_end(code, seconds)


class AccessLog:
    """Logs one line per call, with everything noted on the way."""

    def began(self, method: Method) -> None:
        """There is nothing to say yet."""

    def ended(self, method: Method, code: grpc.StatusCode, seconds: float) -> None:
        """Log it."""
        emit = log.debug if method.is_infrastructure else log.warning if code in _OPERATORS_BUSINESS else log.info
        emit("rpc.handled", method=method.path, code=code.name, milliseconds=round(1000 * seconds, 1))


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Runs every call as a `_Call`. Handlers are wrapped once."""

    def __init__(self, *observers: CallObserver, are_cut: Callable[[], bool] = lambda: False) -> None:
        """``observers``, outermost first: told of the beginning in this order, of the end in the reverse.

        ``are_cut`` tells whether the gate itself ends the calls that are left.
        """
        self._observers = observers
        self._are_cut = are_cut
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler; an unknown method has none."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[path] = self._wrap(handler, Method.of(path))
        return wrapped

    def _wrap(self, handler: Handler, method: Method) -> Handler:
        inner: Callable[..., Any] = behaviour_of(handler)
        observers, are_cut = self._observers, self._are_cut

        async def call(request: Any, context: Context) -> Any:
            async with _Call(method, context, observers, are_cut):
                return await inner(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with _Call(method, context, observers, are_cut):
                async for response in inner(request, context):
                    yield response

        wrapped = stream if inspect.isasyncgenfunction(inner) else call
        return with_behaviour(handler, wrapped, parse=handler.request_deserializer)


class _Call:
    """One call, from its metadata to its status."""

    __slots__ = ("_are_cut", "_context", "_method", "_observers", "_request_id", "_started")

    def __init__(
        self, method: Method, context: Context, observers: tuple[CallObserver, ...], are_cut: Callable[[], bool]
    ) -> None:
        self._method = method
        self._context = context
        self._observers = observers
        self._are_cut = are_cut

    async def __aenter__(self) -> None:
        self._started = time.perf_counter()
        metadata = dict(self._context.invocation_metadata() or ())
        ids = correlation.correlate(metadata)
        correlation.current.set(ids)
        trace = {} if ids.traceparent is None else {"traceparent": ids.traceparent}
        agent, peer = str(metadata.get("user-agent", ""))[:LONGEST_AGENT], correlation.address(self._context.peer())
        notes.begin(request_id=ids.request_id, peer=peer, user_agent=agent, **trace)
        self._request_id = ((correlation.REQUEST_ID_HEADER, ids.request_id),)
        self._context.set_trailing_metadata(self._request_id)
        for observer in self._observers:
            observer.began(self._method)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if _is_failure(error):
                await self._fail(error)
        finally:
            code, seconds = self._code(error), time.perf_counter() - self._started
            for observer in reversed(self._observers):
                observer.ended(self._method, code, seconds)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if isinstance(error, asyncio.CancelledError) and not _is_failure(error):
            if self._are_cut():
                return grpc.StatusCode.UNAVAILABLE
            remaining: float | None = self._context.time_remaining()
            spent = remaining is not None and remaining <= deadline.NEARLY_OVER_SECONDS
            return grpc.StatusCode.DEADLINE_EXCEEDED if spent else grpc.StatusCode.CANCELLED
        # Stubs promise a code; on success gRPC gives None.
        code: grpc.StatusCode | None = self._context.code()
        return code or (grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN)

    async def _fail(self, error: BaseException) -> None:
        """Answer every exception as the contract says; an unexpected one only reveals that it happened."""
        if isinstance(error, GateError):
            vendor = {name: value for name, value in error.metadata.items() if name.startswith("upstream_")}
            notes.add(**vendor, error_reason=error.reason.value, error=error.message)
        if not isinstance(error, GateError) or error.code is Code.INTERNAL:
            log.error("rpc.bug", method=self._method.path, exc_info=error)
        status = rpc_status.to_status(to_status(error) if isinstance(error, GateError) else bug_status())
        # Trailing metadata given to abort replaces what was set before: keep both.
        trailing = (*self._request_id, *status.trailing_metadata)
        if isinstance(error, GateError) and error.retry_after is not None:
            # gRPC's built-in retries ignore RetryInfo but obey this, even past the call's deadline; a negative value stops them.
            # They must not multiply what the gate has already retried, and may have paid for each time.
            is_untried = error.retry is Retry.NEVER and error.retry_after <= LONGEST_PUSHBACK
            pushback = round(1000 * error.retry_after) if is_untried else -1
            trailing = (*trailing, ("grpc-retry-pushback-ms", str(pushback)))
        _let_go(error)
        await self._context.abort(status.code, status.details, trailing)


def _is_failure(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether an error is to be answered: gRPC answers its own, and leaves the caller of a call that nobody cancelled waiting."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError)


def _let_go(error: BaseException | None) -> None:
    """Clear the frames in an error's traceback: they hold the photo in a reference cycle."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
