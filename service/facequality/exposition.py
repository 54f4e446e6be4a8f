"""Serves /metrics by prometheus_client's server, with limits on requests and on their time, which that server lacks."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

REQUEST_SECONDS = 10.0
"""Longest request, from connecting to the last byte of the response, s."""


CONNECTIONS = 16
"""Requests served at a time; further connections are closed at once. Each takes two threads."""

NO_DESCRIPTOR_SECONDS = 0.2
"""Pause when a connection cannot be accepted, s: it stays in the queue and would be retried in a busy loop."""


def serve_metrics(host: str, port: int, registry: CollectorRegistry) -> tuple[int, Callable[[], None]]:
    """Serve in threads of its own; return the port, and what ends it.

    Raises:
        OSError: the address cannot be bound.
    """
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - as gRPC does on a machine without IPv6
    server, thread = start_http_server(port, addr=host, registry=registry)
    server.RequestHandlerClass = _bounded(server.RequestHandlerClass)
    server.get_request = _patient(server.get_request)  # type: ignore[method-assign]

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, close


def _patient(accept: Callable[[], Any]) -> Callable[[], Any]:
    def patiently() -> Any:
        try:
            return accept()
        except OSError:
            time.sleep(NO_DESCRIPTOR_SECONDS)
            raise

    return patiently


def _bounded(handler: Any) -> Any:
    places = threading.BoundedSemaphore(CONNECTIONS)

    class Handler(handler):  # type: ignore[misc] # whichever class the library has
        def handle(self) -> None:
            if not places.acquire(blocking=False):
                return
            try:
                self._handle_in_time()
            finally:
                places.release()

        def _handle_in_time(self) -> None:
            end = threading.Timer(REQUEST_SECONDS, self._cut)
            end.start()
            try:
                # The server would print a traceback for every client that was cut off or has gone.
                with contextlib.suppress(ConnectionError):
                    super().handle()
            finally:
                end.cancel()

        def _cut(self) -> None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
