"""Head pose: weighted Procrustes of the mesh onto MediaPipe's canonical face.

Pitch > 0 looks down, yaw > 0 turns to the viewer's left, roll > 0 tilts clockwise on screen; degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from facequality.detectors.embedded import weights
from facequality.detectors.embedded.geometry import Floats

PITCH_BIAS = 5.8
"""Median pitch that the fit gives near-frontal portraits, degrees (engine README); subtracted."""
POSE_RANGE = 30.0
"""DetectFace gives pitch and yaw within +-30 degrees."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees, as far as a head turns."""

    pitch: float
    yaw: float
    roll: float

    def attributes(self) -> tuple[float, float]:
        """Return pitch and yaw as DetectFace gives them: whole degrees."""
        pitch, yaw = (max(-POSE_RANGE, min(POSE_RANGE, angle)) for angle in (self.pitch, self.yaw))
        return round(pitch), round(yaw)


class PoseEstimator:
    """Fits head poses."""

    def __init__(self) -> None:
        """Load the canonical face.

        Raises:
            WeightsError: it is not there.
        """
        mesh, basis = _read_geometry(weights.load("face_geometry.binarypb"))
        mesh[:, 1:] *= -1  # image axes: y down, z away from the camera
        self._ids = np.array([index for index, _ in basis])
        weight = np.array([weight for _, weight in basis])
        self._weights = weight / weight.sum()
        model = mesh[self._ids]
        self._model = model - self._weights @ model

    def fit(self, points: Floats) -> Pose:
        """Estimate the pose of a (468, 3) mesh in photo px."""
        face = points[self._ids]
        face = face - self._weights @ face
        u, _, vt = np.linalg.svd((self._model * self._weights[:, None]).T @ face)
        handedness = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
        rotation = (u @ handedness @ vt).T
        pitch = math.degrees(math.atan2(-rotation[1, 2], rotation[2, 2])) - PITCH_BIAS
        yaw = math.degrees(math.asin(float(np.clip(rotation[0, 2], -1, 1))))
        roll = math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))
        return Pose(pitch, yaw, roll)


def canonical_face() -> Floats:
    """Return MediaPipe's canonical face, (468, 3): x to the viewer's right, y up, z to the camera, cm."""
    return _read_geometry(weights.load("face_geometry.binarypb"))[0]


def _read_geometry(content: bytes) -> tuple[Floats, list[tuple[int, float]]]:
    """Decode mediapipe.face_geometry.GeometryPipelineMetadata: the mesh's points, and the landmarks it is fitted by."""
    file = descriptor_pb2.FileDescriptorProto(name="facequality/face_geometry.proto", package="facequality.geometry")
    field = descriptor_pb2.FieldDescriptorProto
    mesh = file.message_type.add(name="Mesh3d")
    mesh.field.add(name="vertex_buffer", number=3, type=field.TYPE_FLOAT, label=field.LABEL_REPEATED)
    reference = file.message_type.add(name="WeightedLandmarkRef")
    reference.field.add(name="landmark_id", number=1, type=field.TYPE_UINT32, label=field.LABEL_OPTIONAL)
    reference.field.add(name="weight", number=2, type=field.TYPE_FLOAT, label=field.LABEL_OPTIONAL)
    metadata = file.message_type.add(name="GeometryPipelineMetadata")
    for name, number, kind, label in (
        ("canonical_mesh", 1, "Mesh3d", field.LABEL_OPTIONAL),
        ("procrustes_landmark_basis", 2, "WeightedLandmarkRef", field.LABEL_REPEATED),
    ):
        type_name = f".facequality.geometry.{kind}"
        metadata.field.add(name=name, number=number, type=field.TYPE_MESSAGE, type_name=type_name, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("facequality.geometry.GeometryPipelineMetadata")
    message: Any = message_factory.GetMessageClass(descriptor).FromString(content)
    # Five numbers a vertex: position x, y, z and texture u, v.
    vertices = np.array(message.canonical_mesh.vertex_buffer, np.float64).reshape(-1, 5)
    return vertices[:, :3], [(row.landmark_id, row.weight) for row in message.procrustes_landmark_basis]
