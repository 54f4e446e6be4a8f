"""The engine: a decoded photo in, assessed faces out. Synchronous and not thread-safe: one engine per thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from facequality.detectors.embedded.appearance import SharpnessHead, brightness, portrait
from facequality.detectors.embedded.composite import score
from facequality.detectors.embedded.detection import Candidate, FaceFinder
from facequality.detectors.embedded.geometry import Image
from facequality.detectors.embedded.mesh import FaceMesh, Mesh
from facequality.detectors.embedded.pose import PoseEstimator
from facequality.detectors.embedded.visibility import VisibilityHead, completeness
from facequality.model import (
    ATTRIBUTE_FACES,
    QUALITY_FACES,
    BoundingBox,
    Completeness,
    Detection,
    DetectOptions,
    Face,
    FaceAttributes,
    FaceQuality,
)

MODEL_VERSION = "embedded-yunet-mesh/2"
"""What the engine calls itself in ``face_model_version``; never the cloud's "3.0"."""

MIN_PRESENCE = 0.3
"""A candidate that the mesh network is surer not to be a face is dropped (0..1)."""

_MASKED = (("mouth", 40), ("chin", 60), ("nose", 75))
"""A mask is worn if all of these parts are less visible than this (0-100)."""


_Found: TypeAlias = tuple[Candidate, Mesh | None]
"""A face and its mesh; None: it is upside down."""


class Engine:
    """Finds and assesses faces."""

    def __init__(self) -> None:
        """Load every network.

        Raises:
            WeightsError: third-party weights are not there.
        """
        self._finder = FaceFinder()
        self._mesh = FaceMesh()
        self._pose = PoseEstimator()
        self._visibility = VisibilityHead()
        self._sharpness = SharpnessHead()

    def analyse(self, image: Image, options: DetectOptions, proceed: Callable[[], None] = lambda: None) -> Detection:
        """Find the largest faces and assess them. ``image`` is (height, width, 3) uint8, BGR.

        ``proceed`` is called before each costly step, and ends the analysis by raising.
        """
        turn, found = self._find(image, options, proceed)
        assessed = []
        for rank, (face, mesh) in enumerate(found):
            proceed()
            assessed.append(self._face(rank, face, mesh, image, turn, options))
        faces = tuple(assessed)
        return Detection(image.shape[1], image.shape[0], faces, MODEL_VERSION)

    def has_face(self, image: Image, options: DetectOptions, proceed: Callable[[], None] = lambda: None) -> bool:
        """Tell whether `analyse` would find a face, without assessing it."""
        return bool(self._find(image, options, proceed)[1])

    def _find(self, image: Image, options: DetectOptions, proceed: Callable[[], None]) -> tuple[int, list[_Found]]:
        """Find the largest faces, and the quarter turns after which they are upright."""
        turns = range(4) if options.need_rotate_detection else range(1)
        return max((self._upright(image, turn, options, proceed) for turn in turns), key=_sureness)

    def _upright(self, image: Image, turn: int, options: DetectOptions, proceed: Callable[[], None]) -> tuple[int, list[_Found]]:
        """Find faces in the photo after ``turn`` quarter turns counter-clockwise."""
        proceed()
        turned = np.ascontiguousarray(np.rot90(image, turn)) if turn else image
        candidates = self._finder.find(turned, min_size=options.min_face_size, all_sizes=options.max_face_num > 1)
        found: list[_Found] = []
        is_any_upright = False
        for face in candidates:
            proceed()
            mesh = self._mesh.fit(turned, face)
            if mesh.presence >= MIN_PRESENCE:
                # The mesh also fits a face that is upside down, wrongly: such a face is counted but not assessed. Once one face
                # is upright, the orientation of smaller ones is not checked.
                is_any_upright = is_any_upright or not self._finder.is_upside_down(turned, face)
                found.append((face, mesh if is_any_upright else None))
            if is_any_upright and len(found) >= options.max_face_num:
                break
        return turn, found[: options.max_face_num] if is_any_upright else []

    def _face(self, rank: int, face: Candidate, mesh: Mesh | None, image: Image, turn: int, options: DetectOptions) -> Face:
        box = _turn_back(face, turn, image.shape)
        if rank >= QUALITY_FACES or mesh is None:
            return Face(box)
        turned = np.ascontiguousarray(np.rot90(image, turn)) if turn else image
        visible = self._visibility.visibility(mesh, turned.shape)
        parts = completeness(visible, mesh)
        crop = portrait(turned, mesh, visible)
        pose = self._pose.fit(mesh.points)
        sharp, bright = self._sharpness.sharpness(crop), brightness(crop)
        total = score(sharpness=sharp, brightness=bright, completeness=parts, pose=pose, face_px=crop.face_px)
        quality = FaceQuality(round(total), round(sharp), round(bright), parts)
        if not options.need_face_attributes or rank >= ATTRIBUTE_FACES:
            return Face(box, quality)
        # Quarter turns are undone in the roll as well: -180..180.
        roll = (pose.roll + 90 * turn + 180) % 360 - 180
        pitch, yaw = pose.attributes()
        attributes = FaceAttributes(pitch=pitch, yaw=yaw, roll=round(roll), mask=_wears_mask(parts))
        return Face(box, quality, attributes)


def _sureness(found: tuple[int, Iterable[_Found]]) -> tuple[int, float]:
    """Prefer a turn in which faces are found, then the surest largest face; on ties the least turned."""
    turn, faces = found
    surest = max((face.confidence * mesh.presence for face, mesh in faces if mesh is not None), default=0.0)
    return (1 if surest > 0 else 0, round(surest, 2) - turn / 1000)


def _turn_back(face: Candidate, turn: int, shape: tuple[int, ...]) -> BoundingBox:
    """Map a box found after ``turn`` quarter turns counter-clockwise back into the photo."""
    height, width = shape[:2]
    x, y, w, h = face.x, face.y, face.width, face.height
    if turn == 1:
        x, y, w, h = width - y - h, x, h, w
    elif turn == 2:
        x, y = width - x - w, height - y - h
    elif turn == 3:
        x, y, w, h = y, height - x - w, h, w
    return BoundingBox(round(x), round(y), round(w), round(h))


def _wears_mask(parts: Completeness) -> bool:
    return all((getattr(parts, part) or 0) < limit for part, limit in _MASKED)
