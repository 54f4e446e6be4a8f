"""The embedded detector behind a gate."""

from __future__ import annotations

from datetime import UTC, datetime

from facequality.detectors.embedded.detector import EmbeddedDetector
from facequality.gate import CheckRequest, CheckResult, Gate
from facequality.model import (
    PhotoBytes,
    Reason,
)
from facequality.policy import built_in
from PIL import Image

from tests import photos

R = Reason


async def check(detector: EmbeddedDetector, photo: bytes | Image.Image, policy: str = "") -> CheckResult:
    served = built_in(datetime(2026, 1, 1, tzinfo=UTC))
    data = photo if isinstance(photo, bytes) else photos.encode(photo)
    return await Gate(lambda: served, detector).check(CheckRequest(PhotoBytes(data), policy))
