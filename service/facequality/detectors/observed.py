"""A decorator of the port that tells an observer about each call: how long, and with which class of outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from facequality.detector import Detector, DetectorInfo
from facequality.detectors.decorator import DetectorDecorator
from facequality.detectors.outcome import Outcome, outcome_of
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused


@dataclass(frozen=True, slots=True)
class DetectorCall:
    """One finished call of a detector."""

    detector: DetectorInfo
    outcome: Outcome
    seconds: float


class ObservedDetector(DetectorDecorator):
    """Passes calls on and tells the observer how they ended; an answer from the cache was no call."""

    def __init__(
        self,
        inner: Detector,
        observe: Callable[[DetectorCall], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``clock`` gives seconds."""
        super().__init__(inner)
        self._observe = observe
        self._clock = clock

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises."""
        started = self._clock()
        try:
            answer = await self._inner.detect(photo, options)
        except BaseException as error:
            self._tell(outcome_of(error), started)
            raise
        if not answer.cached:
            self._tell(Outcome.PHOTO_REFUSED if isinstance(answer, PhotoRefused) else Outcome.OK, started)
        return answer

    def _tell(self, outcome: Outcome, started: float) -> None:
        self._observe(DetectorCall(self.info, outcome, self._clock() - started))
