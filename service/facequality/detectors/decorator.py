"""What every decorator of the port does in the same way."""

from __future__ import annotations

from facequality.detector import Detector, DetectorInfo


class DetectorDecorator:
    """Passes on what an inner detector is, and its end; subclasses decide about its calls."""

    def __init__(self, inner: Detector) -> None:
        """Wrap a detector."""
        self._inner = inner
        self.info: DetectorInfo = inner.info

    async def aclose(self) -> None:
        """Close the inner detector."""
        await self._inner.aclose()
