"""What health and reflection may take: they are never refused for a busy gate, so they must stay small by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from facequality.detectors import deadline
from facequality.errors import ErrorReason, InvalidRequest, Overloaded
from facequality.rpc.handlers import Context, Continuation, Handler, Method, behaviour_of
from facequality.rpc.intake import READ_SECONDS, parsed, read_only

MAX_MESSAGE_BYTES = 4096
"""A health check names a service, reflection a symbol or a file."""

MAX_CALLS = 1000
"""Calls at a time; a watch lasts as long as its client's connection."""


class InfrastructureInterceptor(grpc.aio.ServerInterceptor):
    """Reads the messages of infrastructure's calls within a time and a size, and bounds how many calls there are.

    The handlers are registered as if their methods were client-streaming, as those of `AdmissionInterceptor` are: gRPC would
    take a message as large as a photo, keep it for as long as a watch lasts, and wait for its end for ever.
    """

    def __init__(self) -> None:
        """Nothing is in progress yet."""
        self._running = 0

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap health's and reflection's handlers."""
        handler = await continuation(handler_call_details)
        if handler is None or not Method.of(handler_call_details.method).is_quiet:
            return handler
        parse, inner = handler.request_deserializer, behaviour_of(handler)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._each(inner, parse), None, handler.response_serializer)
        make: Any = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
        return make(self._one(inner, parse), None, handler.response_serializer)  # type: ignore[no-any-return]

    def _one(self, inner: Callable[..., Any], parse: Any) -> Callable[..., Any]:
        async def call(_: AsyncIterator[bytes], context: Context) -> Any:
            with self._counted():
                async with deadline.Enforced("message", READ_SECONDS):
                    raw = await read_only(context)
                return await inner(parsed(parse, _small(raw)), context)

        return call

    def _each(self, inner: Callable[..., Any], parse: Any) -> Callable[..., Any]:
        async def messages(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for raw in raws:
                yield parsed(parse, _small(raw))

        async def stream(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            with self._counted():
                async for response in inner(messages(raws), context):
                    yield response

        return stream

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._running >= MAX_CALLS:
            raise Overloaded(self._running)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def _small(raw: bytes) -> bytes:
    if len(raw) > MAX_MESSAGE_BYTES:
        raise InvalidRequest(ErrorReason.PARAMETER_INVALID, f"the message is larger than {MAX_MESSAGE_BYTES} bytes")
    return raw
