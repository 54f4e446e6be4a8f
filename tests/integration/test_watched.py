"""How a gate is watched and explored: metrics, ids, health, reflection, policies; by other people's clients too."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import subprocess
import sys
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from facequality.app import App
from facequality.errors import StartError
from facequality.rpc import infrastructure
from facequality.settings import Settings
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import policy_pb2, verdict_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests import photos
from tests.conftest import Served
from tests.detections import EXAMPLE_1, EXAMPLE_2
from tests.detectors import FakeDetector
from tests.running import Fake, details, failure, gate, handled, running

PORTRAIT = photos.encode(photos.portrait())
BIN = Path(sys.executable).parent


# -- metrics ---------------------------------------------------------------------------------------------------------


async def test_checks_move_the_metrics(fake: Fake) -> None:
    """Each kind of end, counted once where it belongs."""
    assert handled(fake, "OK") == 0
    await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT, policy="loose"))
    await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT, policy="enroll"))
    await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=b"junk"))
    await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest()))
    assert handled(fake, "OK") == 3
    assert handled(fake, "InvalidArgument") == 1
    assert fake.sample("facequality_checks_total", policy="loose", verdict="ACCEPTED") == 1
    assert fake.sample("facequality_checks_total", policy="enroll", verdict="REJECTED") == 2
    assert fake.sample("facequality_rejections_total", policy="enroll", reason="CHIN_OCCLUDED") == 1
    assert fake.sample("facequality_rejections_total", policy="enroll", reason="IMAGE_UNDECODABLE") == 1
    assert fake.sample("facequality_saved_calls_total", cause="local_rejection") == 1
    assert fake.sample("facequality_detector_requests_total", detector="fake", outcome="ok") == 2
    assert fake.sample("facequality_detector_seconds_count", detector="fake") == 2
    # loose: mouth 99 of 31 is far off; enroll: sharpness 73 of 80 is 7 off, score 63 of 70 too; loose face 196 px too.
    assert fake.sample("facequality_near_threshold_total", policy="enroll", measure="sharpness", status="FAIL") == 0
    assert fake.sample("facequality_quality_score_count", measure="sharpness") == 2
    assert fake.sample("facequality_in_flight_calls") == 0


async def test_measures_are_observed_whether_or_not_they_are_bounded(fake: Fake) -> None:
    """Bounds are chosen by looking at them."""
    for policy in ("loose", "strict"):
        await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT, policy=policy))
    for measure in ("sharpness", "completeness.eyebrow", "completeness.chin"):
        assert fake.sample("facequality_quality_score_count", measure=measure) == 2
    assert fake.sample("facequality_pose_degrees_count", measure="pitch") == 2
    assert fake.sample("facequality_face_size_pixels_count") == 2


async def test_a_face_that_was_not_assessed_is_no_measurement(fake: Fake) -> None:
    """Nine zeros would draw every median down; nor is a number that cannot be one."""
    assert EXAMPLE_2.faces[0].quality is not None
    odd = dataclasses.replace(EXAMPLE_2.faces[0].quality, sharpness=101)
    for answer in (EXAMPLE_1, dataclasses.replace(EXAMPLE_2, faces=(dataclasses.replace(EXAMPLE_2.faces[0], quality=odd),))):
        fake.detector.answer = answer
        await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT, policy="loose"))
    assert fake.sample("facequality_quality_score_count", measure="sharpness") == 0
    assert fake.sample("facequality_quality_score_count", measure="brightness") == 1


async def test_every_series_is_there_from_the_start(fake: Fake) -> None:
    """A rate over a series that appears late misses its first event."""
    for code in ("OK", "Canceled", "DeadlineExceeded", "ResourceExhausted", "Unavailable", "Internal"):
        for method in ("CheckFaceQuality", "GetPolicy", "ListPolicies"):
            assert handled(fake, code, method) == 0
    for reason in verdict_pb2.Reason.keys()[1:]:
        name = reason.removeprefix("REASON_")
        assert fake.sample("facequality_rejections_total", policy="strict", reason=name) == 0
    for cause in ("queue_full", "queue_time", "connections", "quota"):
        assert fake.sample("facequality_shed_calls_total", cause=cause) == 0
    assert fake.sample("facequality_detector_attempt_seconds_count", detector="fake") == 0
    assert fake.sample("facequality_policy_info", policy="enroll", revision="f163c93262d4", is_default="true") == 1


async def test_promtool_accepts_the_metrics_page(served: Served) -> None:
    """Prometheus' own linter."""
    await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT))
    url = f"http://127.0.0.1:{served.metrics_port}/metrics"
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
    try:
        lint = await asyncio.create_subprocess_exec(
            "promtool", "check", "metrics", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except FileNotFoundError:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    output, _ = await lint.communicate(page)
    assert (lint.returncode, output.decode()) == (0, "")


# -- ids, health, reflection, policies -------------------------------------------------------------------------------


async def test_the_request_id_is_echoed(served: Served) -> None:
    """On success in the trailing metadata, on errors beside the details; made where it is missing."""
    call = served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=b"junk"), metadata=(("x-request-id", "order-17"),))
    await call
    assert ("x-request-id", "order-17") in tuple(await call.trailing_metadata())
    error = await failure(served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(), metadata=(("x-request-id", "order-18"),)))
    assert ("x-request-id", "order-18") in tuple(error.trailing_metadata())
    assert "ErrorInfo" in details(error)
    made = served.stub.GetPolicy(pb.GetPolicyRequest())
    await made
    request_id = dict(await made.trailing_metadata())["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", str(request_id))


@pytest.mark.parametrize(
    ("endpoint", "warned"), [("http://vendor.example", True), ("https://vendor.example", False), ("http://127.0.0.1:1", False)]
)
async def test_a_vendor_without_tls_is_warned_of(endpoint: str, warned: bool) -> None:
    """Everybody on the way could read the photos."""
    with structlog.testing.capture_logs() as lines:
        async with gate(endpoint):
            pass
    assert ("settings.vendor_without_tls" in [line["event"] for line in lines]) is warned


async def test_health_has_three_names(served: Served) -> None:
    """Readiness under two, liveness, and NOT_FOUND for others."""
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", "facequality.v1.FaceQualityService", "liveness"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with structlog.testing.capture_logs() as lines:
        error = await failure(stub.Check(health_pb2.HealthCheckRequest(service="other")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert [(line["event"], line["log_level"]) for line in lines] == [("rpc.handled", "debug")], "probes fill no log"
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


async def test_infrastructure_takes_small_messages_soon(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """No caller can park a photo's worth of memory in a watch, or a call without its message."""
    channel: Any = served.channel
    large = health_pb2.HealthCheckRequest(service="x" * 5000).SerializeToString()
    symbol = b"\x22\x88\x27" + b"x" * 5000
    for call in (
        channel.unary_unary("/grpc.health.v1.Health/Check")(large),
        channel.unary_stream("/grpc.health.v1.Health/Watch")(large).read(),
        channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(iter([symbol])).read(),
    ):
        assert (await failure(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
    monkeypatch.setattr(infrastructure, "READ_SECONDS", 0.2)
    mute = channel.stream_unary("/grpc.health.v1.Health/Check")()
    assert (await failure(mute)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # One that could send more, and one that does.
    for more, code in ((0, grpc.StatusCode.DEADLINE_EXCEEDED), (1, grpc.StatusCode.INVALID_ARGUMENT)):
        watch = channel.stream_stream("/grpc.health.v1.Health/Watch")()
        for message in (b"", *more * [bytes(900_000)]):
            await watch.write(message)
        assert (await failure(watch.read())).code() is code


async def test_calls_of_health_that_wait_for_their_messages_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have brought some of it; other connections are welcome meanwhile, and this one when they are gone."""
    monkeypatch.setattr(infrastructure, "MAX_UNREAD_PER_CONNECTION", 10)
    channel: Any = served.channel
    mute = [channel.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(11)]
    done, waiting = await asyncio.wait([asyncio.ensure_future(failure(each)) for each in mute], return_when="FIRST_COMPLETED")
    assert [task.result().code() for task in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    request = health_pb2.HealthCheckRequest()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}", options=(("y", "z"),)) as another:
        other: Any = health_pb2_grpc.HealthStub(another)
        assert (await other.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        assert not any(task.done() for task in waiting)
    assert {(await task).code() for task in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_clients_watches_are_bounded_and_checks_are_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection cannot take the others' place; one that is free again is given again."""
    monkeypatch.setattr(infrastructure, "MAX_WATCHES_PER_CONNECTION", 2)
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    request = health_pb2.HealthCheckRequest(service="")
    watches = [stub.Watch(request) for _ in range(2)]
    for watch in watches:
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    assert (await failure(stub.Watch(request).read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}", options=(("x", "y"),)) as channel:
        other: Any = health_pb2_grpc.HealthStub(channel)
        assert (await other.Watch(request).read()).status == health_pb2.HealthCheckResponse.SERVING
        monkeypatch.setattr(infrastructure, "MAX_WATCHES", 3)
        assert (await failure(other.Watch(request).read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()
    async with asyncio.timeout(10):
        while (again := await _status(stub.Watch(request))) is None:
            await asyncio.sleep(0.02)
    assert again == health_pb2.HealthCheckResponse.SERVING


async def _status(watch: Any) -> int | None:
    try:
        return int((await watch.read()).status)
    except grpc.aio.AioRpcError:
        return None


async def test_reflections_are_bounded_and_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each always reads. One that asks nothing more ends, and its place is another's; one that its client ends, ends well."""
    monkeypatch.setattr(infrastructure, "MAX_REFLECTIONS", 2)
    monkeypatch.setattr(infrastructure, "REFLECTION_PAUSE_SECONDS", 0.5)
    channel: Any = served.channel
    reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    services = b"\x3a\x00"
    streams = [reflect() for _ in range(2)]
    for stream in streams:
        await stream.write(services)
        assert b"facequality.v1.FaceQualityService" in await stream.read()
    assert (await failure(reflect(iter([services])).read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for stream in streams:
        assert (await failure(stream.read())).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    last = reflect(iter([services]))
    assert b"facequality.v1.FaceQualityService" in await last.read()
    assert await last.read() is grpc.aio.EOF
    assert await last.code() is grpc.StatusCode.OK


async def test_messages_that_do_not_end_are_few_at_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may bring 8 MiB before gRPC can be told that it is too large; who waits for one of them is not forgotten."""
    monkeypatch.setattr(infrastructure, "READ_SECONDS", 0.3)
    reading = 0
    most = 0

    async def slow(_: Any) -> bytes:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            await asyncio.sleep(30)
        finally:
            reading -= 1
        return b""

    monkeypatch.setattr(infrastructure, "read_only", slow)
    for connections, wanted in ((1, infrastructure.MAX_READS_PER_CONNECTION), (3, infrastructure.MAX_READS)):
        most = 0
        async with AsyncExitStack() as stack:
            target = f"127.0.0.1:{served.grpc_port}"
            channels: list[Any] = [
                await stack.enter_async_context(grpc.aio.insecure_channel(target, options=(("x", number),)))
                for number in range(connections)
            ]
            calls = [channel.unary_unary("/grpc.health.v1.Health/Check")(b"") for channel in channels for _ in range(20)]
            codes = [(await failure(call)).code() for call in calls]
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert most == wanted


async def test_the_health_address_serves_health_alone() -> None:
    """For probes when the main port has TLS."""
    app_settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", health_address="127.0.0.1:0")
    app = App(app_settings, FakeDetector())
    async with running(app) as (_, ports), grpc.aio.insecure_channel(f"127.0.0.1:{ports.health}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        error = await failure(pb_grpc.FaceQualityServiceStub(channel).GetPolicy(pb.GetPolicyRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        error = await failure(stub.Check(health_pb2.HealthCheckRequest(service="x" * 5000)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_policies_are_shown_as_applied(served: Served) -> None:
    """Resolved, with revision, source, load time and what the live detector cannot give."""
    listed = await served.stub.ListPolicies(pb.ListPoliciesRequest())
    assert [policy.name for policy in listed.policies] == ["enroll", "loose", "normal", "strict"]
    assert listed.default_policy == "enroll"
    default = (await served.stub.GetPolicy(pb.GetPolicyRequest())).policy
    assert default == listed.policies[0]
    assert default.face_rule == policy_pb2.FACE_RULE_EXACTLY_ONE
    assert default.source == "built-in"
    assert default.load_time.seconds > 0
    brightness = next(b for b in default.bounds if b.measure == verdict_pb2.MEASURE_BRIGHTNESS)
    assert (brightness.min, brightness.max, brightness.blocking) == (30, 70, True)
    assert not default.unavailable_measures
    error = await failure(served.stub.GetPolicy(pb.GetPolicyRequest(name="nope")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_an_address_in_use_is_said_in_words(served: Served) -> None:
    """A second server must not share the port."""
    app_settings = Settings(grpc_address=f"127.0.0.1:{served.grpc_port}", metrics_address="127.0.0.1:0")
    with pytest.raises(StartError, match=r"cannot listen on 127\.0\.0\.1"):
        await App(app_settings, FakeDetector()).start()
    app_settings = Settings(grpc_address="127.0.0.1:0", metrics_address=f"127.0.0.1:{served.metrics_port}")
    app = App(app_settings, FakeDetector())
    with pytest.raises(StartError, match="cannot serve metrics on"):
        await app.start()


# -- other clients ---------------------------------------------------------------------------------------------------


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, output.decode()


REQUEST = b'{"image": "R0lGODlh", "policy": "loose"}'


async def test_grpcurl_calls_by_reflection_and_by_the_proto(served: Served) -> None:
    """A client that knows nothing of us."""
    address, method = f"127.0.0.1:{served.grpc_port}", "facequality.v1.FaceQualityService/CheckFaceQuality"
    grpcurl = str(BIN / "grpcurl")
    by_reflection = await run(grpcurl, "-plaintext", "-d", "@", address, method, stdin=REQUEST)
    protos = ("-import-path", "proto", "-proto", "facequality/v1/face_quality_service.proto")
    by_proto = await run(grpcurl, "-plaintext", *protos, "-d", "@", address, method, stdin=REQUEST)
    for code, output in (by_reflection, by_proto):
        assert code == 0, output
        assert '"REASON_IMAGE_FORMAT_UNSUPPORTED"' in output


async def test_buf_curl_calls_by_the_schema(served: Served) -> None:
    """Another one."""
    url = f"http://127.0.0.1:{served.grpc_port}/facequality.v1.FaceQualityService/CheckFaceQuality"
    code, output = await run(
        str(BIN / "buf"), "curl", "--schema", "proto", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "@-", url,
        stdin=REQUEST,
    )  # fmt: skip
    assert code == 0, output
    assert '"REASON_IMAGE_FORMAT_UNSUPPORTED"' in output
