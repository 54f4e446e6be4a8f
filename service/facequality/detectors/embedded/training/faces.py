"""The faces that the heads are trained and the engine is measured on: portraits that packages ship, with their meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage

from facequality.detectors.embedded import weights
from facequality.detectors.embedded.detection import FaceFinder
from facequality.detectors.embedded.geometry import Floats, Image, Roi, transform, warp
from facequality.detectors.embedded.mesh import FaceMesh, frame_of

MANIFEST = Path(__file__).parent / "faces.toml"
CACHE = Path(".cache") / "faces"
TEXTURES = Path(skimage.__file__).parent / "data"
MIN_FACE_PX = 60
CROP_CONTEXT = 1.25
"""A training crop is this much larger than the face's own frame."""
CROP_PX = (140, 320)


@dataclass(frozen=True, slots=True)
class TrainingFace:
    """An upright crop of a face and its mesh, (468, 3), in crop px."""

    name: str
    crop: Image
    points: Floats


def photographs() -> dict[str, Image]:
    """Return every photograph by name, fetched if need be, BGR.

    Raises:
        WeightsError: one could not be fetched.
    """
    artifacts = weights.read_manifest(MANIFEST)
    weights.fetch(artifacts, CACHE)
    paths = [CACHE / artifact.name for artifact in artifacts] + [TEXTURES / "astronaut.png"]
    return {path.name: read(path) for path in paths}


def whole_photographs() -> dict[str, Image]:
    """Return the photographs whose frame cuts no face."""
    return {name: image for name, image in photographs().items() if "partial" not in name}


def read(path: Path) -> Image:
    """Decode a photograph that must be there."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return image.astype(np.uint8, copy=False)


def training_faces() -> list[TrainingFace]:
    """Cut every face of every photograph that shows it whole."""
    finder, mesher = FaceFinder(), FaceMesh()
    faces = []
    for name, image in whole_photographs().items():
        for candidate in finder.find(image, min_size=MIN_FACE_PX, all_sizes=True)[:8]:
            mesh = mesher.fit(image, candidate)
            frame = frame_of(mesh.points)
            roi = Roi(frame.x, frame.y, frame.side * CROP_CONTEXT, 0.0)
            size = int(np.clip(roi.side, *CROP_PX))
            affine = roi.affine(size)
            points = mesh.points.copy()
            points[:, :2] = transform(points, affine)
            points[:, 2] *= size / roi.side
            faces.append(TrainingFace(name, warp(image, affine, size), points))
    return faces
