"""The quota of calls per second."""

from __future__ import annotations

import asyncio

import pytest
from facequality import deadline
from facequality.detectors import rate
from facequality.detectors.deadline import DeadlineDetector
from facequality.detectors.rate import RateLimitedDetector
from facequality.errors import ErrorReason, LimitReached
from facequality.model import DetectOptions, PhotoBytes

from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector


async def test_calls_are_spread_and_what_waits_too_long_is_refused() -> None:
    """A few at once, the others in turn; all are answered or refused."""
    detector = RecordingDetector(EXAMPLE_2)
    limited = RateLimitedDetector(detector, 50, wait_seconds=0.5)
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


async def test_a_share_below_one_call_a_second_still_lets_one_through() -> None:
    """Many replicas on a small quota."""
    detector = RecordingDetector(EXAMPLE_2)
    limited = RateLimitedDetector(detector, 0.25, wait_seconds=0.05)
    assert await limited.detect(PhotoBytes(b"x"), DetectOptions()) == EXAMPLE_2
    with pytest.raises(LimitReached):
        await limited.detect(PhotoBytes(b"x"), DetectOptions())


async def test_a_call_whose_time_ends_in_the_line_is_throttled_and_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline there would look like a vendor that hangs, and open the breaker."""
    # A machine that stalls for longer would have both ends at once.
    monkeypatch.setattr(rate, "MARGIN", 0.5)
    limited = DeadlineDetector(RateLimitedDetector(RecordingDetector(EXAMPLE_2), 0.5))
    deadline.current.set(deadline.Deadline.after(0.7))
    assert await limited.detect(PhotoBytes(b"x"), DetectOptions()) == EXAMPLE_2
    with pytest.raises(LimitReached):
        await limited.detect(PhotoBytes(b"x"), DetectOptions())


@pytest.mark.parametrize("calls_per_second", [3, 50])
async def test_in_no_second_more_leave_than_the_quota(calls_per_second: int) -> None:
    """Burst and refill together."""
    limited = RateLimitedDetector(RecordingDetector(EXAMPLE_2), calls_per_second, wait_seconds=2)
    left: list[float] = []

    async def call() -> None:
        await limited.detect(PhotoBytes(b"x"), DetectOptions())
        left.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(call() for _ in range(2 * calls_per_second)), return_exceptions=True)
    assert max(sum(start <= each < start + 0.99 for each in left) for start in left) <= calls_per_second
