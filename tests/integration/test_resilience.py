"""The gate in front of a vendor that misbehaves: the emulator."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import grpc
import pytest
import structlog
from facequality.client import channel_options
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2

from tests import photos
from tests.loading import MEGABYTE, distinct, photos_held, sample
from tests.running import Gate, behind, details, failure, until

PHOTO = photos.encode(photos.cat(), "JPEG")
REQUEST = pb.CheckFaceQualityRequest(image=PHOTO, policy="loose")


def retries(served: Gate) -> float:
    metric = served.app.metrics.retries
    return sum(sample.value for family in metric.collect() for sample in family.samples if sample.name.endswith("_total"))


def first(count: int, action: dict[str, Any]) -> dict[str, Any]:
    return {"match": {"calls": list(range(1, count + 1))}, "action": action}


@pytest.mark.parametrize(
    "scenario",
    [
        {"rules": [first(1, {"error": "InternalError"})]},
        {"rules": [first(9, {"error": "InternalError"})]},
        {"rules": [first(1, {"http_status": 502})]},
        {"rules": [first(1, {"reset": "before"})]},
        {"rules": [first(9, {"body": "<html>"})]},
        {"clock_skew_seconds": 600},
    ],
    ids=["error once", "error always", "status once", "reset once", "malformed always", "clock"],
)
async def test_a_call_that_is_over_holds_no_photo(scenario: dict[str, Any]) -> None:
    """Its place and its bytes are another call's then: nothing may wait for the garbage collector."""
    async with behind(scenario) as (_, served):
        gc.collect()
        gc.disable()
        try:
            await asyncio.wait([asyncio.ensure_future(served.stub.CheckFaceQuality(distinct(0, MEGABYTE)))])
            await until(lambda: sample(served.app, "facequality_in_flight_calls") == 0)
            assert photos_held() == 0
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("action", "failing", "paid", "reason"),
    [
        ({"error": "InternalError"}, 1, 2, None),
        ({"error": "InternalError"}, 2, 3, None),
        ({"error": "InternalError"}, 3, 3, "UPSTREAM_INTERNAL"),
        ({"http_status": 502}, 2, 3, None),
        ({"error": "FailedOperation.UnKnowError"}, 1, 2, None),
        ({"error": "FailedOperation.UnKnowError"}, 2, 2, "UPSTREAM_UNKNOWN"),
        ({"reset": "before"}, 1, 2, None),
        ({"reset": "before"}, 2, 2, "UPSTREAM_NETWORK"),
        ({"body": "<html>"}, 2, 2, "UPSTREAM_MALFORMED"),
        ({"error": "AuthFailure.SignatureFailure"}, 1, 1, "UPSTREAM_CREDENTIALS"),
        ({"error": "ResourceUnavailable.InArrears"}, 1, 1, "UPSTREAM_ACCOUNT"),
        ({"error": "LimitExceeded"}, 1, 1, "UPSTREAM_QUOTA"),
    ],
)
async def test_what_may_help_is_tried_again_and_no_more(
    action: dict[str, Any], failing: int, paid: int, reason: str | None
) -> None:
    """By the error table: three attempts, two where the first may have been billed, one where it cannot help."""
    async with behind({"rules": [first(failing, action)]}) as (endpoint, served):
        if reason is None:
            assert (await served.stub.CheckFaceQuality(REQUEST)).verdict == verdict_pb2.VERDICT_ACCEPTED
        else:
            error = await failure(served.stub.CheckFaceQuality(REQUEST))
            found: Any = details(error)
            assert found["ErrorInfo"].reason == reason
            waits = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert ("RetryInfo" in found) == waits
        assert endpoint.calls == served.paid == paid
        assert retries(served) == paid - 1
        assert (await served.stub.CheckFaceQuality(REQUEST)).verdict == verdict_pb2.VERDICT_ACCEPTED


async def test_a_clients_own_retries_do_not_multiply_what_is_paid() -> None:
    """The gate has tried again already: gRPC, with the service config, is told not to."""
    async with behind({"rules": [{"action": {"error": "InternalError"}}]}) as (endpoint, served):
        async with grpc.aio.insecure_channel(served.target, options=channel_options()) as channel:
            error = await failure(pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(REQUEST))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
        assert "RetryInfo" in details(error)
        assert endpoint.calls == served.paid == 3


async def test_two_kept_connections_that_die_are_all_that_a_check_pays_for() -> None:
    """The request on the first was replaced on the second: nobody tries again, and the caller is told when it may."""
    slow = {"match": {"calls": [1, 2]}, "latency": {"seconds": 0.2}, "action": {"example": 2}}
    async with behind({"rules": [slow, {"action": {"reset": "before"}}]}) as (endpoint, served):
        await asyncio.gather(*(served.check("loose", PHOTO + end) for end in (b"1", b"2")))
        async with grpc.aio.insecure_channel(served.target, options=channel_options()) as channel:
            error = await failure(pb_grpc.FaceQualityServiceStub(channel).CheckFaceQuality(REQUEST))
        assert endpoint.calls == served.paid == 4
        assert str(error.details()).startswith("DetectFace gave no answer: ")
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
        assert "RetryInfo" in details(error)


async def test_waiting_for_a_connection_is_no_fault_of_the_vendors() -> None:
    """It takes none of an attempt's time, and who waits to the end of its own is told that the gate is busy."""
    async with behind({"latency": {"seconds": 0.4}}, tencentcloud_connections=2, tencentcloud_attempt_seconds=0.7) as (
        endpoint,
        served,
    ):
        served_in_turn = await asyncio.gather(*(served.check("loose", PHOTO + b"%d" % number) for number in range(8)))
        assert {response.verdict for response in served_in_turn} == {verdict_pb2.VERDICT_ACCEPTED}
        busy = [asyncio.ensure_future(served.check("loose", PHOTO + b"%d" % number)) for number in range(10, 14)]
        await asyncio.sleep(0.1)
        request = pb.CheckFaceQualityRequest(image=PHOTO, policy="loose")
        error = await failure(served.stub.CheckFaceQuality(request, timeout=0.3))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info: Any = details(error)["ErrorInfo"]
        assert info.reason == "OVERLOADED"
        registry = served.app.metrics.registry
        assert registry.get_sample_value("facequality_shed_calls_total", {"cause": "connections"}) == 1
        await asyncio.gather(*busy)
        assert endpoint.calls == served.paid == 12
        closed = {"detector": "tencentcloud", "state": "closed"}
        assert registry.get_sample_value("facequality_breaker_state", closed) == 1


async def test_a_turn_that_is_waited_for_is_not_the_vendors_time() -> None:
    """A quota of two a second: the detector takes its time, the vendor does not; and one call's turn does not come."""
    async with behind({}, tencentcloud_qps=2) as (endpoint, served):

        async def check(number: int) -> Any:
            request = pb.CheckFaceQualityRequest(image=PHOTO + b"%d" % number, policy="loose")
            return await served.stub.CheckFaceQuality(request)

        answers = await asyncio.gather(*(check(number) for number in range(6)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        sample = served.app.metrics.registry.get_sample_value
        cloud = {"detector": "tencentcloud"}
        assert sample("facequality_shed_calls_total", {"cause": "quota"}) == len(refused) > 0
        assert sample("facequality_detector_seconds_count", cloud) == 6
        assert sample("facequality_detector_attempt_seconds_count", cloud) == endpoint.calls == 6 - len(refused)
        whole, attempts = (sample(f"facequality_detector_{name}_sum", cloud) or 0 for name in ("seconds", "attempt_seconds"))
        assert whole > attempts + 1


@pytest.mark.parametrize(
    ("asked", "code", "outcome"), [("2.0", "INVALID_ARGUMENT", "caller"), ("", "FAILED_PRECONDITION", "configuration")]
)
async def test_a_face_model_that_the_account_may_not_use_is_whoevers_chose_it(asked: str, code: str, outcome: str) -> None:
    """No caller can wake the operator with an option."""
    async with behind({"rules": [{"action": {"error": "InvalidParameterValue.FaceModelVersionIllegal"}}]}) as (_, served):
        error = await failure(served.check("loose", PHOTO, options=pb.DetectOptions(face_model_version=asked)))
        assert error.code().name == code
        found: Any = details(error)
        assert found["ErrorInfo"].reason == "MODEL_VERSION_NOT_ALLOWED"
        assert found["ErrorInfo"].metadata["upstream_code"] == "InvalidParameterValue.FaceModelVersionIllegal"
        if asked:
            assert found["BadRequest"].field_violations[0].field == "options.face_model_version"
        assert served.outcomes(outcome) == 1


async def test_a_throttling_vendor_is_not_asked_again_within_a_second() -> None:
    """And then it is."""
    async with behind({"rules": [first(1, {"error": "RequestLimitExceeded"})]}) as (endpoint, served):
        started = time.perf_counter()
        await served.stub.CheckFaceQuality(REQUEST)
        assert time.perf_counter() - started >= 1
        assert endpoint.calls == 2


async def test_a_retry_that_would_not_fit_the_deadline_is_not_begun() -> None:
    """The error arrives at once instead of a deadline."""
    async with behind({"rules": [first(9, {"error": "RequestLimitExceeded"})]}) as (endpoint, served):
        started = time.perf_counter()
        error = await failure(served.stub.CheckFaceQuality(REQUEST, timeout=0.9))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "RetryInfo" in details(error)
        assert time.perf_counter() - started < 0.5
        assert endpoint.calls == 1


async def test_a_clock_that_is_ten_minutes_off_is_mended_by_the_vendors() -> None:
    """One more call, and from then on none."""
    async with behind({"clock_skew_seconds": 600}) as (endpoint, served):
        for _ in range(3):
            assert (await served.stub.CheckFaceQuality(REQUEST)).verdict == verdict_pb2.VERDICT_ACCEPTED
        assert endpoint.calls == 3
        assert served.paid == 4


async def test_under_an_outage_the_extra_calls_stay_within_the_budget() -> None:
    """Three to begin with, then a tenth of the calls; the breaker ends even those."""
    async with behind({"rules": [{"action": {"error": "InternalError"}}]}) as (endpoint, served):
        for _ in range(100):
            await failure(served.stub.CheckFaceQuality(REQUEST))
        assert retries(served) <= 3 + 10
        assert endpoint.calls <= 25


async def test_the_breaker_opens_answers_at_once_and_closes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNAVAILABLE with RetryInfo and pushback; its state is a metric; probes close it."""
    from facequality import breaker

    monkeypatch.setattr(breaker.BreakerRules, "__init__", _impatient(breaker.BreakerRules.__init__))
    async with behind({"rules": [first(12, {"error": "InternalError"})]}) as (endpoint, served):

        def state(name: str) -> float:
            labels = {"detector": "tencentcloud", "state": name}
            return served.app.metrics.registry.get_sample_value("facequality_breaker_state", labels) or 0

        assert (state("closed"), state("open")) == (1, 0)
        with structlog.testing.capture_logs() as lines:
            while state("open") == 0:
                await failure(served.stub.CheckFaceQuality(REQUEST))
        opened = [line for line in lines if line["event"] == "detector.breaker"]
        assert [(line["state"], line["log_level"]) for line in opened] == [("open", "warning")]
        before = endpoint.calls
        error = await failure(served.stub.CheckFaceQuality(REQUEST))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        info: Any = details(error)["ErrorInfo"]
        assert info.reason == "UPSTREAM_BREAKER_OPEN"
        assert "RetryInfo" in details(error)
        assert 0 < int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) <= 500
        assert endpoint.calls == before
        await asyncio.sleep(0.6)
        async with asyncio.timeout(10):
            while state("closed") == 0:
                try:
                    await served.stub.CheckFaceQuality(REQUEST)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.1)
        assert (await served.stub.CheckFaceQuality(REQUEST)).verdict == verdict_pb2.VERDICT_ACCEPTED


def _impatient(original: Any) -> Any:
    def init(self: Any, **more: Any) -> None:
        original(self, **{"open_seconds": 0.5, **more})

    return init


@pytest.mark.parametrize(
    "action",
    [
        {"error": "InvalidParameterValue.NoFaceInPhoto"},
        {"error": "AuthFailure.SignatureFailure"},
        {"error": "InvalidParameterValue.UrlIllegal"},
    ],
)
async def test_verdicts_and_other_peoples_faults_never_open_the_breaker(action: dict[str, Any]) -> None:
    """However many in a row."""
    async with behind({"rules": [first(30, action)]}) as (endpoint, served):
        for _ in range(30):
            try:
                await served.stub.CheckFaceQuality(REQUEST)
            except grpc.aio.AioRpcError as error:
                assert error.code() is not grpc.StatusCode.UNAVAILABLE
        assert endpoint.calls == 30
        assert (await served.stub.CheckFaceQuality(REQUEST)).verdict == verdict_pb2.VERDICT_ACCEPTED


async def test_callers_that_go_away_never_open_the_breaker_but_a_hanging_vendor_does() -> None:
    """A cancellation tells nothing of the vendor; a deadline spent in it does."""

    def portrait(number: int) -> pb.CheckFaceQualityRequest:
        # Calls of one photo would share one of the vendor's.
        return pb.CheckFaceQualityRequest(image=REQUEST.image + bytes([number]), policy=REQUEST.policy)

    async with behind({"rules": [{"match": {"calls": list(range(1, 41))}, "action": {"hang": True}}]}) as (endpoint, served):
        for number in range(1, 13):
            call = served.stub.CheckFaceQuality(REQUEST)
            await until(lambda number=number: endpoint.calls == number)
            call.cancel()
        spent = await asyncio.gather(*(failure(served.stub.CheckFaceQuality(portrait(n), timeout=2)) for n in range(10)))
        assert {error.code() for error in spent} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert (await failure(served.stub.CheckFaceQuality(REQUEST))).code() is grpc.StatusCode.UNAVAILABLE


async def test_impatient_callers_never_open_the_breaker_for_the_others() -> None:
    """A vendor that needs a third of a second is no failing one because some callers leave it a tenth."""
    async with behind({"latency": {"seconds": 0.3}}) as (_, served):
        for _ in range(12):
            error = await failure(served.stub.CheckFaceQuality(REQUEST, timeout=0.1))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await served.stub.CheckFaceQuality(REQUEST, timeout=5)).verdict == verdict_pb2.VERDICT_ACCEPTED
