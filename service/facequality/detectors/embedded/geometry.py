"""Crops of a face: regions of interest, affine maps between photo and crop, masks of landmark polygons.

Photos and crops are (height, width, 3) uint8 arrays in BGR order; points are (n, 2) or (n, 3) arrays in px, x to the
right, y down; affine maps are 2 x 3 arrays from photo px to crop px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
"""A (side, side) array of numbers over a crop."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Roi:
    """A square region of interest: centre and side in px, rotation in radians (clockwise on screen)."""

    x: float
    y: float
    side: float
    angle: float

    def affine(self, size: int) -> Floats:
        """Map photo px to px of an upright crop of ``size`` x ``size``."""
        scale = size / self.side
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        return np.array(
            [
                [cos, sin, size / 2 - cos * self.x - sin * self.y],
                [-sin, cos, size / 2 + sin * self.x - cos * self.y],
            ]
        )


def transform(points: Floats, affine: Floats) -> Floats:
    """Apply an affine map to the x and y of points."""
    moved: Floats = points[:, :2] @ affine[:, :2].T + affine[:, 2]
    return moved


def warp(image: Image, affine: Floats, size: int) -> Image:
    """Cut a crop out of a photo; black outside the photo.

    Only the needed window is touched, so the cost does not depend on the photo's size, and a large face is averaged down
    before it is sampled, so that it does not alias.
    """
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=np.float64)
    window = transform(corners, cv2.invertAffineTransform(affine).astype(np.float64))
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(window.min(0)).astype(int) - 2, 0, [width - 1, height - 1])
    right, bottom = np.clip(np.ceil(window.max(0)).astype(int) + 3, [left + 1, top + 1], [width, height])
    source = image[top:bottom, left:right]
    affine = affine.copy()
    affine[:, 2] += affine[:, :2] @ [left, top]
    scale = 2 * math.hypot(affine[0, 0], affine[0, 1])
    if scale < 1:
        shrunk = (max(1, round(source.shape[1] * scale)), max(1, round(source.shape[0] * scale)))
        ratio = np.array([shrunk[0] / source.shape[1], shrunk[1] / source.shape[0]])
        source = cv2.resize(source, shrunk, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        affine[:, :2] /= ratio
    return cv2.warpAffine(source, affine, (size, size), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def inside_photo(shape: tuple[int, ...], affine: Floats, size: int) -> Mask:
    """Tell which px of a crop lie inside a photo of this (height, width, ...)."""
    inverse = cv2.invertAffineTransform(affine)
    y, x = np.mgrid[:size, :size]
    source_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    source_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    inside: Mask = (source_x >= 0) & (source_y >= 0) & (source_x < shape[1]) & (source_y < shape[0])
    return inside


def polygon(points: Floats, indices: Sequence[int], size: int, *, hull: bool = True, grow: int = 0) -> Mask:
    """Mask a polygon of landmarks (their convex hull unless told otherwise), grown by some px."""
    corners = np.round(points[indices, :2]).astype(np.int32)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(corners) if hull else corners], (1,))
    if grow:
        mask = cv2.dilate(mask, np.ones((2 * grow + 1,) * 2, np.uint8)).astype(np.uint8, copy=False)
    return mask > 0
