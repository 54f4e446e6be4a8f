"""Limits for health and reflection: they are served however busy the gate is, so their own cost must stay small."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import grpc

from facequality import deadline
from facequality.errors import ErrorReason, InvalidRequest, Overloaded
from facequality.rpc.handlers import Context, Continuation, Handler, Method, behaviour_of
from facequality.rpc.intake import parsed, read_only

MAX_MESSAGE_BYTES = 4096
"""A health check names a service, reflection a symbol or a file."""

READ_SECONDS = 1.0
"""Clients send such a message, and half-close, together with the call."""

MAX_READS = 16
"""Health messages read at a time: gRPC accepts up to 8 MiB of each before it can be refused as too large."""

MAX_READS_PER_CONNECTION = 8
"""So that one client's unfinished messages cannot block everyone else's."""

MAX_UNREAD = 256
"""Messages being read or waiting to be; each may hold 1 MiB."""

MAX_UNREAD_PER_CONNECTION = 64
"""A proxy that reconnects may bring many clients' at once."""

MAX_WATCHES = 5000
"""Open at a time; each takes 20 KB."""

MAX_WATCHES_PER_CONNECTION = 1000
"""A client keeps one per connection; a proxy may carry many clients' on one."""

MAX_REFLECTIONS = 8
"""Open at a time; each reads continuously."""

REFLECTION_PAUSE_SECONDS = 30.0
"""Longest wait of reflection for its client's next message, s."""


class InfrastructureInterceptor(grpc.aio.ServerInterceptor):
    """Reads infrastructure's messages within limits of time and size, and limits how many calls stay open.

    The handlers are registered as if their methods were client-streaming, as in `AdmissionInterceptor`: gRPC would otherwise
    accept a message as large as a photo, keep it for as long as a watch lasts, and wait for its end for ever.
    """

    def __init__(self) -> None:
        """Nothing is in progress yet."""
        self._reads = asyncio.Semaphore(MAX_READS)
        self._reads_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._unread: Counter[str] = Counter()
        self._watches: Counter[str] = Counter()
        self._reflections: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap health's and reflection's handlers."""
        handler = await continuation(handler_call_details)
        if handler is None or not Method.of(handler_call_details.method).is_infrastructure:
            return handler
        parse, inner = handler.request_deserializer, behaviour_of(handler)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._each(inner, parse), None, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._watch(inner, parse), None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(self._one(inner, parse), None, handler.response_serializer)

    def _one(self, inner: Callable[..., Any], parse: Any) -> Callable[..., Any]:
        async def call(_: AsyncIterator[bytes], context: Context) -> Any:
            return await inner(parsed(parse, await self._read(context)), context)

        return call

    def _watch(self, inner: Callable[..., Any], parse: Any) -> Callable[..., Any]:
        async def call(_: AsyncIterator[bytes], context: Context) -> None:
            with _counted(self._watches, context, MAX_WATCHES, MAX_WATCHES_PER_CONNECTION):
                await inner(parsed(parse, await self._read(context)), context)

        return call

    def _each(self, inner: Callable[..., Any], parse: Any) -> Callable[..., Any]:
        async def messages(context: Context) -> AsyncIterator[Any]:
            while True:
                async with deadline.Enforced("message", REFLECTION_PAUSE_SECONDS):
                    raw: Any = await context.read()
                if raw is grpc.aio.EOF:
                    return
                yield parsed(parse, _small(raw))

        async def stream(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            with _counted(self._reflections, context, MAX_REFLECTIONS, MAX_REFLECTIONS):
                async for response in inner(messages(context), context):
                    yield response

        return stream

    async def _read(self, context: Context) -> bytes:
        peer = context.peer()
        own = self._reads_of.get(peer) or self._reads_of.setdefault(peer, asyncio.Semaphore(MAX_READS_PER_CONNECTION))
        with _counted(self._unread, context, MAX_UNREAD, MAX_UNREAD_PER_CONNECTION):
            async with deadline.Enforced("message", READ_SECONDS), own, self._reads:
                message = _small(await read_only(context))
                # A client that could go on would fill the call's window, for as long as a watch lasts.
                if await context.read() is not grpc.aio.EOF:
                    raise InvalidRequest(ErrorReason.MESSAGE_MALFORMED, "the call has more than one message")
                return message


def _small(raw: bytes) -> bytes:
    if len(raw) > MAX_MESSAGE_BYTES:
        raise InvalidRequest(ErrorReason.PARAMETER_INVALID, f"the message is larger than {MAX_MESSAGE_BYTES} bytes")
    return raw


@contextmanager
def _counted(streams: Counter[str], context: Context, most: int, most_per_connection: int) -> Iterator[None]:
    peer = context.peer()
    if streams.total() >= most or streams[peer] >= most_per_connection:
        raise Overloaded(f"{streams.total()} such streams are open, {streams[peer]} of them on this connection")
    streams[peer] += 1
    try:
        yield
    finally:
        streams[peer] -= 1
        if not streams[peer]:
            del streams[peer]
