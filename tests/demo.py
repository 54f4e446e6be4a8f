"""``make demo``: the real server on a free loopback port, a portrait and four spoilt versions of it, over gRPC.

Exits non-zero unless each of the five verdicts is the expected one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
from facequality.rendering import add_verdict, verdict_table
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2
from rich.console import Console

from tests import photos

EXPECTED = {
    "portrait": (photos.portrait, None),
    "blurred": (photos.blurred, verdict_pb2.REASON_TOO_BLURRY),
    "dark": (lambda: photos.exposed(0.3), verdict_pb2.REASON_TOO_DARK),
    "over-exposed": (lambda: photos.exposed(2.2), verdict_pb2.REASON_TOO_BRIGHT),
    "mouth covered": (photos.covered_mouth, verdict_pb2.REASON_MOUTH_OCCLUDED),
}
COMMAND = [str(Path(sys.executable).parent / "face-quality-gate"), "serve"]
SETTINGS = {
    "FACEQUALITY_DETECTOR": "embedded",
    "FACEQUALITY_GRPC_ADDRESS": "127.0.0.1:0",
    "FACEQUALITY_METRICS_ADDRESS": "127.0.0.1:0",
    "FACEQUALITY_DRAIN_SECONDS": "0",
}


def main() -> int:
    """Serve, check, show, stop."""
    console = Console()
    console.print("starting: FACEQUALITY_DETECTOR=embedded face-quality-gate serve")
    with subprocess.Popen(COMMAND, env=os.environ | SETTINGS, stderr=subprocess.PIPE, text=True) as server:
        try:
            started = _wait_until_started(server)
            console.print(f"gRPC on 127.0.0.1:{started['grpc_port']}, metrics on 127.0.0.1:{started['metrics_port']}")
            before = _metrics(started["metrics_port"])
            wrong = _check(console, started["grpc_port"])
            _show_moved(console, before, _metrics(started["metrics_port"]))
        finally:
            server.send_signal(signal.SIGTERM)
            _, rest = server.communicate(timeout=30)
    if server.returncode != 0:
        wrong.append(f"the server ended with {server.returncode}:\n{rest}")
    for text in wrong:
        console.print(f"[red]{text}")
    console.print("stopped; " + ("NOT as expected" if wrong else "the five verdicts are as expected"))
    return 1 if wrong else 0


def _wait_until_started(server: subprocess.Popen[str]) -> dict[str, int]:
    assert server.stderr is not None
    lines = []
    for line in server.stderr:
        lines.append(line)
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("event") == "server.started":
            return {name: record[name] for name in ("grpc_port", "metrics_port")}
    raise SystemExit("the server did not start:\n" + "".join(lines))


def _check(console: Console, port: int) -> list[str]:
    table, wrong = verdict_table(), []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.FaceQualityServiceStub(channel)
        for name, (make, reason) in EXPECTED.items():
            request = pb.CheckFaceQualityRequest(image=photos.encode(make()))
            response = stub.CheckFaceQuality(request, timeout=30, wait_for_ready=True)
            add_verdict(table, name, response)
            expected = verdict_pb2.VERDICT_ACCEPTED if reason is None else verdict_pb2.VERDICT_REJECTED
            if response.verdict != expected or (reason is not None and reason not in response.reasons):
                wrong.append(f"{name}: expected {verdict_pb2.Verdict.Name(expected)}, got {response.reasons}")
    console.print(table)
    return wrong


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def _show_moved(console: Console, before: dict[str, float], after: dict[str, float]) -> None:
    console.print("metrics that moved:")
    for series, value in after.items():
        moved = value - before.get(series, 0)
        if moved and series.startswith(("facequality_", "grpc_server_handled")) and "_bucket" not in series:
            console.print(f"  {series} {value:g}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
