"""Identical photos ask once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from cachetools import TTLCache
from facequality import deadline
from facequality.deadline import Deadline
from facequality.detector import DetectorInfo
from facequality.detectors.deadline import DeadlineDetector
from facequality.detectors.sharing import (
    Answer,
    Fingerprint,
    Key,
    Saved,
    SharingDetector,
    _Content,
    content,
    digest,
)
from facequality.errors import DeadlineExceeded, ErrorReason, UpstreamFault
from facequality.model import Detection, DetectOptions, Measure, Photo, PhotoBytes, PhotoRefused, PhotoUri, Reason
from hypothesis import example, given
from hypothesis import strategies as st

from tests.detections import EXAMPLE_2

PHOTO, OTHER = PhotoBytes(b"one photo"), PhotoBytes(b"another")
OPTIONS = DetectOptions()


class Slow:
    """Answers when it is let."""

    info = DetectorInfo("slow", frozenset(Measure), paid=True, cloud_calibrated=True)

    def __init__(self) -> None:
        self.answer: Answer | Exception = EXAMPLE_2
        self.go = asyncio.Event()
        self.begun = 0
        self.cancelled = 0
        self.deadlines: list[Deadline | None] = []

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        self.begun += 1
        self.deadlines.append(deadline.current.get())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        pass


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    detector = Slow()
    yield detector
    detector.go.set()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("fingerprint", [content, digest])
async def test_identical_calls_at_the_same_time_share_one(slow: Slow, fingerprint: Fingerprint) -> None:
    """By bytes and options; other bytes, other options and URIs do not."""
    saved: list[Saved] = []
    sharing = SharingDetector(slow, fingerprint, on_saved=saved.append)
    photos: list[tuple[Photo, DetectOptions]] = [
        (PHOTO, OPTIONS),
        (PhotoBytes(bytes(bytearray(PHOTO.data))), OPTIONS),
        (OTHER, OPTIONS),
        (PHOTO, replace(OPTIONS, max_face_num=2)),
        (PhotoUri("https://photos.example/1"), OPTIONS),
        (PhotoUri("https://photos.example/1"), OPTIONS),
    ]
    calls = [asyncio.create_task(sharing.detect(*each)) for each in photos]
    await settle()
    assert slow.begun == 5
    slow.go.set()
    assert await asyncio.gather(*calls) == [EXAMPLE_2] * 6
    assert saved == [Saved.SHARED]
    await sharing.detect(PHOTO, OPTIONS)
    assert slow.begun == 6


async def test_a_cancelled_leader_cancels_nobody(slow: Slow) -> None:
    """The call goes on for whoever is left."""
    sharing = SharingDetector(slow)
    leader, follower = (asyncio.create_task(sharing.detect(PHOTO, OPTIONS)) for _ in range(2))
    await settle()
    leader.cancel()
    await settle()
    assert leader.cancelled()
    slow.go.set()
    assert await follower == EXAMPLE_2
    assert (slow.begun, slow.cancelled) == (1, 0)


async def test_when_the_last_caller_goes_the_call_ends(slow: Slow) -> None:
    """And whoever comes then begins a new one."""
    sharing = SharingDetector(slow)
    calls = [asyncio.create_task(sharing.detect(PHOTO, OPTIONS)) for _ in range(3)]
    await settle()
    for call in calls:
        call.cancel()
    late = asyncio.create_task(sharing.detect(PHOTO, OPTIONS))
    await settle()
    assert (slow.begun, slow.cancelled) == (2, 1)
    slow.go.set()
    assert await late == EXAMPLE_2
    await sharing.detect(PHOTO, OPTIONS)
    assert slow.begun == 3


async def test_a_shared_call_lasts_as_long_as_its_most_patient_caller(slow: Slow) -> None:
    """The impatient one gets its deadline, the other its answer."""
    sharing = DeadlineDetector(SharingDetector(slow))

    async def call(seconds: float) -> Answer:
        deadline.current.set(Deadline.after(seconds))
        return await sharing.detect(PHOTO, OPTIONS)

    impatient = asyncio.create_task(call(0.05))
    await settle()
    patient = asyncio.create_task(call(30))
    with pytest.raises(DeadlineExceeded):
        await impatient
    assert slow.deadlines[0] is not None
    assert slow.deadlines[0].budget == 30
    slow.go.set()
    assert await patient == EXAMPLE_2
    assert slow.begun == 1


@pytest.mark.parametrize("answer", [EXAMPLE_2, PhotoRefused(Reason.NO_FACE, "code", "id")])
async def test_an_answer_is_kept_for_a_while_and_says_so(slow: Slow, answer: Answer) -> None:
    """Under its options; no photo is kept."""
    slow.answer = answer
    slow.go.set()
    now, saved = [0.0], list[Saved]()
    cache: TTLCache[Key, Answer] = TTLCache(10, 60, timer=lambda: now[0])
    sharing = SharingDetector(slow, cache=cache, on_saved=saved.append)
    assert await sharing.detect(PHOTO, OPTIONS) == answer
    assert await sharing.detect(PHOTO, OPTIONS) == replace(answer, cached=True)
    assert await sharing.detect(PHOTO, replace(OPTIONS, max_face_num=2)) == answer
    assert (slow.begun, saved) == (2, [Saved.CACHED])
    now[0] = 61
    assert await sharing.detect(PHOTO, OPTIONS) == answer


@pytest.mark.parametrize("fingerprint", [None, digest])
async def test_a_cache_keeps_no_photo(slow: Slow, fingerprint: Fingerprint | None) -> None:
    """Its keys are digests, whatever the detector has no fingerprint of its own for."""
    slow.go.set()
    cache: dict[Key, Answer] = {}
    await SharingDetector(slow, fingerprint, cache=cache).detect(PhotoBytes(LARGE), OPTIONS)
    ((fingerprinted, _),) = cache
    assert isinstance(fingerprinted, str)
    assert len(fingerprinted) == 64


async def test_a_call_without_time_is_not_begun(slow: Slow) -> None:
    """A timer alone would let a whole request leave, and be paid, before it fires."""
    for seconds in (-0.01, 0.0):
        deadline.current.set(Deadline.after(seconds))
        with pytest.raises(DeadlineExceeded):
            await DeadlineDetector(slow).detect(PHOTO, OPTIONS)
    assert slow.begun == 0


async def test_answers_of_a_callers_own_size_are_not_kept(slow: Slow) -> None:
    """A group photo's answer is fifty times as large: it would take the cache's room for a memory that nobody set aside."""
    slow.go.set()
    cache: dict[Key, Answer] = {}
    for count, kept in ((5, 1), (6, 1)):
        slow.answer = replace(EXAMPLE_2, faces=EXAMPLE_2.faces * count)
        await SharingDetector(slow, cache=cache).detect(PhotoBytes(b"photo %d" % count), OPTIONS)
        assert len(cache) == kept


async def test_faults_and_uris_are_not_kept(slow: Slow) -> None:
    """Everyone who shares a fault gets it; the next one asks anew."""
    slow.answer = UpstreamFault(ErrorReason.UPSTREAM_INTERNAL, "no")
    cache: dict[Key, Answer] = {}
    sharing = SharingDetector(slow, cache=cache)
    calls = [asyncio.create_task(sharing.detect(PHOTO, OPTIONS)) for _ in range(2)]
    await settle()
    slow.go.set()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, UpstreamFault)
    slow.answer = EXAMPLE_2
    await sharing.detect(PhotoUri("https://photos.example/1"), OPTIONS)
    assert cache == {}
    assert await sharing.detect(PHOTO, OPTIONS) == EXAMPLE_2
    assert slow.begun == 3


async def test_the_digest_is_blake3s() -> None:
    """The algorithm's own published test vector: its digest of nothing."""
    photo = PhotoBytes(b"")
    assert await digest(photo, OPTIONS) == ("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", photo)


LARGE = bytes(range(256)) * 64


@given(st.integers(0, len(LARGE) - 1))
@example(0)
@example(len(LARGE) - 65)
@example(len(LARGE) - 64)
@example(len(LARGE) - 1)
def test_no_two_photos_are_taken_for_one(index: int) -> None:
    """A single byte tells them apart, wherever it is; where they lie does not."""
    other = bytearray(LARGE)
    other[index] ^= 1
    one, same = _Content(LARGE), _Content(memoryview(b"message" + LARGE)[7:])
    assert one == same
    assert hash(one) == hash(same)
    assert one != _Content(bytes(other))
    assert one != _Content(LARGE[:index])


@pytest.mark.parametrize(("differ_at", "hashed"), [(-1, 0), (-100, 20)], ids=["ends", "middles"])
async def test_a_photo_is_hashed_only_among_its_like_and_once(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, differ_at: int, hashed: int
) -> None:
    """Photos that differ in their middles alone, as a hostile caller's may, cost no more than a digest each."""
    digests: list[int] = []

    def counting(data: bytes) -> Any:
        digests.append(len(data))
        return blake3(data)

    monkeypatch.setattr("facequality.detectors.sharing.blake3", counting)
    sharing = SharingDetector(slow)
    photos = [bytearray(LARGE) for _ in range(20)]
    for number, photo in enumerate(photos):
        photo[differ_at] = number
    calls = [asyncio.create_task(sharing.detect(PhotoBytes(bytes(photo)), OPTIONS)) for photo in photos]
    await settle()
    assert slow.begun == 20
    slow.go.set()
    await asyncio.gather(*calls)
    assert len(digests) == hashed
    assert not sharing._calls


async def test_when_the_patient_caller_goes_the_shared_call_is_no_longer_patient(slow: Slow) -> None:
    """Retries and the breaker go by those who are left."""
    sharing = SharingDetector(slow)

    async def call(seconds: float) -> Answer:
        deadline.current.set(Deadline.after(seconds))
        return await sharing.detect(PHOTO, OPTIONS)

    patient, other = asyncio.create_task(call(30)), asyncio.create_task(call(3))
    await settle()
    assert slow.deadlines[0] is not None
    assert slow.deadlines[0].budget == 30
    patient.cancel()
    await settle()
    assert slow.deadlines[0].budget == 3
    slow.go.set()
    assert await other == EXAMPLE_2
