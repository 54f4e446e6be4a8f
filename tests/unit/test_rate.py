"""The quota of calls per second."""

from __future__ import annotations

import asyncio

import pytest
from facequality import deadline
from facequality.detector import Detector
from facequality.detectors.deadline import DeadlineDetector
from facequality.detectors.rate import ConcurrencyLimitedDetector, RateLimitedDetector
from facequality.detectors.sharing import SharingDetector
from facequality.errors import DeadlineExceeded, ErrorReason, LimitReached, Overloaded
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused

from tests.detections import EXAMPLE_2
from tests.detectors import FakeDetector, RecordingDetector


async def test_calls_are_spread_and_what_waits_too_long_is_refused() -> None:
    """A few at once, the others in turn; all are answered or refused."""
    detector = RecordingDetector(EXAMPLE_2)
    told = []
    limited = RateLimitedDetector(detector, 50, wait_seconds=0.5, on_refused=lambda: told.append(1))
    started = asyncio.get_running_loop().time()
    results = await asyncio.gather(
        *(limited.detect(PhotoBytes(b"x"), DetectOptions()) for _ in range(60)), return_exceptions=True
    )
    seconds = asyncio.get_running_loop().time() - started
    refused = [result for result in results if isinstance(result, LimitReached)]
    assert all(error.reason is ErrorReason.UPSTREAM_RATE_LIMIT and error.retry_after == 0.5 for error in refused)
    # A burst of 2.5, and 47.5 a second: 26 in half a second, fewer on a machine that stalls meanwhile.
    assert 10 <= len(detector.calls) <= 2.5 + 47.5 * seconds
    assert len(detector.calls) + len(refused) == 60
    assert len(told) == len(refused)


async def test_a_share_below_one_call_a_second_still_lets_one_through() -> None:
    """Many replicas on a small quota."""
    detector = RecordingDetector(EXAMPLE_2)
    limited = RateLimitedDetector(detector, 0.25, wait_seconds=0.05)
    assert await limited.detect(PhotoBytes(b"x"), DetectOptions()) == EXAMPLE_2
    with pytest.raises(LimitReached):
        await limited.detect(PhotoBytes(b"x"), DetectOptions())


async def test_a_turn_is_not_waited_for_longer_than_the_limit_however_long_the_call_has() -> None:
    """Every call of a gate has a deadline."""
    limited = RateLimitedDetector(RecordingDetector(EXAMPLE_2), 0.25, wait_seconds=0.05)
    await call(limited, b"1", 60)
    started = asyncio.get_running_loop().time()
    with pytest.raises(LimitReached):
        await call(limited, b"2", 60)
    assert asyncio.get_running_loop().time() - started < 3


async def test_a_call_with_less_than_a_second_may_wait_too() -> None:
    """A fifth of what it has."""
    inner = FakeDetector()
    inner.delay = 0.1
    limited = ConcurrencyLimitedDetector(inner, 1)
    answers = await asyncio.gather(call(limited, b"1", 0.9), call(limited, b"2", 0.9))
    assert list(answers) == [EXAMPLE_2, EXAMPLE_2]


def lines(detector: Detector) -> list[Detector]:
    """Both kinds of line, in which one call is before all others."""
    return [RateLimitedDetector(detector, 2, wait_seconds=60), ConcurrencyLimitedDetector(detector, 1)]


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_call_leaves_the_line_while_the_vendor_could_still_answer(kind: int) -> None:
    """Sent with the rest of its time it would be paid for nothing, and look like a vendor that hangs."""
    detector = FakeDetector()
    detector.delay = 1.2
    limited = DeadlineDetector(lines(detector)[kind])
    deadline.current.set(deadline.Deadline.after(60))
    first = asyncio.create_task(limited.detect(PhotoBytes(b"1"), DetectOptions()))
    await asyncio.sleep(0)
    deadline.current.set(deadline.Deadline.after(1.0))
    started = asyncio.get_running_loop().time()
    with pytest.raises((LimitReached, Overloaded)):
        await limited.detect(PhotoBytes(b"2"), DetectOptions())
    assert asyncio.get_running_loop().time() - started < 0.8
    await first
    assert detector.begun == 1


async def call(detector: Detector, photo: bytes, seconds: float) -> Detection | PhotoRefused:
    """Call with so much time."""
    deadline.current.set(deadline.Deadline.after(seconds))
    return await detector.detect(PhotoBytes(photo), DetectOptions())


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_patient_caller_that_joins_a_call_in_the_line_gives_it_its_time(kind: int) -> None:
    """The impatient one that had begun it is not to end both."""
    detector = FakeDetector()
    detector.delay = 0.4
    shared = DeadlineDetector(SharingDetector(lines(detector)[kind]))

    first = asyncio.create_task(call(shared, b"1", 60))
    await asyncio.sleep(0)
    impatient = asyncio.create_task(call(shared, b"2", 0.6))
    # It stands in the line now, for 0.12 s if it were alone.
    await asyncio.sleep(0.03)
    assert await call(shared, b"2", 60) == EXAMPLE_2
    assert await first == EXAMPLE_2
    # Where the machine stalls it may have left the line by then.
    with pytest.raises((DeadlineExceeded, LimitReached, Overloaded)):
        await impatient


async def test_a_patient_caller_that_leaves_the_line_takes_its_time_with_it() -> None:
    """What is left of the impatient one's is too little to be paid for; the place is another's."""
    detector = FakeDetector()
    detector.delay = 0.3
    shared = DeadlineDetector(SharingDetector(ConcurrencyLimitedDetector(detector, 1)))

    first = asyncio.create_task(call(shared, b"1", 60))
    await asyncio.sleep(0)
    patient = asyncio.create_task(call(shared, b"2", 60))
    impatient = asyncio.create_task(call(shared, b"2", 0.6))
    await asyncio.sleep(0.05)
    patient.cancel()
    with pytest.raises(Overloaded):
        await impatient
    assert await first == EXAMPLE_2
    assert detector.begun == 1
    assert await call(shared, b"3", 60) == EXAMPLE_2


@pytest.mark.parametrize("calls_per_second", [3, 30, 50])
async def test_in_no_second_more_leave_than_the_quota(calls_per_second: int) -> None:
    """Burst and refill together."""
    limited = RateLimitedDetector(RecordingDetector(EXAMPLE_2), calls_per_second, wait_seconds=2)
    left: list[float] = []

    async def call() -> None:
        await limited.detect(PhotoBytes(b"x"), DetectOptions())
        left.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(call() for _ in range(2 * calls_per_second)), return_exceptions=True)
    assert len(left) >= calls_per_second
    assert max(sum(start <= each < start + 0.99 for each in left) for start in left) <= calls_per_second
