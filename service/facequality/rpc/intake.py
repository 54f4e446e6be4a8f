"""Reads messages once the gate has room for them, and parses them where a mistake can still be answered properly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from facequality import deadline, notes
from facequality.admission import Admission
from facequality.errors import ErrorReason, InvalidRequest
from facequality.rpc.handlers import Context, Continuation, Handler, Method, behaviour_of

MARGIN_SECONDS = 0.02
"""The gate stops this long before the caller's own deadline, so that the error's details still arrive, s."""

READ_SECONDS = 5.0
"""Longest wait for a message, which holds room that others need, s."""

CANCELLATION_SECONDS = 0.2
"""How long gRPC may take to report that a call without a message was cancelled; usually a moment, s."""


class AdmissionInterceptor(grpc.aio.ServerInterceptor):
    """Gives a unary call its deadline, waits for a place, and only then reads its message.

    The handler is registered as if the method were client-streaming. It is the same on the wire, but gRPC leaves the message in
    the flow-control window until it is asked for. Health is not subject to this: a busy gate is not a dead one.
    """

    def __init__(
        self,
        admission: Admission,
        deadline_seconds: float,
        parsers: Mapping[str, Callable[[bytes], Any]],
        *,
        on_message: Callable[[Method], None],
    ) -> None:
        """``deadline_seconds``: budget of a call without a deadline, and upper bound of one with.

        ``parsers``, by path, read messages in another way than the handler would; ``on_message`` is told of each one read.
        """
        self._admission = admission
        self._deadline_seconds = deadline_seconds
        self._parsers = parsers
        self._on_message = on_message

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap every handler but the infrastructure's."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or handler.request_deserializer is None:
            return handler
        method = Method.of(handler_call_details.method)
        if method.is_infrastructure:
            return handler
        parse = self._parsers.get(handler_call_details.method, handler.request_deserializer)
        admitted = self._admitted(handler, method, parse)
        return grpc.stream_unary_rpc_method_handler(admitted, None, handler.response_serializer)

    def _admitted(self, handler: Handler, method: Method, parse: Callable[[bytes], Any]) -> Callable[..., Any]:
        inner = behaviour_of(handler)

        async def call(_: AsyncIterator[bytes], context: Context) -> Any:
            deadline.current.set(self._deadline(context))
            place = None
            try:
                place = self._admission.enter_at_once()
                if place is None:
                    async with deadline.Enforced("place"):
                        place = await self._admission.enter()
                async with deadline.Enforced("message", READ_SECONDS):
                    raw = await read_only(context)
                place.shrink(len(raw))
                self._on_message(method)
                # Keep no reference to the message or its bytes here: the handler releases the photo as soon as it can.
                message = [parsed(parse, raw)]
                del raw
                return await inner(message.pop(), context)
            finally:
                if place is not None:
                    place.leave()

        return call

    def _deadline(self, context: Context) -> deadline.Deadline:
        remaining = context.time_remaining()
        budget = self._deadline_seconds
        if remaining is not None:
            budget = min(budget, max(0.0, remaining - MARGIN_SECONDS))
        return deadline.Deadline.after(budget)


async def read_only(context: Context) -> bytes:
    """Read the one message of a call.

    Raises:
        InvalidRequest: MESSAGE_MALFORMED, there is none.
    """
    # The request iterator would keep the message alive for as long as the call lasts.
    message: Any = await context.read()
    if message is grpc.aio.EOF:
        # This is also read when the call was cancelled or its message is too large: then gRPC cancels this task a moment later.
        notes.add(message="none came: the caller left, or it is too large for gRPC")
        await asyncio.sleep(CANCELLATION_SECONDS)
        raise InvalidRequest(ErrorReason.MESSAGE_MALFORMED, "the call has no message")
    return message  # type: ignore[no-any-return] # without a deserializer it is bytes


def parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    """Parse a message.

    Raises:
        InvalidRequest: MESSAGE_MALFORMED.
    """
    try:
        return parse(raw)
    except DecodeError as error:
        text = "the request is not a message of this method"
        raise InvalidRequest(ErrorReason.MESSAGE_MALFORMED, text) from error
