"""Sharpness and brightness, read in an upright 160-px crop of the face, on visible skin only.

Sharpness is the effective blur relative to the face: a ridge on how much detail there is per band and direction predicts log2
of the blur's sigma in px of a 160-px face. ``training/train_sharpness.py`` trains it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image, Map, Mask, Roi, polygon, transform, warp
from facequality.detectors.embedded.mesh import Mesh, eye_line_angle

SIZE = 160
HEAD = Path(__file__).parent / "heads" / "sharpness.npz"
BANDS = (0.7, 1.0, 1.5, 2.2, 3.2, 4.5)
"""Sigmas of the difference-of-Gaussians stack, px of the crop."""
FINE = 2.0
"""Bands below this sigma are fine, px."""
CURVATURE_SIGMAS = (0.8, 1.6)
"""Scales of the directional second derivatives, px."""
FEATURES = 21
LIGHT_SIGMA, DARKEST = 12.0, 12.0
"""What is larger than this many px is light, not skin; and grey levels added to it, so that noise in the dark is not detail."""
_CURVATURE = tuple(
    np.array(kernel, np.float32) / length
    for kernel, length in (
        ([[0, 0, 0], [1, -2, 1], [0, 0, 0]], 1),
        ([[0, 1, 0], [0, -2, 0], [0, 1, 0]], 1),
        ([[1, 0, 0], [0, -2, 0], [0, 0, 1]], 2),
        ([[0, 0, 1], [0, -2, 0], [1, 0, 0]], 2),
    )
)
"""Second derivatives along the rows, the columns and both diagonals."""
FACE_MARGIN = 1.15
"""The crop's side is this much larger than the mesh's height or width."""
VISIBLE = 0.6
"""Cells at least this visible count as skin that is seen."""
BURNT_OUT = 245
"""Pixels this bright in every channel count as seen: over-exposure is not cover."""

# Effective blur (log2 of sigma, px of a 160-px face) to 0-100. Own scale, shaped after the vendor's bands: sigma 0.5 px is
# 95, 1 px 72, 2 px 45, 4 px 18.
_BLUR, _SHARPNESS = (-1.5, -1.0, 0.0, 1.0, 2.0, 3.0), (100, 95, 72, 45, 18, 0)

# Luminance of visible skin (0..1) to 0-100. Own scale: well-lit portraits of any skin tone land in the vendor's 30-70.
_LUMINANCE, _BRIGHTNESS = (0, 0.22, 0.40, 0.68, 0.86, 0.95, 1), (0, 18, 32, 50, 66, 80, 100)


@dataclass(frozen=True, slots=True)
class Portrait:
    """The upright crop that appearance is read in."""

    crop: Image
    """(160, 160, 3)."""
    points: Floats
    """(468, 2), crop px."""
    face_px: float
    """Side of the crop in the photo, px."""
    seen: Mask
    """(160, 160): px that are visible or burnt out."""


def portrait(image: Image, mesh: Mesh, visibility: Map | None = None) -> Portrait:
    """Cut the crop; without a visibility map (over the mesh's crop) everything counts as seen."""
    points = mesh.points
    height = np.linalg.norm(points[lm.FOREHEAD_TOP, :2] - points[lm.CHIN_BOTTOM, :2])
    width = np.linalg.norm(points[lm.RIGHT_CHEEK_EDGE, :2] - points[lm.LEFT_CHEEK_EDGE, :2])
    side = max(4.0, FACE_MARGIN * float(max(height, width)))
    x, y = points[list(lm.OVAL), :2].mean(0)
    affine = Roi(float(x), float(y), side, eye_line_angle(points)).affine(SIZE)
    # Mirrored outside the photo: a black edge there would be read as light and as detail.
    crop = warp(image, affine, SIZE, cv2.BORDER_REFLECT_101)
    seen = np.ones((SIZE, SIZE), np.bool_)
    if visibility is not None:
        mesh_to_photo = np.vstack([cv2.invertAffineTransform(mesh.affine), [0, 0, 1]])
        mapped = cv2.warpAffine(visibility, affine @ mesh_to_photo, (SIZE, SIZE))
        seen = (mapped > VISIBLE) | (crop.min(axis=2) > BURNT_OUT)
    return Portrait(crop, transform(points, affine), side, seen)


class SharpnessHead:
    """Estimates sharpness."""

    def __init__(self, path: Path = HEAD) -> None:
        """Load the trained numbers; a missing file is a broken installation and raises OSError."""
        with np.load(path, allow_pickle=False) as arrays:
            self._mean, self._deviation = arrays["mean"], arrays["deviation"]
            self._weights, self._bias = arrays["weights"], float(arrays["bias"])

    def sharpness(self, face: Portrait) -> float:
        """Estimate sharpness, 0-100."""
        z = (details(face) - self._mean) / self._deviation
        # Never sharper than the photo's own resolution of the face allows.
        floor = math.log2(0.45 * SIZE / face.face_px)
        return float(np.interp(max(float(z @ self._weights) + self._bias, floor), _BLUR, _SHARPNESS))


def details(face: Portrait) -> npt.NDArray[np.float32]:
    """Return 21 logs of how much detail there is, relative to the face's own contrast.

    Per band its mean, its 98th percentile and, for fine bands, its 40th: blocks and halos are strong edges beside nothing. Then
    of the whole the edges and the contrast, and for two scales the curvature in the direction that has least of it and in the
    one that has most: a camera that moved leaves none along its way.
    """
    grey = _evenly_lit(cv2.cvtColor(face.crop, cv2.COLOR_BGR2GRAY).astype(np.float32))
    outline = polygon(face.points, lm.OVAL, SIZE, hull=False).astype(np.uint8)
    inner = cv2.erode(outline, np.ones((5, 5), np.uint8)) > 0
    area = _prefer(inner, face.seen, least=0.3)
    if area.sum() < 50:
        return np.zeros(FEATURES, np.float32)
    contrast = float(grey[area].std()) + 1.0
    logs: list[float] = []
    previous = grey
    for sigma in BANDS:
        blurred = cv2.GaussianBlur(grey, (0, 0), sigma).astype(np.float32, copy=False)
        detail = np.abs(previous - blurred)[area]
        previous = blurred
        logs += [_log(float(v) / contrast) for v in (detail.mean(), np.percentile(detail, 98))]
        if sigma < FINE:
            logs.append(math.log(float(np.percentile(detail, 40)) / contrast + 1e-3))
    edges = cv2.Laplacian(cv2.GaussianBlur(grey, (3, 3), 0), cv2.CV_32F, ksize=3)[area]
    logs += [_log(float(edges.std()) / contrast), math.log(contrast)]
    for sigma in CURVATURE_SIGMAS:
        blurred = cv2.GaussianBlur(grey, (0, 0), sigma).astype(np.float32, copy=False)
        curved = sorted(float(np.abs(cv2.filter2D(blurred, -1, kernel)[area]).mean()) for kernel in _CURVATURE)
        logs += [_log(curved[0] / contrast), _log(curved[-1] / contrast)]
    return np.array(logs, np.float32)


def _evenly_lit(grey: Map) -> Map:
    """Take out the light, which varies slowly over a face: what is left is its skin, in percent of the brightness around."""
    light = cv2.GaussianBlur(grey, (0, 0), LIGHT_SIGMA)
    even: Map = 100 * (grey - light) / (light + DARKEST)
    return even


def _log(share: float) -> float:
    return math.log(share + 1e-4)


def brightness(face: Portrait) -> float:
    """Read brightness off visible skin, 0-100."""
    grey = cv2.cvtColor(face.crop, cv2.COLOR_BGR2GRAY)
    skin = np.zeros((SIZE, SIZE), np.bool_)
    for region in lm.SKIN:
        skin |= polygon(face.points, region, SIZE)
    values = grey[_prefer(skin, face.seen, least=0.15)] / 255.0
    if not values.size:
        return 0.0
    # Half the mean, half the highlights: the mean alone reads well-lit dark skin as a dark photo.
    luminance = 0.5 * values.mean() + 0.5 * np.percentile(values, 95)
    return float(np.interp(luminance, _LUMINANCE, _BRIGHTNESS))


def _prefer(area: Mask, seen: Mask, *, least: float) -> Mask:
    """The seen share of an area, unless too little of it is seen to measure in."""
    both: Mask = area & seen
    return both if both.sum() > least * area.sum() else area
