"""A decorator of the port that ends calls whose time is spent.

It stands beneath the observer: a detector that hangs is a deadline to alerts, not a caller that went away.
"""

from __future__ import annotations

from facequality.deadline import Enforced
from facequality.detectors.decorator import DetectorDecorator
from facequality.model import Detection, DetectOptions, Photo, PhotoRefused


class DeadlineDetector(DetectorDecorator):
    """Passes calls on for as long as there is time."""

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Call the inner detector; raises what it raises.

        Raises:
            DeadlineExceeded: the call's time is spent.
        """
        async with Enforced():
            return await self._inner.detect(photo, options)
