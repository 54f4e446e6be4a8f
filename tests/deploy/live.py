"""Two replicas behind a real balancer, watched by a real Prometheus: balance, a replica that stops, every panel's query, an alert that arrives."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import threading
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import structlog
import yaml
from facequality.emulator.scenario import Scenario
from facequality.testing import EmulatedEndpoint, detectface_emulator
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

from tests import photos
from tests.deploy.tools import DEPLOY, ROOT, WORK, Failed, background, run, say, tool, until
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector

SECONDS_BEFORE_STOP = 25.0
CALLERS = 8
POLICIES = """
default: normal
policies:
  normal: {extends: normal, shadow: strict}
  strict: {extends: strict}
"""
SCRIPT = {
    "seed": 3,
    "latency": {"between": [0.002, 0.01]},
    "rules": [
        {"match": {"probability": 0.02}, "action": {"error": "InternalError"}},
        {"match": {"probability": 0.1}, "action": {"error": "InvalidParameterValue.NoFaceInPhoto"}},
        {"action": {"example": 2}},
    ],
}


class Webhook:
    """Takes what Alertmanager sends."""

    def __init__(self) -> None:
        self.alerts: list[str] = []
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                alerts.extend(alert["labels"]["alertname"] for alert in body["alerts"] if alert["status"] == "firing")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def balanced() -> None:
    """Run it all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    # What an earlier run has stored, Alertmanager's notifications above all, must not be there.
    folder = WORK / "live"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    script = Scenario.model_validate(SCRIPT)
    with ExitStack() as stack:
        endpoint = stack.enter_context(detectface_emulator(script, detector=RecordingDetector(EXAMPLE_2)))
        replicas = [stack.enter_context(_replica(folder, endpoint, number)) for number in range(2)]
        webhook = Webhook()
        stack.callback(webhook.server.shutdown)
        balancer, prometheus, alertmanager = free_ports(3)
        stack.enter_context(_envoy(folder, balancer, [replica.port for replica in replicas]))
        stack.enter_context(_alertmanager(folder, alertmanager, webhook.server.server_port))
        metrics = [replica.metrics for replica in replicas]
        stack.enter_context(_prometheus(folder, prometheus, alertmanager, metrics))
        until("the replicas are up", lambda: all(get(f"http://127.0.0.1:{port}/metrics") for port in metrics))
        until("Prometheus is ready", lambda: get(f"http://127.0.0.1:{prometheus}/-/ready"))
        until("Envoy answers", lambda: asyncio.run(_load(balancer, 0.5))["OK"] > 0)
        shares = _balance(prometheus, balancer)
        empty = _empty_panels(prometheus)
        outcome = _stopped(balancer, replicas[0])
        (folder / "secret-key").write_text("not-the-key", encoding="utf-8")
        refused = asyncio.run(_load(balancer, 5.0))
        until("the alert arrives", lambda: "FaceQualityCredentials" in webhook.alerts, 60)
    say(f"  Envoy: shares {', '.join(f'{share:.3f}' for share in shares)}; a replica stopped under load: {dict(outcome)}")
    if empty:
        raise Failed(f"panels without data: {empty}")
    say(
        f"  Prometheus: no panel's query is empty; a broken key ({dict(refused)}) rang FaceQualityCredentials through Alertmanager"
    )


class _Replica:
    """A running gate."""

    def __init__(self, process: Any, port: int, metrics: int) -> None:
        self.process, self.port, self.metrics = process, port, metrics


def _balance(prometheus: int, balancer: int) -> list[float]:
    outcome = asyncio.run(_load(balancer, SECONDS_BEFORE_STOP))
    if set(outcome) - {"OK", "UNAVAILABLE"} or outcome["UNAVAILABLE"] > 0.02 * outcome.total():
        raise Failed(f"calls failed: {outcome}")
    found = _query(prometheus, 'sum by (instance) (increase(grpc_server_handled_total{grpc_method="CheckFaceQuality"}[20s]))')
    values = [float(each["value"][1]) for each in found]
    shares = [value / sum(values) for value in values]
    if len(shares) != 2 or max(shares) > 0.55:
        raise Failed(f"the balance is off: {shares}")
    return shares


def _empty_panels(prometheus: int) -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    empty = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "20s").replace("$job", ".*")
            found = _query(prometheus, query)
            if not found or all(each["value"][1] == "NaN" for each in found):
                empty.append(f"{panel['title']}: {query}")
    return empty


def _stopped(balancer: int, replica: _Replica) -> Counter[str]:
    stopping = threading.Timer(2.0, replica.process.send_signal, (signal.SIGTERM,))
    stopping.start()
    outcome = asyncio.run(_load(balancer, 10.0, faults=False))
    if outcome.keys() - {"OK"}:
        raise Failed(f"calls failed as a replica stopped: {outcome}")
    if replica.process.wait(30) != 0:
        raise Failed(f"the replica ended with {replica.process.returncode}")
    return outcome


async def _load(port: int, seconds: float, *, faults: bool = True) -> Counter[str]:
    """Checks of photos that are alike in part; without ``faults`` a failed check is tried again, as the service config does."""
    photo = photos.encode(photos.cat().resize((128, 128)), "JPEG")
    outcomes: Counter[str] = Counter()
    end = monotonic() + seconds
    source = random.Random(7)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.FaceQualityServiceStub(channel)

        async def caller() -> None:
            while monotonic() < end:
                number = source.randrange(2000) if source.random() < 0.5 else source.getrandbits(60)
                request = pb.CheckFaceQualityRequest(image=photo + number.to_bytes(8, "big"))
                try:
                    await stub.CheckFaceQuality(request, timeout=5)
                    outcomes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    upstream = "UPSTREAM_INTERNAL" in str(error.trailing_metadata())
                    if faults or not upstream:
                        outcomes[error.code().name] += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return outcomes


def _replica(folder: Path, endpoint: EmulatedEndpoint, number: int) -> Any:
    port, metrics = free_ports(2)
    (folder / "policies.yaml").write_text(POLICIES, encoding="utf-8")
    (folder / "secret-id").write_text(endpoint.secret_id, encoding="utf-8")
    (folder / "secret-key").write_text(endpoint.secret_key, encoding="utf-8")
    settings = {
        "FACEQUALITY_DETECTOR": "tencentcloud",
        "FACEQUALITY_GRPC_ADDRESS": f"127.0.0.1:{port}",
        "FACEQUALITY_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
        "FACEQUALITY_POLICY_FILE": str(folder / "policies.yaml"),
        "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.url,
        "FACEQUALITY_TENCENTCLOUD_QPS": "400",
        "FACEQUALITY_CACHE_SECONDS": "30",
        "FACEQUALITY_DRAIN_SECONDS": "3",
        "TENCENTCLOUD_SECRET_ID_FILE": str(folder / "secret-id"),
        "TENCENTCLOUD_SECRET_KEY_FILE": str(folder / "secret-key"),
    }

    @contextmanager
    def running() -> Any:
        command = ROOT / ".venv" / "bin" / "face-quality-gate"
        with background(command, "serve", log=folder / f"gate-{number}.log", **settings) as process:
            yield _Replica(process, port, metrics)

    return running()


def _envoy(folder: Path, port: int, backends: list[int]) -> Any:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }}  # fmt: skip
    route = {"match": {"prefix": "/"}, "route": {"cluster": "gate", "timeout": "10s", "retry_policy": {
        "retry_on": "reset,connect-failure,refused-stream", "num_retries": 2,
    }}}  # fmt: skip
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gate",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "gate", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        ],
    }
    health = {
        "timeout": "1s",
        "interval": "0.5s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "no_traffic_interval": "0.5s",
        "grpc_health_check": {"service_name": "facequality.v1.FaceQualityService"},
    }
    cluster = {
        "name": "gate",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "typed_extension_protocol_options": http2,
        "health_checks": [health],
        "load_assignment": {
            "cluster_name": "gate",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(each)}} for each in backends]}],
        },
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "gate", "address": address(port), "filter_chains": [{"filters": filters}]}
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}}), encoding="utf-8")
    options = ["--base-id", str(os.getpid() % 30000), "--concurrency", "1", "--log-level", "warning"]
    return background(tool("envoy"), "-c", path, *options, log=folder / "envoy.log")


def _prometheus(folder: Path, port: int, alertmanager: int, targets: list[int]) -> Any:
    job = {"job_name": "face-quality-gate", "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in targets]}]}
    rules = []
    for name in ("recording.yaml", "alerts.yaml"):
        text = (DEPLOY / "prometheus" / name).read_text(encoding="utf-8")
        rules.append(folder / name)
        # As they are, but for the pace: this lasts half a minute.
        rules[-1].write_text(re.sub(r"^    interval: \w+$", "    interval: 2s", text, flags=re.MULTILINE), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [job],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run("promtool", "check", "config", path)
    data = folder / f"data-{port}"
    options = [f"--config.file={path}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    return background("prometheus", *options, log=folder / "prometheus.log")


def _alertmanager(folder: Path, port: int, webhook: int) -> Any:
    config = {
        "route": {"receiver": "webhook", "group_wait": "1s", "group_interval": "5s"},
        "receivers": [{"name": "webhook", "webhook_configs": [{"url": f"http://127.0.0.1:{webhook}/"}]}],
    }
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run("amtool", "check-config", path)
    options = [f"--config.file={path}", f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}"]
    return background("prometheus-alertmanager", *options, "--cluster.listen-address=", log=folder / "alertmanager.log")


def _query(prometheus: int, query: str) -> list[dict[str, Any]]:
    text = get(f"http://127.0.0.1:{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    if not text:
        raise Failed(f"Prometheus does not take {query}")
    result: list[dict[str, Any]] = json.loads(text)["data"]["result"]
    return result


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
