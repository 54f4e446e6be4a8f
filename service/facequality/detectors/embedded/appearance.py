"""Sharpness and brightness, read in an upright 160-px crop of the face, on visible skin only.

Sharpness is the effective blur relative to the face: a small network on how wide the strongest edges are, and on how much noise
there is, estimates log2 of the blur's sigma in px of a 160-px face. ``training/train_sharpness.py`` trains it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image, Map, Mask, Roi, polygon, transform, warp
from facequality.detectors.embedded.mesh import Mesh, eye_line_angle

SIZE = 160
HEAD = Path(__file__).parent / "heads" / "sharpness.npz"
EDGE_SIGMAS = (0.6, 1.0, 1.6, 2.6)
"""Scales of the gradients, px of the crop: an edge that was blurred by more than a scale is hardly weaker at the next."""
REFERENCE = 2
"""At this scale edges are picked."""
STRONGEST = 93
"""From this percentile on a gradient is an edge."""
WIDTHS = (50, 80)
"""Percentiles over the edges: the usual one and the sharp ones."""
FEATURES = 14
LIGHT_SIGMA, DARKEST = 12.0, 12.0
"""What is larger than this many px is light, not skin; and grey levels added to it, so that noise in the dark is not detail."""
_DIAGONAL = np.float32(0.5**0.5)
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""Blind to edges (J. Immerkaer, Fast noise variance estimation, 1996)."""
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
    crop = warp(image, affine, SIZE)
    seen = np.ones((SIZE, SIZE), np.bool_)
    if visibility is not None:
        mesh_to_photo = np.vstack([cv2.invertAffineTransform(mesh.affine), [0, 0, 1]])
        mapped = cv2.warpAffine(visibility, affine @ mesh_to_photo, (SIZE, SIZE))
        seen = (mapped > VISIBLE) | (crop.min(axis=2) > BURNT_OUT)
    return Portrait(crop, transform(points, affine), side, seen)


class SharpnessHead:
    """Estimates sharpness."""

    def __init__(self) -> None:
        """Load the trained numbers; a missing file is a broken installation and raises OSError."""
        with np.load(HEAD, allow_pickle=False) as arrays:
            self._head = dict(arrays)

    def sharpness(self, face: Portrait) -> float:
        """Estimate sharpness, 0-100."""
        # Never sharper than the photo's own resolution of the face allows.
        floor = math.log2(0.45 * SIZE / face.face_px)
        return float(np.interp(max(float(blur(self._head, details(face))), floor), _BLUR, _SHARPNESS))


def blur(head: Mapping[str, npt.NDArray[np.floating[Any]]], x: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Estimate log2 of sigma, px of a 160-px face, from details, (14,) or (n, 14)."""
    hidden = np.tanh((x - head["mean"]) / head["deviation"] @ head["weights0"] + head["biases0"])
    estimate: npt.NDArray[np.floating[Any]] = hidden @ head["weights1"] + head["bias1"]
    return estimate


def details(face: Portrait) -> npt.NDArray[np.float32]:
    """Return 14 logs of how wide edges are, and of how much noise there is.

    An edge's width is how fast its gradient falls from scale to scale. That is the blur, where the amount of detail would be the
    person's skin. It is read in any direction, and in the one that has least: a camera that moved leaves none along its way.
    Noise is read aside, because it is detail that says nothing about blur.
    """
    grey = cv2.cvtColor(face.crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    outline = polygon(face.points, lm.OVAL, SIZE, hull=False)
    if _eroded(outline, 2).sum() < 50:
        return np.zeros(FEATURES, np.float32)
    weight = _prefer(outline, face.seen, least=0.3).astype(np.float32)
    area = _eroded(weight > 0, 4)
    if area.sum() < 50:
        area = weight > 0
    skin = _evenly_lit(grey, weight)
    scales = [_steps(_smoothed(skin, weight, sigma), area) for sigma in EDGE_SIGMAS]
    *directed, widths = (_widths(steps, area) for steps in zip(*scales, strict=True))
    return np.concatenate([np.min(directed, axis=0), widths, _noise(skin, scales[REFERENCE][-1], area)], dtype=np.float32)


def _evenly_lit(grey: Map, weight: Map) -> Map:
    """Take out the light, which varies slowly over a face: what is left is its skin, in percent of the brightness around."""
    light = _smoothed(grey, weight, LIGHT_SIGMA)
    return (100 * (grey - light) / (light + DARKEST) * weight).astype(np.float32, copy=False)


def _smoothed(grey: Map, weight: Map, sigma: float) -> Map:
    """Blur the face's own px: hair and what is behind it are not mixed in (normalised convolution)."""
    near = cv2.GaussianBlur(weight, (0, 0), sigma)
    return (cv2.GaussianBlur(grey * weight, (0, 0), sigma) / np.maximum(near, 1e-3)).astype(np.float32, copy=False)


def _steps(grey: Map, area: Mask) -> list[Map]:
    """Return maps of the largest gradient within a px in four directions, then in any, percent per px."""
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    diagonals = ((x + y) * _DIAGONAL, (x - y) * _DIAGONAL)
    near = np.ones((3, 3), np.uint8)
    # One by one: a stack of them all is so large that memory would be asked for, and cleared, each time.
    return [np.asarray(cv2.dilate(np.abs(step) * area, near), np.float32) for step in (x, y, *diagonals, cv2.magnitude(x, y))]


def _widths(steps: Sequence[Map], area: Mask) -> npt.NDArray[np.float32]:
    """Tell how gradients fall from scale to scale at the strongest edges: 6 logs."""
    reference = steps[REFERENCE]
    edges = area & (reference >= np.percentile(reference[area], STRONGEST))
    falls = -np.diff(np.log(np.stack([step[edges] for step in steps]) + 0.05), axis=0)
    widths: npt.NDArray[np.float32] = np.percentile(falls, WIDTHS, axis=1).ravel().astype(np.float32)
    return widths


def _noise(grey: Map, steps: Map, area: Mask) -> npt.NDArray[np.float32]:
    """Tell how much noise there is in the smoother half of the face, as such and next to its edges: 2 logs."""
    fine = np.abs(cv2.filter2D(grey, -1, _NOISE))
    noise, edge = np.median(fine[area & (steps <= np.median(steps[area]))]), np.percentile(steps[area], 95)
    return np.log(np.array([noise + 0.1, (noise + 0.02) / (edge + 0.05)], np.float32))


def _eroded(mask: Mask, px: int) -> Mask:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * px + 1,) * 2, np.uint8)) > 0


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
