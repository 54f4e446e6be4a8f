"""The 468-point face mesh (MediaPipe face_landmark), run twice: once to find the face's frame, once to measure in it.

OpenCV's importer exposes the network's inner activations; four of them feed the visibility head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded import weights
from facequality.detectors.embedded.detection import Candidate
from facequality.detectors.embedded.geometry import Floats, Image, Roi, transform, warp

SIZE = 192
"""Side of the network's input, px."""
MARGIN = 1.5
"""The region of interest is this much larger than the face."""

_POINTS, _PRESENCE = "conv2d_21", "conv2d_31"
_FEATURES = ("p_re_lu_9", "p_re_lu_12", "p_re_lu_15", "p_re_lu_17")


@dataclass(frozen=True, slots=True)
class Mesh:
    """A fitted mesh."""

    roi: Roi
    affine: Floats
    """Photo px to crop px."""
    crop: Image
    """(192, 192, 3)."""
    crop_points: Floats
    """(468, 3), crop px."""
    points: Floats
    """(468, 3), photo px; z on the same scale, smaller is nearer."""
    presence: float
    """How sure the network is that there is a face, 0..1."""
    features: tuple[npt.NDArray[np.float32], ...]
    """Inner activations, each (1, channels, side, side); empty on the first run."""


class FaceMesh:
    """Fits the mesh. Not thread-safe: one per thread."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            WeightsError: its weights are not there.
        """
        self._net = cv2.dnn.readNetFromTFLite(np.frombuffer(weights.load("face_landmark.tflite"), np.uint8))

    def fit(self, image: Image, face: Candidate) -> Mesh:
        """Fit the mesh to a detected face."""
        (rx, ry), (lx, ly) = face.right_eye, face.left_eye
        side = MARGIN * max(face.width, face.height)
        roi = Roi(face.x + face.width / 2, face.y + face.height / 2, side, math.atan2(ly - ry, lx - rx))
        first = self.run(image, roi, with_features=False)
        return self.run(image, frame_of(first.points), with_features=True)

    def run(self, image: Image, roi: Roi, *, with_features: bool) -> Mesh:
        """Run the network once on a region of interest."""
        affine = roi.affine(SIZE)
        crop = warp(image, affine, SIZE)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255.0, swapRB=True))
        names = [_POINTS, _PRESENCE, *(_FEATURES if with_features else ())]
        raw_points, raw_presence, *features = (np.asarray(out) for out in self._net.forward(names))
        crop_points = raw_points.reshape(468, 3).astype(np.float64)
        points = crop_points.copy()
        points[:, :2] = transform(crop_points, cv2.invertAffineTransform(affine).astype(np.float64))
        points[:, 2] *= roi.side / SIZE
        presence = 1 / (1 + math.exp(-float(np.clip(raw_presence.ravel()[0], -50, 50))))
        return Mesh(roi, affine, crop, crop_points, points, presence, tuple(features))


def eye_line_angle(points: Floats) -> float:
    """Angle of the line through the eyes' outer corners, radians."""
    dx, dy = points[lm.LEFT_EYE_OUTER, :2] - points[lm.RIGHT_EYE_OUTER, :2]
    return math.atan2(float(dy), float(dx))


def frame_of(points: Floats) -> Roi:
    """The upright square around a mesh, with margin."""
    angle = eye_line_angle(points)
    cos, sin = math.cos(angle), math.sin(angle)
    upright = points[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    low, high = upright.min(0), upright.max(0)
    x, y = (low + high) / 2
    # A degenerate mesh still gets a region with an area.
    side = max(4.0, MARGIN * float((high - low).max()))
    return Roi(float(x * cos - y * sin), float(x * sin + y * cos), side, angle)
