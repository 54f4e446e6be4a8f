"""Detectors for tests: they answer what they are told to."""

from __future__ import annotations

import asyncio

from facequality.detector import DetectorInfo
from facequality.model import Detection, DetectOptions, Measure, Photo, PhotoRefused

from tests.detections import EXAMPLE_2


class RecordingDetector:
    """Answers one thing and remembers what it was asked."""

    info = DetectorInfo("recording", frozenset(Measure), paid=True, cloud_calibrated=True)

    def __init__(self, answer: Detection | PhotoRefused | Exception) -> None:
        self.answer = answer
        self.calls: list[tuple[Photo, DetectOptions]] = []
        self.is_closed = False

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        self.calls.append((photo, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        self.is_closed = True


class FakeDetector:
    """Answers, raises or waits as told."""

    info = DetectorInfo("fake", frozenset(Measure), paid=True, cloud_calibrated=True)

    def __init__(self) -> None:
        self.answer: Detection | PhotoRefused | BaseException = EXAMPLE_2
        self.delay = 0.0
        self.begun = 0
        self.cancelled = 0

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        self.begun += 1
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        pass
