"""The port to whatever answers DetectFace. One method; decorators and fakes are further adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from facequality.model import Detection, DetectOptions, Measure, Photo, PhotoRefused


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """What is to be known of a detector before it is called."""

    name: str
    measures: frozenset[Measure]
    """The measures that it can give."""
    paid: bool
    """Whether each call is billed."""
    cloud_calibrated: bool
    """Whether its scores are on the cloud's own scale."""


class Detector(Protocol):
    """Answers DetectFace."""

    @property
    def info(self) -> DetectorInfo:
        """What it is and can."""
        ...

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Find and assess the faces of one photo.

        Raises:
            InvalidRequest: the photo or an option is one that this detector does not take.
            DetectorError: it could not judge the photo.
            Overloaded: there is no room for the call; nothing was sent.
            DeadlineExceeded: the call's time is spent.
        """
        ...

    async def aclose(self) -> None:
        """Release what it holds. No call may follow."""
        ...
