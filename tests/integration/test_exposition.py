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
