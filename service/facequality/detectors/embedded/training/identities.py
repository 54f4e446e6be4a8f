"""Faces between two faces: the few portraits that packages ship, morphed into many identities."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image, polygon, transform
from facequality.detectors.embedded.training.faces import TrainingFace

_GRID = 32


def between(one: TrainingFace, other: TrainingFace, share: float) -> TrainingFace:
    """Morph shape and skin by ``share`` (0 is one, 1 is the other) within the face; the rest of the photo is one's."""
    size = one.crop.shape[0]
    here, there = (np.ascontiguousarray(face.points[:, :2]) for face in (one, other))
    similarity = cv2.estimateAffinePartial2D(there, here, method=cv2.LMEDS)[0]
    aligned = cv2.warpAffine(other.crop, similarity, (size, size), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)
    other_points = transform(other.points, similarity.astype(np.float64))
    target = (1 - share) * one.points[:, :2] + share * other_points
    first, second = _bend(one.crop, one.points[:, :2], target), _bend(aligned, other_points, target)
    face = polygon(target, lm.OVAL, size, hull=False).astype(np.float64)
    weight = share * cv2.GaussianBlur(face, (0, 0), size * 0.03)[..., None]
    mixed = np.clip(first * (1 - weight) + second * weight, 0, 255).astype(np.uint8)
    points = one.points.copy()
    points[:, :2] = target
    return TrainingFace(f"{one.name}+{other.name}", mixed, points)


def _bend(image: Image, source: Floats, target: Floats) -> Image:
    """Move landmarks from ``source`` to ``target``; the crop's border stays."""
    size = image.shape[0]
    edge = np.linspace(0, size - 1, 5)
    border = np.array([(x, y) for x in edge for y in edge if {x, y} & {0.0, size - 1.0}])
    shift = np.concatenate([source - target, np.zeros_like(border)])
    field = LinearNDInterpolator(np.concatenate([target, border]), shift, fill_value=0.0)
    axis = np.linspace(0, size - 1, _GRID)
    coarse = field(*np.meshgrid(axis, axis)).astype(np.float32)
    dense = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    bent = cv2.remap(image, xx + dense[..., 0], yy + dense[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return bent.astype(np.uint8, copy=False)
