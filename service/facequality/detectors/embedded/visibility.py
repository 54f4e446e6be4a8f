"""Which cells of a face are visible: a small network of our own on the mesh network's inner activations.

The head sees one cell of a 24 x 24 grid (8 px of the 192-px crop) at a time: the activations there, where the cell lies
relative to seven anchors of the face, and its colour relative to the face's. ``training/train_visibility.py`` trains it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image, Map, inside_photo, polygon
from facequality.detectors.embedded.mesh import SIZE, Mesh
from facequality.model import Completeness

GRID = 24
HEAD = Path(__file__).parent / "heads" / "visibility.npz"
GROWN_PARTS = frozenset({"eye", "eyebrow"})
"""Thin parts: their masks are grown by GROW px, or a few cells would decide."""
GROW = 3

Features = npt.NDArray[np.float32]
"""(576, n): one row per cell."""


class VisibilityHead:
    """Estimates the visible share of each cell."""

    def __init__(self) -> None:
        """Load the trained numbers; a missing file is a broken installation and raises OSError."""
        with np.load(HEAD, allow_pickle=False) as arrays:
            self._mean, self._deviation = arrays["mean"], arrays["deviation"]
            self._layers = [(arrays[f"weights{i}"], arrays[f"biases{i}"]) for i in range(3)]

    def visibility(self, mesh: Mesh, photo_shape: tuple[int, ...]) -> Map:
        """Estimate visibility over the mesh's crop, (192, 192), 0..1; what the photo's frame cuts off is 0."""
        x = (cell_features(mesh) - self._mean) / self._deviation
        for weights, biases in self._layers[:-1]:
            x = np.maximum(x @ weights + biases, 0)
        weights, biases = self._layers[-1]
        logits = (x @ weights + biases).reshape(GRID, GRID)
        cells = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        full = cv2.resize(cells.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        cut: Map = (full * inside_photo(photo_shape, mesh.affine, SIZE)).astype(np.float32)
        return cut


def completeness(visibility: Map, mesh: Mesh) -> Completeness:
    """Average visibility over each part; parts with two sides average the sides. 0-100."""
    shares = {}
    for part, sides in lm.PARTS.items():
        grow = GROW if part in GROWN_PARTS else 0
        masks = [polygon(mesh.crop_points, side, SIZE, grow=grow) for side in sides]
        shares[part] = float(np.mean([visibility[mask].mean() if mask.any() else 1.0 for mask in masks]))
    return Completeness(**{part: round(100 * share) for part, share in shares.items()})


def cell_features(mesh: Mesh) -> Features:
    """Describe every cell of the grid."""
    first, *deeper = mesh.features
    resized = [first[0], *(_to_grid(feature[0]) for feature in deeper)]
    activations = np.concatenate(resized).reshape(-1, GRID * GRID).T
    rows = [activations, _position(mesh.crop_points), _colour(mesh.crop, mesh.crop_points)]
    return np.concatenate(rows, axis=1, dtype=np.float32)


def _to_grid(feature: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    channels = cv2.resize(feature.transpose(1, 2, 0), (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.asarray(channels, np.float32).transpose(2, 0, 1))


def _position(points: Floats) -> Features:
    """Offsets to seven anchors in units of 64 px, and how near each is."""
    centre = (np.arange(GRID) + 0.5) * SIZE / GRID
    y, x = np.meshgrid(centre, centre, indexing="ij")
    cells = np.stack([x.ravel(), y.ravel()], axis=1)
    anchors = np.stack(
        [
            points[[lm.RIGHT_EYE_OUTER, lm.RIGHT_EYE_INNER], :2].mean(0),
            points[[lm.LEFT_EYE_OUTER, lm.LEFT_EYE_INNER], :2].mean(0),
            points[lm.NOSE_TIP, :2],
            points[[lm.MOUTH_UPPER, lm.MOUTH_LOWER], :2].mean(0),
            points[lm.CHIN_BOTTOM, :2],
            points[lm.RIGHT_BROW_PEAK, :2],
            points[lm.LEFT_BROW_PEAK, :2],
        ]
    )
    offsets = (cells[:, None] - anchors[None]) / 64
    nearness = np.exp(-4 * (offsets**2).sum(2))
    return np.concatenate([offsets.reshape(len(cells), -1), nearness], axis=1, dtype=np.float32)


def _colour(crop: Image, points: Floats) -> Features:
    """CIELAB mean per cell, its offset from the face's median, and its spread."""
    lab = cv2.cvtColor(crop, cv2.COLOR_BGR2LAB).astype(np.float32)
    face = polygon(points, lm.OVAL, SIZE, hull=False)
    median = np.median(lab[face], axis=0) if face.sum() > 50 else np.full(3, 128.0)
    mean = cv2.resize(lab, (GRID, GRID), interpolation=cv2.INTER_AREA)
    square = cv2.resize(lab**2, (GRID, GRID), interpolation=cv2.INTER_AREA)
    spread = np.sqrt(np.maximum(square - mean * mean, 0))
    rows = np.concatenate([(mean - 128) / 32, (mean - median) / 32, spread / 16], axis=2)
    return rows.reshape(GRID * GRID, -1).astype(np.float32)
