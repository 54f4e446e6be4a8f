"""The embedded detector, or what is missing for it. A proxy-only installation can import this: it has no OpenCV."""

from __future__ import annotations

import importlib.util

from facequality.detector import Detector
from facequality.errors import StartError


def embedded_detector(workers: int | None = None) -> Detector:
    """Make the embedded detector.

    Raises:
        StartError: an extra or a file that it needs is missing.
    """
    missing = [name for name in ("cv2", "numpy", "threadpoolctl") if importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(f"the embedded detector needs {', '.join(missing)}: install face-quality-gate with its extra [embedded]")
    # Not before: these import OpenCV.
    from facequality.detectors.embedded.detector import EmbeddedDetector  # noqa: PLC0415
    from facequality.detectors.embedded.weights import WeightsError  # noqa: PLC0415

    try:
        return EmbeddedDetector(workers)
    except WeightsError as error:
        raise StartError(str(error)) from error
