"""Where metrics are read."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request

import pytest
from facequality import exposition
from prometheus_client import CollectorRegistry

from tests.running import no_descriptor


def test_only_so_many_are_served_at_a_time() -> None:
    """Each takes threads from the checks; who comes beyond them is hung up on."""
    port, close = exposition.serve_metrics("127.0.0.1", 0, CollectorRegistry())
    before = threading.active_count()
    try:
        with contextlib.ExitStack() as connections:

            def connect() -> socket.socket:
                return connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

            silent = [connect() for _ in range(exposition.CONNECTIONS)]
            while threading.active_count() < before + 2 * len(silent):
                time.sleep(0.01)
            assert [connect().recv(1) for _ in range(20)] == [b""] * 20
            assert threading.active_count() <= before + 2 * len(silent) + 1
        while threading.active_count() > before:
            time.sleep(0.01)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.status == 200
    finally:
        close()


def test_who_cannot_be_accepted_costs_no_processor() -> None:
    """A connection waits, and no file descriptor is left for it."""
    port, close = exposition.serve_metrics("127.0.0.1", 0, CollectorRegistry())
    try:
        with socket.socket() as waiting:
            with no_descriptor():
                waiting.connect(("127.0.0.1", port))
                began = time.process_time()
                time.sleep(1)
                assert time.process_time() - began < 0.3
            waiting.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert waiting.recv(8) == b"HTTP/1.0"
    finally:
        close()


def test_who_never_ends_a_request_holds_no_thread(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor a line on standard error; who asks gets an answer."""
    monkeypatch.setattr(exposition, "REQUEST_SECONDS", 0.5)
    port, close = exposition.serve_metrics("127.0.0.1", 0, CollectorRegistry())
    before = threading.active_count()
    try:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(5)]
        drip, word = silent[:2]
        word.sendall(b"GE")
        with contextlib.suppress(OSError):
            for byte in b"GET /metrics" * 20:
                drip.sendall(bytes([byte]))
                time.sleep(0.05)
        assert [connection.recv(1) for connection in silent[1:]] == [b""] * 4
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.status == 200
        for connection in silent:
            connection.close()
    finally:
        close()
    assert threading.active_count() <= before
    assert capfd.readouterr().err == ""
