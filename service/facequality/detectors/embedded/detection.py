"""Face detection with YuNet (OpenCV Zoo, 2023mar).

YuNet sees faces of about 10 to 300 px in its own input. One pass at 640 px finds the large ones; a finer pass follows only
where small faces matter; a coarse, padded pass follows where nothing was found, for faces that fill the photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import weights
from facequality.detectors.embedded.geometry import Image, Roi, warp

CONFIDENCE = 0.7
"""Lowest detection confidence; engine README, detection."""
COARSE_SIDE, FINE_SIDE, FILLING_SIDE = 640, 1600, 320
"""Long side of the detector's input per pass, px."""
FILLING_PAD = 0.3
"""Border added on each side in the pass for faces that fill the photo, as a share of the side."""
SMALLEST_INPUT_FACE = 12
"""A face of this many px in the detector's input is still found."""
MIN_INPUT_SIDE = 64
"""YuNet reads uninitialised memory on inputs under 32 px; smaller ones are padded."""
CLOSE_SIDE, CLOSE_CONTEXT = 160, 2.0
"""The second look at a face: side of the crop, px, and how much larger than the face's box it is."""
CLOSE_CONFIDENCE, CLEARLY = 0.3, 0.02
"""In it, the lowest confidence, and how much surer one way up must be than the other."""
OVERLAP = 0.35
"""Two boxes sharing more than this much of the smaller one are one face."""

_Rows = npt.NDArray[np.float32]
"""(n, 15): box x, y, width, height; five points x, y (right eye, left eye, nose, mouth corners); confidence."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A detected face, px: its box, the right and left eye, and the confidence (0..1)."""

    x: float
    y: float
    width: float
    height: float
    right_eye: tuple[float, float]
    left_eye: tuple[float, float]
    confidence: float


class FaceFinder:
    """Finds faces. Not thread-safe: one per thread."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            WeightsError: its weights are not there.
        """
        model = np.frombuffer(weights.load("face_detection_yunet_2023mar.onnx"), np.uint8)
        empty = np.zeros(0, np.uint8)
        side = COARSE_SIDE
        self._net = cv2.FaceDetectorYN.create("onnx", model, empty, (side, side), CONFIDENCE, 0.3, 5000)

    def find(self, image: Image, *, min_size: int, all_sizes: bool) -> list[Candidate]:
        """Find faces whose sides are at least ``min_size`` px, largest first.

        ``all_sizes``: look for small faces also where large ones are found.
        """
        long_side = max(image.shape[:2])
        rows = self._pass(image, COARSE_SIDE)
        fine = min(FINE_SIDE, SMALLEST_INPUT_FACE * long_side / min_size)
        if long_side > COARSE_SIDE and fine > COARSE_SIDE * 1.1 and (all_sizes or len(rows) == 0):
            rows = _merge(np.concatenate([rows, self._pass(image, fine)]))
        if len(rows) == 0:
            rows = self._pass(image, FILLING_SIDE, FILLING_PAD)
        rows = rows[(rows[:, 2] >= min_size) & (rows[:, 3] >= min_size)]
        return [_candidate(row) for row in rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]]

    def is_upside_down(self, image: Image, face: Candidate) -> bool:
        """Look at a face again, upright and turned: a network that finds both is surer of the one that is upright.

        Six upright portraits had 0.93 or more against 0.86 or less when turned, at many sizes and with moderate degradations.
        """
        middle = (face.x + face.width / 2, face.y + face.height / 2)
        crop = warp(image, Roi(*middle, CLOSE_CONTEXT * max(face.width, face.height), 0.0).affine(CLOSE_SIDE), CLOSE_SIDE)
        return self._confidence(np.ascontiguousarray(crop[::-1, ::-1])) > self._confidence(crop) + CLEARLY

    def _confidence(self, crop: Image) -> float:
        """Return how sure the network is of the face in the middle of a crop, 0..1."""
        self._net.setInputSize((CLOSE_SIDE, CLOSE_SIDE))
        self._net.setScoreThreshold(CLOSE_CONFIDENCE)
        try:
            found: Any = self._net.detect(crop)[1]
        finally:
            self._net.setScoreThreshold(CONFIDENCE)
        rows: _Rows = np.zeros((0, 15), np.float32) if found is None else np.array(found, np.float32)
        middles = rows[:, :2] + rows[:, 2:4] / 2
        central = (np.abs(middles / CLOSE_SIDE - 0.5) < 0.25).all(axis=1)
        return float(rows[central, 14].max(initial=0.0))

    def _pass(self, image: Image, long_side: float, pad: float = 0.0) -> _Rows:
        height, width = image.shape[:2]
        scale = min(1.0, long_side / (max(height, width) * (1 + 2 * pad)))
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA) if scale < 1 else image
        left, top = int(inner[0] * pad), int(inner[1] * pad)
        right, bottom = (max(p, MIN_INPUT_SIDE - side - p) for p, side in zip((left, top), inner, strict=True))
        padded = cv2.copyMakeBorder(small, top, bottom, left, right, cv2.BORDER_CONSTANT)
        self._net.setInputSize((padded.shape[1], padded.shape[0]))
        found: Any = self._net.detect(padded)[1]  # None if there is no face; the stubs do not say so
        rows: _Rows = np.zeros((0, 15), np.float32) if found is None else np.array(found, np.float32)
        rows[:, 0:14:2] -= left
        rows[:, 1:14:2] -= top
        rows[:, 2:4] += [left, top]  # widths and heights do not move with the origin
        rows[:, :14] /= scale
        sane = np.isfinite(rows).all(1) & (rows[:, 2] < 1.5 * width) & (rows[:, 3] < 1.5 * height)
        kept: _Rows = rows[sane]
        return kept


def _merge(rows: _Rows) -> _Rows:
    """Keep the surest of boxes that overlap or contain each other."""
    kept: list[npt.NDArray[np.float32]] = []
    for row in rows[np.argsort(-rows[:, 14], kind="stable")]:
        if not any(_shared(row, other) > OVERLAP for other in kept):
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, 15)


def _shared(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    smaller = min(a[2] * a[3], b[2] * b[3])
    return float(width * height / smaller) if width > 0 and height > 0 and smaller > 0 else 0.0


def _candidate(row: npt.NDArray[np.float32]) -> Candidate:
    x, y, width, height, rx, ry, lx, ly, *_, confidence = (float(value) for value in row)
    return Candidate(x, y, width, height, (rx, ry), (lx, ly), confidence)
