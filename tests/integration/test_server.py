"""The gate over real gRPC channels."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from facequality.app import App
from facequality.errors import (
    DetectorBug,
    ErrorReason,
    GateError,
    LimitReached,
    OperatorFault,
    PhotoDownloadFailed,
    Retry,
    UpstreamFault,
)
from facequality.rpc import intake
from facequality.rpc.interceptors import CallInterceptor
from facequality.rpc.server import MAX_RECEIVE_BYTES
from facequality.rpc.status import INTERNAL_TEXT
from facequality.settings import Settings
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import photos
from tests.conftest import Served
from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector
from tests.loading import distinct, local
from tests.running import Fake, details, failure, handled, running, until

PORTRAIT = photos.encode(photos.portrait())
BIN = Path(sys.executable).parent


# -- verdicts --------------------------------------------------------------------------------------------------------


async def test_a_portrait_is_accepted(served: Served) -> None:
    """The whole answer: verdict, findings with margins, every face, policy, detector."""
    response = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT))
    assert response.verdict == verdict_pb2.VERDICT_ACCEPTED
    assert not response.reasons
    assert response.policy == "enroll"
    assert len(response.policy_revision) == 12
    assert (response.detector.name, response.detector.cloud_calibrated) == ("embedded", False)
    assert response.detection.image_width == response.detection.image_height == 512
    (face,) = response.detection.faces
    assert face.HasField("quality")
    assert not face.HasField("attributes")
    assert face.judgement.verdict == verdict_pb2.VERDICT_ACCEPTED
    assert response.judged_face == 0
    by_measure = {finding.measure: finding for finding in response.findings}
    size = by_measure[verdict_pb2.MEASURE_FACE_SIZE]
    assert size.margin == size.observed - size.min
    assert size.blocking
    assert not size.HasField("max")
    assert not size.guidance


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"GIF89a" + b"\x00" * 50, "IMAGE_FORMAT_UNSUPPORTED"),
        (b"no image at all", "IMAGE_UNDECODABLE"),
        (photos.encode(photos.portrait()).ljust(3_932_161, b"\x00"), "IMAGE_TOO_LARGE"),
        (photos.encode(photos.portrait().resize((2001, 100))), "IMAGE_RESOLUTION_TOO_HIGH"),
        (photos.encode(photos.portrait().resize((63, 63))), "IMAGE_RESOLUTION_TOO_LOW"),
        (photos.encode(photos.cat()), "NO_FACE"),
    ],
)
async def test_what_the_person_can_mend_is_a_verdict(served: Served, image: bytes, reason: str) -> None:
    """Status OK, rejected, with guidance; no detection where the photo was refused locally."""
    response = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=image))
    assert response.verdict == verdict_pb2.VERDICT_REJECTED
    assert [verdict_pb2.Reason.Name(r) for r in response.reasons] == [f"REASON_{reason}"]
    failing = [f for f in response.findings if f.status == verdict_pb2.FINDING_STATUS_FAIL]
    assert all(finding.guidance for finding in failing)
    assert response.HasField("detection") == (reason == "NO_FACE")
    assert not response.HasField("judged_face")


async def test_the_example_of_the_contract_comes_through_the_wire(fake: Fake) -> None:
    """DetectFace's documented example 2, whole."""
    fake.detector.answer = EXAMPLE_2
    response = await fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT, policy="strict"))
    assert [verdict_pb2.Reason.Name(r).removeprefix("REASON_") for r in response.reasons] == [
        "FACE_TOO_SMALL",
        "MASK_WORN",
        "CHEEK_OCCLUDED",
        "CHIN_OCCLUDED",
        "POSE_PITCH",
        "TOO_BLURRY",
        "LOW_SCORE",
    ]
    (face,) = response.detection.faces
    assert (face.box.x, face.box.y, face.box.width, face.box.height) == (156, 129, 196, 196)
    assert face.quality.completeness.chin == 47
    assert face.attributes.mask is True
    assert face.attributes.HasField("hat")
    assert not face.attributes.HasField("age")
    assert response.upstream_request_id == response.detection.request_id == EXAMPLE_2.request_id


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (pb.CheckFaceQualityRequest(), "INVALID_ARGUMENT", "PARAMETER_MISSING", "photo"),
        (pb.CheckFaceQualityRequest(image=b""), "INVALID_ARGUMENT", "IMAGE_EMPTY", "image"),
        (pb.CheckFaceQualityRequest(uri=""), "INVALID_ARGUMENT", "URL_INVALID", "uri"),
        (pb.CheckFaceQualityRequest(uri="https://x.example/a"), "INVALID_ARGUMENT", "URL_FORBIDDEN", "uri"),
        (
            pb.CheckFaceQualityRequest(image=b"x", options=pb.DetectOptions(max_face_num=0)),
            "INVALID_ARGUMENT",
            "FACE_NUM_LIMIT",
            "options.max_face_num",
        ),
        (
            pb.CheckFaceQualityRequest(image=b"x", options=pb.DetectOptions(max_face_num=121)),
            "INVALID_ARGUMENT",
            "FACE_NUM_LIMIT",
            "options.max_face_num",
        ),
        (
            pb.CheckFaceQualityRequest(image=b"x", options=pb.DetectOptions(min_face_size=40)),
            "INVALID_ARGUMENT",
            "PARAMETER_INVALID",
            "options.min_face_size",
        ),
        (
            pb.CheckFaceQualityRequest(image=b"x", options=pb.DetectOptions(face_model_version="4.0")),
            "INVALID_ARGUMENT",
            "PARAMETER_INVALID",
            "options.face_model_version",
        ),
        (pb.CheckFaceQualityRequest(image=PORTRAIT, policy="nope"), "NOT_FOUND", "POLICY_NOT_FOUND", None),
    ],
)
async def test_what_the_caller_must_mend_is_an_error(
    served: Served, request_: pb.CheckFaceQualityRequest, code: str, reason: str, field: str | None
) -> None:
    """With ErrorInfo, and BadRequest naming the field."""
    error = await failure(served.stub.CheckFaceQuality(request_))
    assert error.code().name == code
    found = details(error)
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "facequality.v1")
    if field is not None:
        bad = found["BadRequest"]
        assert isinstance(bad, error_details_pb2.BadRequest)
        assert [violation.field for violation in bad.field_violations] == [field]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
async def test_any_bytes_as_a_message_end_in_a_documented_status(served: Served, raw: bytes) -> None:
    """Malformed protobuf is INVALID_ARGUMENT, not UNKNOWN with the parser's text."""
    call: Any = served.channel.unary_unary("/facequality.v1.FaceQualityService/CheckFaceQuality")
    try:
        await call(raw)
    except grpc.aio.AioRpcError as error:
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        assert "ErrorInfo" in details(error)
        assert "Error" not in (error.details() or "")


async def test_a_malformed_message_is_typed_on_every_method(served: Served) -> None:
    """Also the health service's and reflection's, which stream."""
    channel: Any = served.channel
    raw = b"\xff\xff\xff"
    calls: list[Any] = [
        channel.unary_unary("/facequality.v1.FaceQualityService/GetPolicy")(raw),
        channel.unary_unary("/grpc.health.v1.Health/Check")(raw),
        channel.unary_stream("/grpc.health.v1.Health/Watch")(raw).read(),
        channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(iter([raw])).read(),
    ]
    for call in calls:
        error = await failure(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = details(error)["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert info.reason == "MESSAGE_MALFORMED"


async def test_a_message_over_the_receive_limit_is_refused_by_grpc(served: Served) -> None:
    """8 MiB; what lies between the photo limit and this one is a verdict."""
    over = pb.CheckFaceQualityRequest(image=b"\x00" * MAX_RECEIVE_BYTES)
    assert (await failure(served.stub.CheckFaceQuality(over))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    under = pb.CheckFaceQualityRequest(image=b"\x00" * (MAX_RECEIVE_BYTES - 100))
    assert (await served.stub.CheckFaceQuality(under)).verdict == verdict_pb2.VERDICT_REJECTED


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    """The interceptors have no handler to wrap."""
    call: Any = served.channel.unary_unary("/facequality.v1.FaceQualityService/Nope")
    error = await failure(call(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stop_waits_for_accepted_calls(fake: Fake) -> None:
    """To the end of the grace time."""
    fake.detector.delay = 0.5
    request = pb.CheckFaceQualityRequest(image=PORTRAIT)
    accepted = [asyncio.ensure_future(fake.stub.CheckFaceQuality(request)) for _ in range(4)]
    await until(lambda: fake.detector.begun == 4)
    with structlog.testing.capture_logs() as lines:
        await fake.app.stop(drain_seconds=0, grace_seconds=10)
    assert [response.verdict for response in await asyncio.gather(*accepted)] == [verdict_pb2.VERDICT_REJECTED] * 4
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == []


async def test_a_stop_waits_for_the_slowest() -> None:
    """Not for the first that ends."""
    app, detector = local()
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        calls = []
        for number, detector.delay in enumerate((0.4, 1.2), 1):
            calls.append(asyncio.ensure_future(stub.CheckFaceQuality(distinct(number))))
            await until(lambda number=number: detector.begun == number)
        await app.stop(drain_seconds=0, grace_seconds=10)
        assert len(await asyncio.gather(*calls)) == 2


async def test_a_stop_waits_for_what_grpc_has_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing is in progress when the stop begins: the call's handler is only about to be."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    intercept = CallInterceptor.intercept_service

    async def held(self: CallInterceptor, *arguments: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await intercept(self, *arguments)

    monkeypatch.setattr(CallInterceptor, "intercept_service", held)
    app, detector = local()
    detector.delay = 1.5
    async with running(app) as (channel, _):
        accepted = asyncio.ensure_future(pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(distinct(1)))
        await asked.wait()
        stop = asyncio.create_task(app.stop(drain_seconds=0, grace_seconds=10))
        await asyncio.sleep(0.2)
        go_on.set()
        await stop
        assert (await accepted).detector.name == "fake"


async def test_a_stop_tells_of_the_calls_that_it_cuts(fake: Fake) -> None:
    """They outlast the grace time, and nobody takes them for cancelled by their callers."""
    fake.detector.delay = 0.8
    cut = asyncio.ensure_future(failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT))))
    await until(lambda: fake.detector.begun == 1)
    with structlog.testing.capture_logs() as lines:
        await fake.app.stop(drain_seconds=0, grace_seconds=0.1)
    assert (await cut).code() is grpc.StatusCode.UNAVAILABLE
    assert [line["calls"] for line in lines if line["event"] == "server.calls_cut"] == [1]
    assert [line["code"] for line in lines if line["event"] == "rpc.handled"] == ["UNAVAILABLE"]
    assert (handled(fake, "Unavailable"), handled(fake, "Canceled")) == (1, 0)


R = ErrorReason


@pytest.mark.parametrize(
    ("raised", "code", "retry"),
    [
        (OperatorFault(R.UPSTREAM_CLOCK_SKEW, "late", retry=Retry.ONCE), "FAILED_PRECONDITION", None),
        (PhotoDownloadFailed(R.IMAGE_DOWNLOAD_FAILED, "404"), "FAILED_PRECONDITION", None),
        (LimitReached(R.UPSTREAM_RATE_LIMIT, "slow down", retry=Retry.THROTTLE), "RESOURCE_EXHAUSTED", 1),
        (LimitReached(R.UPSTREAM_QUOTA, "used up", retry=Retry.SLOW), "RESOURCE_EXHAUSTED", 60),
        (UpstreamFault(R.UPSTREAM_INTERNAL, "down", retry=Retry.YES), "UNAVAILABLE", 0.5),
        (DetectorBug(R.GATE_BUG, "secret detail"), "INTERNAL", None),
    ],
)
async def test_detector_errors_arrive_with_their_details(fake: Fake, raised: GateError, code: str, retry: float | None) -> None:
    """Reason, metadata, RetryInfo."""
    fake.detector.answer = type(raised)(
        raised.reason, raised.message, metadata={"upstream_request_id": "r-1", "error": "x"}, retry=raised.retry
    )
    error = await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT)))
    assert error.code().name == code
    assert error.details() == (INTERNAL_TEXT if code == "INTERNAL" else raised.message)
    found = details(error)
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == raised.reason
    assert info.metadata["upstream_request_id"] == "r-1"
    assert ("RetryInfo" in found) == (retry is not None)
    if retry is not None:
        retry_info = found["RetryInfo"]
        assert isinstance(retry_info, error_details_pb2.RetryInfo)
        assert retry_info.retry_delay.ToTimedelta().total_seconds() == retry


async def test_grpc_may_try_a_refusal_that_cost_nothing_again(fake: Fake) -> None:
    """In a second, as one whose share of the quota did not come."""
    fake.detector.answer = LimitReached(R.UPSTREAM_RATE_LIMIT, "no share", wait_seconds=1.0)
    error = await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT)))
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"


async def test_a_cancellation_by_nobody_is_a_bug(fake: Fake) -> None:
    """GRPC would leave the caller waiting until its deadline."""
    fake.detector.answer = asyncio.CancelledError()
    request = pb.CheckFaceQualityRequest(image=PORTRAIT)
    error = await failure(fake.stub.CheckFaceQuality(request, timeout=5))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    assert (handled(fake, "Internal"), handled(fake, "Canceled")) == (1, 0)


@pytest.mark.parametrize("raised", [ValueError("secret detail"), DetectorBug(R.GATE_BUG, "secret detail")])
async def test_nothing_of_a_bug_leaks(fake: Fake, raised: Exception) -> None:
    """INTERNAL with a fixed text; the log has the rest, once."""
    fake.detector.answer = raised
    with structlog.testing.capture_logs() as lines:
        error = await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT)))
    assert [line["exc_info"] for line in lines if line["event"] == "rpc.bug"] == [raised]
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == INTERNAL_TEXT
    assert "secret" not in repr(error)
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == "GATE_BUG"
    assert fake.sample("facequality_detector_requests_total", detector="fake", outcome="bug") == 1


async def test_a_caller_that_goes_at_its_deadline_is_counted_so(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the gate be too late to say it; who goes earlier has cancelled."""
    monkeypatch.setattr(intake, "MARGIN_SECONDS", -0.5)
    fake.detector.delay = 30
    request = pb.CheckFaceQualityRequest(image=PORTRAIT)
    await failure(fake.stub.CheckFaceQuality(request, timeout=0.3))
    await until(lambda: handled(fake, "DeadlineExceeded") == 1)
    early = fake.stub.CheckFaceQuality(request, timeout=30)
    await until(lambda: fake.detector.begun == 2)
    early.cancel()
    await until(lambda: handled(fake, "Canceled") == 1)


@pytest.mark.usefixtures("wide_margin")
async def test_the_gate_stops_before_the_callers_deadline_with_details(fake: Fake) -> None:
    """The caller learns why, not only that time is up."""
    fake.detector.delay = 30
    error = await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT), timeout=0.6))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == "DEADLINE"
    assert fake.detector.cancelled == 1


async def test_a_call_without_a_deadline_gets_the_configured_budget(fake: Fake) -> None:
    """One second here; it also bounds longer deadlines."""
    fake.detector.delay = 30
    for timeout in (None, 60):
        error = await failure(fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT), timeout=timeout))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error.details() == "no answer within 1 s"
    assert fake.sample("facequality_detector_requests_total", detector="fake", outcome="deadline") == 2


async def test_a_cancelled_call_stops_the_work_and_is_counted_as_such(fake: Fake) -> None:
    """Not as an error of the gate."""
    fake.detector.delay = 30
    call = fake.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PORTRAIT))
    async with asyncio.timeout(5):
        while fake.sample("facequality_in_flight_calls") == 0:
            await asyncio.sleep(0.01)
        call.cancel()
        while fake.detector.cancelled == 0 or fake.sample("facequality_in_flight_calls") == 1:
            await asyncio.sleep(0.01)
    assert handled(fake, "Canceled") == 1
    assert fake.sample("facequality_detector_requests_total", detector="fake", outcome="cancelled") == 1


async def test_calls_over_the_limit_are_shed_and_health_is_not() -> None:
    """At once, with RetryInfo and pushback; what is in progress is not touched, and the place comes free again."""
    app_settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", max_in_flight=2, max_queued=0)
    detector = FakeDetector()
    detector.delay = 0.5
    app = App(app_settings, detector)
    async with running(app) as (channel, _):
        stub = pb_grpc.FaceQualityServiceStub(channel)
        request = pb.CheckFaceQualityRequest(image=PORTRAIT)
        accepted = [asyncio.ensure_future(stub.CheckFaceQuality(request)) for _ in range(2)]
        async with asyncio.timeout(5):
            while app.metrics.registry.get_sample_value("facequality_in_flight_calls") != 2:
                await asyncio.sleep(0.01)
        started = asyncio.get_running_loop().time()
        error = await failure(stub.CheckFaceQuality(request))
        assert asyncio.get_running_loop().time() - started < 0.3
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info: Any = details(error)["ErrorInfo"]
        assert info.reason == "OVERLOADED"
        assert "RetryInfo" in details(error)
        assert ("grpc-retry-pushback-ms", "500") in tuple(error.trailing_metadata())
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        assert len(await asyncio.gather(*accepted)) == 2
        assert (await stub.CheckFaceQuality(request)).policy == "enroll"
