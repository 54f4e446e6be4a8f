"""Where metrics are read."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest
from facequality import exposition
from prometheus_client import CollectorRegistry


def test_who_connects_and_says_nothing_holds_no_thread(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor a line on standard error; who asks gets an answer."""
    monkeypatch.setattr(exposition, "PAUSE_SECONDS", 0.2)
    port, close = exposition.serve_metrics("127.0.0.1", 0, CollectorRegistry())
    before = threading.active_count()
    try:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(5)]
        silent[0].sendall(b"GET /metrics HT")
        assert [connection.recv(1) for connection in silent] == [b""] * 5
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.status == 200
        for connection in silent:
            connection.close()
    finally:
        close()
    assert threading.active_count() <= before
    assert capfd.readouterr().err == ""
