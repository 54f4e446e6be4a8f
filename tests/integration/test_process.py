"""The gate as a process: start-up, logs, signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from facequality.emulator.scenario import Scenario
from facequality.rpc.server import MAX_RECEIVE_BYTES
from facequality.testing import detectface_emulator
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.running import COMMAND, LOOPBACK, serving
from tests.upstream import answering, error, upstream

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_start_up_says_what_is_live_and_warns_that_it_is_not_the_cloud() -> None:
    """Detector, policy and ports in one line, then the warning."""
    async with serving() as gate:
        started = await gate.event("server.started")
        assert (started["detector"], started["default_policy"]) == ("embedded", "enroll")
        warning = await gate.event("detector.not_the_cloud")
        assert warning["level"] == "warning"
        assert "not Tencent Cloud" in str(warning["text"])


async def test_a_check_is_one_log_line_without_the_photo() -> None:
    """Ids, policy, verdict, reasons; no bytes."""
    async with serving() as gate:
        started = await gate.event("server.started")
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        agent = (("grpc.primary_user_agent", "a" * 80),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}", agent) as channel:
            stub = pb_grpc.FaceQualityServiceStub(channel)
            request = pb.CheckFaceQualityRequest(image=photos.encode(photos.blurred()))
            await stub.CheckFaceQuality(request, metadata=(("x-request-id", "r-1"), ("traceparent", trace)))
            line = await gate.event("rpc.handled")
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CheckFaceQuality(pb.CheckFaceQualityRequest(uri="https://x.example/a?token=secret"))
            failed = await gate.event("rpc.handled")
        assert (line["request_id"], line["traceparent"], line["code"]) == ("r-1", trace, "OK")
        assert (line["policy"], line["verdict"], line["detector"]) == ("enroll", "REJECTED", "embedded")
        assert "TOO_BLURRY" in str(line["reasons"])
        assert line["image_width"] == 512
        assert len(json.dumps(line)) < 1000
        assert 0 < float(str(line["detector_milliseconds"])) <= float(str(line["milliseconds"])) < 60_000
        assert line["peer"] == "127.0.0.1"
        assert str(line["user_agent"]).startswith(f"{'a' * 80} grpc-python")
        assert len(str(line["user_agent"])) == 100
        assert failed["error_reason"] == "URL_FORBIDDEN"
        assert "secret" not in "".join(gate.raw)


async def test_a_message_that_grpc_refuses_is_told_from_one_that_came() -> None:
    """Its own RESOURCE_EXHAUSTED reaches the caller; to the gate it only cancels the call."""
    async with serving() as gate:
        started = await gate.event("server.started")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}") as channel:
            stub = pb_grpc.FaceQualityServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=b"\x00" * MAX_RECEIVE_BYTES))
            line = await gate.event("rpc.handled")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (line["code"], line["message"]) == ("CANCELLED", "none came: the caller left, or it is too large for gRPC")


async def test_the_vendors_request_id_is_in_every_line() -> None:
    """Of a verdict and of an error, under the same name; a fault of the operator's is a warning; no secret is anywhere.

    One line a call, also of one that was tried again; an answer from the cache was no call of the detector.
    """
    async with upstream() as endpoint:
        variables = {
            "FACEQUALITY_DETECTOR": "tencentcloud",
            "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.url,
            "TENCENTCLOUD_SECRET_ID": "the-secret-id",
            "TENCENTCLOUD_SECRET_KEY": "the-secret-key",
            "FACEQUALITY_CACHE_SECONDS": "60",
        }
        async with serving(**variables) as gate:
            started = await gate.event("server.started")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}") as channel:
                stub = pb_grpc.FaceQualityServiceStub(channel)
                request = pb.CheckFaceQualityRequest(image=photos.encode(photos.cat(), "JPEG"))
                await stub.CheckFaceQuality(request)
                verdict = await gate.event("rpc.handled")
                await stub.CheckFaceQuality(request)
                again = await gate.event("rpc.handled")
                endpoint.exchange = answering(error("InternalError"))
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=photos.encode(photos.blurred(), "JPEG")))
                lines = len(gate.log)
                unjudged = await gate.event("rpc.handled")
                assert len(gate.log) == lines + 1
                endpoint.exchange = answering(error("AuthFailure.SignatureFailure"))
                request = pb.CheckFaceQualityRequest(image=photos.encode(photos.portrait(), "JPEG"))
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.CheckFaceQuality(request)
                failed = await gate.event("rpc.handled")
                endpoint.exchange = answering(error("InvalidParameterValue.NoFaceInPhoto"))
                await stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=photos.encode(photos.portrait(), "PNG")))
                refused = await gate.event("rpc.handled")
            assert verdict["upstream_request_id"] == "bcde47b5-e6d8-446e-a538-bcecffbe306a"
            assert (failed["upstream_request_id"], failed["upstream_code"]) == ("req-1", "AuthFailure.SignatureFailure")
            code = "InvalidParameterValue.NoFaceInPhoto"
            assert (refused["verdict"], refused["upstream_request_id"], refused["upstream_code"]) == ("REJECTED", "req-1", code)
            # Was it the vendor, and how often did it cost? A failed call's line has it too.
            assert (verdict["paid_calls"], again.get("paid_calls"), unjudged["paid_calls"]) == (1, None, 3)
            assert (unjudged["policy"], unjudged["image_width"], unjudged["detector"]) == ("enroll", 512, "tencentcloud")
            assert 0 < float(str(unjudged["detector_milliseconds"])) <= float(str(unjudged["milliseconds"]))
            assert (verdict["level"], failed["level"]) == ("info", "warning")
            assert (verdict["detector_called"], again["detector_called"]) == (True, False)
            assert not any(secret in "".join(gate.raw) for secret in ("the-secret", "secret text", "TC3-HMAC"))


async def test_an_interrupted_check_shows_what_it_has(tmp_path: Path) -> None:
    """Each verdict may have been paid for; the third photo's answer never comes."""
    script = {"rules": [{"match": {"calls": [1, 2]}, "action": {"example": 2}}, {"action": {"hang": True}}]}
    for number, photo in enumerate((photos.cat(), photos.portrait(), photos.blurred())):
        (tmp_path / f"{number}.jpg").write_bytes(photos.encode(photo, "JPEG"))
    with detectface_emulator(Scenario.model_validate(script), detector=RecordingDetector(EXAMPLE_2)) as endpoint:
        environ = os.environ | {
            "FACEQUALITY_DETECTOR": "tencentcloud",
            "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.url,
            "TENCENTCLOUD_SECRET_ID": endpoint.secret_id,
            "TENCENTCLOUD_SECRET_KEY": endpoint.secret_key,
            "COLUMNS": "200",
        }
        # Whatever runs in a shell's background ignores SIGINT, and so would what it starts.
        command = ("env", "--default-signal=INT", COMMAND, "check", str(tmp_path))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=pipe, stderr=pipe)
        async with asyncio.timeout(30):
            while endpoint.calls < 3:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            shown, said = await process.communicate()
    assert process.returncode not in {0, 1}
    assert [name in shown.decode() for name in ("0.jpg", "1.jpg", "2.jpg")] == [True, True, False]
    assert b"Traceback" not in said


async def test_sigterm_drops_readiness_keeps_serving_and_finishes_what_was_accepted() -> None:
    """Exit 0; nothing accepted is lost."""
    async with serving(FACEQUALITY_DRAIN_SECONDS="1.5", FACEQUALITY_GRACE_SECONDS="10") as gate:
        started = await gate.event("server.started")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{started['grpc_port']}") as channel:
            stub = pb_grpc.FaceQualityServiceStub(channel)
            health: Any = health_pb2_grpc.HealthStub(channel)
            large = pb.CheckFaceQualityRequest(image=photos.encode(photos.portrait().resize((3000, 3000)), "JPEG"))
            watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
            assert (await watch.read()).status == SERVING
            gate.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING
            alive = await health.Check(health_pb2.HealthCheckRequest(service="liveness"))
            assert alive.status == SERVING
            while_draining = await stub.CheckFaceQuality(large)
            assert while_draining.detector.name == "embedded"
            in_flight = [asyncio.ensure_future(stub.CheckFaceQuality(large, timeout=20)) for _ in range(12)]
            await gate.event("server.stopping")
            answers = await asyncio.gather(*in_flight)
            assert len(answers) == 12
            # The watch stays open: it must not hold the gate for the whole grace time.
            stopping = asyncio.get_running_loop().time()
            assert await gate.exit_code() == 0
            assert asyncio.get_running_loop().time() - stopping < 5
        assert any("server.stopped" in line for line in gate.raw)


async def test_a_second_signal_ends_at_once() -> None:
    """An impatient operator is obeyed."""
    async with serving(FACEQUALITY_DRAIN_SECONDS="60") as gate:
        await gate.event("server.started")
        gate.process.send_signal(signal.SIGINT)
        await gate.event("server.draining")
        gate.process.send_signal(signal.SIGINT)
        assert await gate.exit_code() == 0


async def test_a_signal_is_not_lost_while_it_starts() -> None:
    """Process 1 would ignore it, were there no handler yet."""
    async with serving() as gate:
        async with asyncio.timeout(10):
            while not _catches(gate.process.pid, signal.SIGTERM):
                await asyncio.sleep(0.001)
        gate.process.send_signal(signal.SIGTERM)
        assert await gate.exit_code() == 128 + signal.SIGTERM
        assert not any("server.started" in line for line in gate.raw)


def _catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_a_full_disk_costs_log_lines_and_nothing_else(unused_tcp_port_factory: Callable[[], int]) -> None:
    """Checks are answered, the lines that are lost are counted, a stop is graceful."""
    grpc_port, metrics_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    environ = os.environ | {
        "FACEQUALITY_GRPC_ADDRESS": f"127.0.0.1:{grpc_port}",
        "FACEQUALITY_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
        "FACEQUALITY_DRAIN_SECONDS": "0",
    }
    command = ("/bin/sh", "-c", f"exec {COMMAND} serve 2>/dev/full")
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub = pb_grpc.FaceQualityServiceStub(channel)
            request = pb.CheckFaceQualityRequest(image=photos.encode(photos.cat(), "JPEG"))
            await stub.CheckFaceQuality(request, timeout=30, wait_for_ready=True)
        scraped = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{metrics_port}/metrics", timeout=10)
        text = scraped.read().decode()
        assert re.search(r"^facequality_log_lines_lost_total [1-9]", text, re.MULTILINE)
        assert "facequality_in_flight_calls 0.0" in text
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_idle_connections_lock_nobody_out_while_the_hard_limit_has_room(unused_tcp_port_factory: Callable[[], int]) -> None:
    """A container's soft limit on open files may be small."""
    port = unused_tcp_port_factory()
    command = ("/bin/sh", "-c", f"ulimit -Sn 64; exec {COMMAND} serve 2>/dev/null")
    environ = os.environ | {**LOOPBACK, "FACEQUALITY_GRPC_ADDRESS": f"127.0.0.1:{port}", "FACEQUALITY_DRAIN_SECONDS": "0"}
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    idle: list[asyncio.StreamWriter] = []
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
        idle += [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(100)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = pb.CheckFaceQualityRequest(image=photos.encode(photos.cat(), "JPEG"))
            await pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(request, timeout=10)
    finally:
        for connection in idle:
            connection.close()
        process.kill()
        await process.wait()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
async def test_a_gate_that_is_started_without_standard_streams_stops_like_any_other(closed: str) -> None:
    """Their numbers are not the event loop's to take: it aborts when it closes such a one."""
    async with serving(FACEQUALITY_DRAIN_SECONDS="0", streams=closed) as gate:
        await gate.event("server.started")
        gate.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(gate.process.wait(), 20) == 0


@pytest.mark.parametrize("arguments", [["--help"], ["policy", "show"], ["serve", "--help"]])
async def test_without_a_standard_error_the_command_works(arguments: list[str]) -> None:
    """As under some supervisors."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", 'exec "$@" 2>&-', "sh", COMMAND, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output


async def test_a_lost_terminal_is_a_graceful_stop() -> None:
    """SIGHUP as SIGTERM; policies reload without it."""
    async with serving(FACEQUALITY_DRAIN_SECONDS="0") as gate:
        await gate.event("server.started")
        gate.process.send_signal(signal.SIGHUP)
        await gate.event("server.stopped")
        assert await gate.exit_code() == 0


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"FACEQUALITY_GRPC_ADDRESS": "nosuch.invalid:1"}, "cannot listen on nosuch.invalid:1: Name or service not known"),
        ({"FACEQUALITY_GRPC_ADDRESS": "nowhere"}, "FACEQUALITY_GRPC_ADDRESS: must be HOST:PORT"),
        ({"FACEQUALITY_GRPC_ADDRESS": "192.0.2.1:1"}, "cannot listen on 192.0.2.1:1"),
        ({"TENCENTCLOUD_SECRET_ID": "x"}, "FACEQUALITY_DETECTOR: is not set, yet TENCENTCLOUD_SECRET_ID is"),
    ],
)
async def test_a_wrong_setting_ends_with_2_and_one_plain_line(variables: dict[str, str], text: str) -> None:
    """No traceback."""
    async with serving(**variables) as gate:
        assert await gate.exit_code() == 2
        assert text in "".join(gate.raw)
        assert "Traceback" not in "".join(gate.raw)
        # gRPC's core is silent.
        assert not any(".cc:" in line for line in gate.raw)
