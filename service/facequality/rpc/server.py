"""The gRPC servers: the service with health and reflection, and a health server of its own where asked for."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from facequality.admission import Admission
from facequality.metrics import Metrics
from facequality.rpc.handlers import Method
from facequality.rpc.infrastructure import MAX_MESSAGE_BYTES, InfrastructureInterceptor
from facequality.rpc.intake import AdmissionInterceptor
from facequality.rpc.interceptors import AccessLog, CallInterceptor, CallMetrics, InFlight
from facequality.rpc.messages import CheckMessage
from facequality.rpc.servicer import FaceQualityServicer
from facequality.settings import Settings
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["FaceQualityService"]
_CHECK = f"/{SERVICE.full_name}/CheckFaceQuality"
READINESS = ("", SERVICE.full_name)
"""Health names that drop on SIGTERM. They never depend on the vendor."""
LIVENESS = "liveness"
"""Health name that stands as long as the process does."""

MAX_RECEIVE_BYTES = 8 * 1024 * 1024
"""Larger than the largest legal photo, so that a photo over the limit gets a verdict; beyond this gRPC itself refuses."""

AGEING_GRACE_SECONDS = 5
"""How much longer than the longest call an aged connection stays open."""

PING_SECONDS = 5
"""Clients may ping this often, in use or not: gRPC's own 5 minutes would close the connections of an ordinary keepalive."""

CONCURRENT_STREAMS = 1000
"""Calls on one connection, beyond which its client waits: an answer that nobody takes holds 24 KB of gRPC's."""

PENDING_CALLS = 4000
"""Calls that may wait to be begun while the event loop is behind; gRPC would cancel some from 1,000 on, unseen by any metric."""

_OPTIONS = (
    ("grpc.max_concurrent_streams", CONCURRENT_STREAMS),
    ("grpc.server.max_pending_requests", PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000 * PING_SECONDS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Otherwise a second server binds the same port and takes half the calls.
    ("grpc.so_reuseport", 0),
    # Bytes of a message that gRPC accepts per call before the handler reads it; by its own estimate it would accept all of it. A
    # photo of 3.7 MB then takes four round trips, which is negligible within a cluster.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)


class Health:
    """The three health names of one process, served on one or more ports."""

    def __init__(self) -> None:
        """Start as alive but not ready."""
        self.servicer = health.aio.HealthServicer()

    async def set_ready(self, *, ready: bool) -> None:
        """Raise or drop readiness; liveness stands."""
        status = health_pb2.HealthCheckResponse
        await self.servicer.set(LIVENESS, status.SERVING)
        for name in READINESS:
            await self.servicer.set(name, status.SERVING if ready else status.NOT_SERVING)


class _ByName:
    """Where generated code adds handlers that are to be found by a call's path alone.

    It also offers methods for registration, and gRPC then waits anew for a call of each registered one whenever any call comes.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, *_: object) -> None:
        pass


def build_server(
    servicer: FaceQualityServicer,
    health_state: Health,
    metrics: Metrics,
    in_flight: InFlight,
    admission: Admission,
    settings: Settings,
) -> grpc.aio.Server:
    """Make the main server, without a port yet."""
    calls, parsers = CallMetrics(metrics), {_CHECK: CheckMessage.parse}
    server = grpc.aio.server(
        interceptors=[
            CallInterceptor(calls, in_flight, AccessLog(), are_cut=lambda: in_flight.are_cut),
            InfrastructureInterceptor(),
            AdmissionInterceptor(admission, settings.deadline_seconds, parsers, on_message=calls.received),
        ],
        options=(*_OPTIONS, ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES), *_ageing(settings)),
    )
    by_name: Any = _ByName(server)
    pb_grpc.add_FaceQualityServiceServicer_to_server(servicer, by_name)
    health_pb2_grpc.add_HealthServicer_to_server(health_state.servicer, by_name)
    names = [SERVICE.full_name, health.SERVICE_NAME]
    if settings.reflection:
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    for method in SERVICE.methods:
        calls.serve(Method.of(f"/{SERVICE.full_name}/{method.name}"))
    return server


def _ageing(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Close connections after a while, each 10 % sooner or later by gRPC's own jitter; a call begun on one can end on it."""
    if not settings.connection_age_seconds:
        return ()
    return (
        ("grpc.max_connection_age_ms", round(1000 * settings.connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", round(1000 * (settings.deadline_seconds + AGEING_GRACE_SECONDS))),
    )


def build_health_server(health_state: Health) -> grpc.aio.Server:
    """Make a server of grpc.health.v1 alone, without a port yet."""
    interceptors = [CallInterceptor(AccessLog()), InfrastructureInterceptor()]
    options = (*_OPTIONS, ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES))
    server = grpc.aio.server(interceptors=interceptors, options=options)
    health_pb2_grpc.add_HealthServicer_to_server(health_state.servicer, server)
    return server
