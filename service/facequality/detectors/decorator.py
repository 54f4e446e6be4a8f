"""What every decorator of the port does in the same way."""

from __future__ import annotations

from facequality.detector import Detector, DetectorInfo


class DetectorDecorator:
    """Passes on what an inner detector is, and its end; subclasses decide about its calls."""

    def __init__(self, inner: Detector) -> None:
        """Wrap a detector."""
        self._inner = inner

    @property
    def info(self) -> DetectorInfo:
        """The inner detector's."""
        return self._inner.info

    async def aclose(self) -> None:
        """Close the inner detector."""
        await self._inner.aclose()
