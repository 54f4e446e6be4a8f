"""The overall score: our own composite, shaped after the vendor's bands. Not the cloud's Score."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np

from facequality.detectors.embedded.pose import Pose
from facequality.model import Completeness

_BRIGHTNESS, _EXPOSURE = (0, 10, 30, 70, 90, 100), (0.05, 0.3, 1, 1, 0.4, 0.1)
_FACE_PX, _RESOLUTION = (20, 60, 120), (0.3, 0.75, 1)


def score(*, sharpness: float, brightness: float, completeness: Completeness, pose: Pose, face_px: float) -> float:
    """Weighted geometric mean, 0-100: one bad term cannot be made good by the others."""
    parts = [value / 100 for value in astuple(completeness)]
    visible = 0.5 * sum(parts) / len(parts) + 0.5 * min(parts)
    yaw, pitch = (math.radians(min(90.0, abs(angle))) for angle in (pose.yaw, pose.pitch))
    frontal = (math.cos(yaw) * math.cos(pitch)) ** 2
    terms = (
        (0.35, max(sharpness / 100, 0.02)),
        (0.15, float(np.interp(brightness, _BRIGHTNESS, _EXPOSURE))),
        (0.30, max(visible, 0.02)),
        (0.12, max(frontal, 0.05)),
        (0.08, float(np.interp(face_px, _FACE_PX, _RESOLUTION))),
    )
    return 100 * math.exp(sum(weight * math.log(term) for weight, term in terms))
