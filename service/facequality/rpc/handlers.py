"""Names and kinds of methods, and the wrapping of one gRPC handler in another."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pool

# Strings: gRPC's classes are generic in their stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

_INFRASTRUCTURE = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


@dataclass(frozen=True, slots=True)
class Method:
    """A method being called."""

    kind: str
    """unary, server_stream, client_stream or bidi_stream: the labels of go-grpc-middleware."""
    service: str
    name: str
    path: str

    @property
    def is_infrastructure(self) -> bool:
        """Whether it is health's or reflection's: under limits of its own, not counted as in flight, logged at debug level."""
        return self.service in _INFRASTRUCTURE

    @classmethod
    @functools.cache
    def of(cls, path: str) -> Method:
        """Look up a served method: what the contract says it is, however its handler reads and writes."""
        _, service, name = path.split("/", 2)
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
        kinds = {(False, False): "unary", (False, True): "server_stream", (True, False): "client_stream"}
        kind = kinds.get((method.client_streaming, method.server_streaming), "bidi_stream")
        return cls(kind, service, name, path)


def behaviour_of(handler: Handler) -> Callable[..., Any]:
    """Return what a handler runs."""
    for behaviour in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream):
        if behaviour is not None:
            return behaviour
    raise TypeError("a handler without a behaviour")


def with_behaviour(handler: Handler, behaviour: Callable[..., Any], *, parse: Callable[[bytes], Any] | None) -> Handler:
    """Make a handler of the same kind that runs something else."""
    make: Callable[..., Handler] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(behaviour, parse, handler.response_serializer)
