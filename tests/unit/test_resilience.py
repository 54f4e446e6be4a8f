"""The breaker and the retries around a detector: what counts, what is tried again, and within which budget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from facequality import deadline
from facequality.breaker import Breaker, BreakerRules, State
from facequality.detectors.resilience import BreakingDetector, RetryBudget, RetryingDetector
from facequality.detectors.tencentcloud.error_table import interpret
from facequality.errors import (
    ErrorReason,
    GateError,
    LimitReached,
    OperatorFault,
    Overloaded,
    Retry,
    UpstreamFault,
    UpstreamSilent,
)
from facequality.model import Detection, DetectOptions, Photo, PhotoBytes, PhotoRefused, PhotoUri

from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector, RecordingDetector

PHOTO = PhotoBytes(b"x")
FAULT = UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "down", retry=Retry.YES)
REFUSED_KEY = OperatorFault(ErrorReason.UPSTREAM_CREDENTIALS, "no")
THROTTLED = LimitReached(ErrorReason.UPSTREAM_RATE_LIMIT, "no")


@pytest.fixture(autouse=True)
def _no_deadline() -> Iterator[None]:
    token = deadline.current.set(None)
    yield
    deadline.current.reset(token)


def state(breaker: Breaker) -> State:
    return breaker.state


async def failing(detector: BreakingDetector | RetryingDetector) -> None:
    with pytest.raises((GateError, asyncio.CancelledError)):
        await detector.detect(PHOTO, DetectOptions())


async def test_every_new_state_is_told_when_it_begins() -> None:
    """Half open too, though its probe may hang."""
    now, told = 0.0, list[State]()
    inner = RecordingDetector(FAULT)
    detector = BreakingDetector(
        inner, Breaker(BreakerRules(faults_in_a_row=1, probes=1)), clock=lambda: now, on_state=told.append
    )
    await failing(detector)
    assert told == [State.OPEN]
    now = 10.0
    await failing(detector)
    assert told == [State.OPEN, State.HALF_OPEN, State.OPEN]
    now, inner.answer = 20.0, EXAMPLE_2
    await detector.detect(PHOTO, DetectOptions())
    assert told[3:] == [State.HALF_OPEN, State.CLOSED]


async def test_slow_hosts_of_photos_leave_a_probe_to_the_others() -> None:
    """Or nobody would find out that the vendor is well again."""
    clock, inner = iter([0.0, 0.0, *[100.0] * 9]), FakeDetector()
    detector = BreakingDetector(inner, Breaker(BreakerRules(faults_in_a_row=1, probes=2)), clock=lambda: next(clock))
    inner.answer = FAULT
    await failing(detector)
    inner.answer, inner.delay = EXAMPLE_2, 60
    slow = asyncio.create_task(detector.detect(PhotoUri("https://x.example/a.jpg"), DetectOptions()))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamFault, match="not called at the moment"):
        await detector.detect(PhotoUri("https://x.example/b.jpg"), DetectOptions())
    inner.delay = 0
    assert await detector.detect(PHOTO, DetectOptions()) is EXAMPLE_2
    slow.cancel()


@pytest.mark.parametrize(
    "reason",
    [
        ErrorReason.UPSTREAM_NETWORK,
        ErrorReason.UPSTREAM_TIMEOUT,
        ErrorReason.UPSTREAM_INTERNAL,
        ErrorReason.UPSTREAM_HTTP_STATUS,
        ErrorReason.UPSTREAM_MALFORMED,
        ErrorReason.UPSTREAM_UNKNOWN,
    ],
)
async def test_each_fault_of_the_vendors_counts(reason: ErrorReason) -> None:
    """Also an answer that is none."""
    breaker = Breaker(BreakerRules(faults_in_a_row=1))
    await failing(BreakingDetector(RecordingDetector(UpstreamFault(reason, "x")), breaker))
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (UpstreamSilent(ErrorReason.UPSTREAM_NETWORK, "x"), State.CLOSED),
        (asyncio.CancelledError(), State.CLOSED),
        (UpstreamFault(ErrorReason.UPSTREAM_NETWORK, "x"), State.OPEN),
        (UpstreamFault(ErrorReason.UPSTREAM_HTTP_STATUS, "x"), State.OPEN),
    ],
)
async def test_a_slow_host_of_a_photo_is_not_the_vendors_fault(error: BaseException, wanted: State) -> None:
    """The vendor downloads from where the caller says: one such host would shut everybody out."""
    clock, breaker = iter([0.0, 5.0]), Breaker(BreakerRules(faults_in_a_row=1))
    deadline.current.set(deadline.Deadline.after(0))
    inner = FakeDetector()
    inner.answer = error
    detector = BreakingDetector(inner, breaker, clock=lambda: next(clock))
    with pytest.raises(type(error)):
        await detector.detect(PhotoUri("https://slow.example/a.jpg"), DetectOptions())
    assert breaker.state is wanted


async def test_what_tells_nothing_ends_no_row_of_faults() -> None:
    """An operator's error in between is no success of the vendor's."""
    inner, breaker = RecordingDetector(FAULT), Breaker(BreakerRules(faults_in_a_row=2))
    detector = BreakingDetector(inner, breaker)
    for error in (FAULT, REFUSED_KEY, FAULT):
        inner.answer = error
        await failing(detector)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("nothing", [asyncio.CancelledError(), REFUSED_KEY, THROTTLED])
async def test_a_probe_that_tells_nothing_gives_its_place_back(nothing: BaseException) -> None:
    """Or nobody would ever be let through again."""
    now, inner = 0.0, FakeDetector()
    inner.answer = FAULT
    breaker = Breaker(BreakerRules(faults_in_a_row=1, probes=1))
    detector = BreakingDetector(inner, breaker, clock=lambda: now)
    await failing(detector)
    now, inner.answer = 10.0, nothing
    await failing(detector)
    assert state(breaker) is State.HALF_OPEN
    inner.answer = EXAMPLE_2
    assert await detector.detect(PHOTO, DetectOptions()) == EXAMPLE_2
    assert state(breaker) is State.CLOSED


@pytest.mark.parametrize(
    ("spent", "left", "error", "wanted"),
    [
        (1.2, 0.0, asyncio.CancelledError(), State.OPEN),
        # Its caller's own timer was first, by as much as the request was longer on its way than the caller's leaving.
        (1.2, 0.05, asyncio.CancelledError(), State.OPEN),
        (1.2, 5.0, asyncio.CancelledError(), State.CLOSED),
        (0.9, 0.0, asyncio.CancelledError(), State.CLOSED),
        (1.2, 0.0, THROTTLED, State.CLOSED),
    ],
)
async def test_a_call_that_ends_with_its_time_is_the_vendors_fault_if_it_had_a_second(
    spent: float, left: float, error: BaseException, wanted: State
) -> None:
    """Whoever's timer is first. A caller that leaves early tells nothing of the vendor, nor does a limit of our own."""
    clock, breaker, inner = iter([0.0, spent]), Breaker(BreakerRules(faults_in_a_row=1)), FakeDetector()
    inner.answer = error
    deadline.current.set(deadline.Deadline.after(left))
    await failing(BreakingDetector(inner, breaker, clock=lambda: next(clock)))
    assert breaker.state is wanted


@pytest.mark.parametrize(("stalled", "wanted"), [(1.1, State.CLOSED), (1.3, State.OPEN)])
@pytest.mark.parametrize("error", [FAULT, asyncio.CancelledError()])
async def test_what_failed_while_the_gate_stood_still_tells_nothing(error: BaseException, stalled: float, wanted: State) -> None:
    """A stall before the call does not excuse the vendor."""
    clock, breaker, inner = iter([0.0, 1.2]), Breaker(BreakerRules(faults_in_a_row=1)), FakeDetector()
    inner.answer = error
    deadline.current.set(deadline.Deadline.after(0))
    await failing(BreakingDetector(inner, breaker, clock=lambda: next(clock), stalled_within=lambda seconds: stalled <= seconds))
    assert breaker.state is wanted


async def test_a_quota_that_is_used_up_is_worth_no_call_within_a_minute() -> None:
    """Also where an earlier attempt had failed otherwise."""
    for codes in (["LimitExceeded"], ["InternalError", "LimitExceeded"]):
        answers = iter(codes)

        class Inner(RecordingDetector):
            async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
                return interpret(next(answers), "id")  # noqa: B023 - used within its round

        with pytest.raises(LimitReached) as caught:
            await RetryingDetector(Inner(EXAMPLE_2), jitter=lambda *_: 0.0).detect(PHOTO, DetectOptions())
        assert (caught.value.retry, caught.value.retry_after) == (Retry.SLOW, 60)


async def test_what_was_paid_for_is_not_tried_again_by_the_caller_either() -> None:
    """Its last attempt found no place, and sent nothing; the first two did. A call that found none at all may come back."""
    answers: list[GateError] = [FAULT, FAULT, Overloaded("much")]

    class Inner(RecordingDetector):
        async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
            raise answers.pop(0)

    detector = RetryingDetector(Inner(EXAMPLE_2), jitter=lambda *_: 0.0)
    with pytest.raises(Overloaded) as caught:
        await detector.detect(PHOTO, DetectOptions())
    assert caught.value.retry is Retry.SPENT
    answers.append(Overloaded("much"))
    with pytest.raises(Overloaded) as caught:
        await detector.detect(PHOTO, DetectOptions())
    assert caught.value.retry is Retry.NEVER


async def test_retries_stay_within_the_budget() -> None:
    """A tenth of the calls, and what it begins with: nothing else stops them here."""
    inner = RecordingDetector(FAULT)
    detector = RetryingDetector(inner, jitter=lambda *_: 0.0)
    for _ in range(100):
        await failing(detector)
    assert 100 + 3 <= len(inner.calls) <= 100 + 3 + 10


async def test_calls_that_succeed_earn_retries() -> None:
    """Eleven of them one."""
    inner = RecordingDetector(EXAMPLE_2)
    detector = RetryingDetector(inner, RetryBudget(tokens=0), jitter=lambda *_: 0.0)
    for _ in range(11):
        await detector.detect(PHOTO, DetectOptions())
    inner.answer = FAULT
    await failing(detector)
    assert len(inner.calls) == 11 + 2


async def test_waits_are_drawn_up_to_a_bound_that_doubles() -> None:
    """From nothing on: full jitter."""
    drawn: list[tuple[float, float]] = []

    def jitter(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.0

    await failing(RetryingDetector(RecordingDetector(FAULT), jitter=jitter))
    assert drawn[:2] == [(0.0, 0.1), (0.0, 0.2)]


async def test_a_throttled_call_waits_its_second_and_a_drawn_time_more() -> None:
    """Or all gates would come back at once."""
    throttled = LimitReached(ErrorReason.UPSTREAM_RATE_LIMIT, "no", retry=Retry.THROTTLE)
    drawn: list[tuple[float, float]] = []

    def jitter(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.0

    deadline.current.set(deadline.Deadline.after(1.5))
    started = asyncio.get_running_loop().time()
    await failing(RetryingDetector(RecordingDetector(throttled), jitter=jitter))
    assert asyncio.get_running_loop().time() - started >= 1
    assert drawn == [(0.0, 0.1), (0.0, 0.2)]


async def test_a_call_whose_time_is_nearly_over_is_not_tried_again() -> None:
    """What is left would be paid for in vain."""
    inner = RecordingDetector(FAULT)
    deadline.current.set(deadline.Deadline.after(0.05))
    await failing(RetryingDetector(inner, jitter=lambda *_: 0.0))
    assert len(inner.calls) == 1


async def test_a_bug_in_a_later_attempt_is_not_tried_again() -> None:
    """What was sent may have been paid for."""

    class BrokenLater(RecordingDetector):
        async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
            if self.calls:
                self.calls.append((photo, options))
                raise ValueError("a bug")
            return await super().detect(photo, options)

    inner = BrokenLater(FAULT)
    with pytest.raises(ValueError, match="a bug"):
        await RetryingDetector(inner, jitter=lambda _, __: 0.0).detect(PHOTO, DetectOptions())
    assert len(inner.calls) == 2


def test_the_budget_earns_a_tenth_and_is_bounded() -> None:
    """Calls earn, retries spend."""
    budget = RetryBudget(tokens=0)
    assert not budget.spend()
    for _ in range(11):
        budget.earn()
    assert budget.spend()
    assert not budget.spend()
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 10
