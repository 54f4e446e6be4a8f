"""Many distinct calls, and what a gate says of them."""

from __future__ import annotations

import gc
from typing import Any

from facequality.app import App
from facequality.reclaim import resident_bytes
from facequality.settings import Settings
from facequality.v1 import face_quality_service_pb2 as pb

from tests import photos
from tests.detectors import FakeDetector

HANDLED = "grpc_server_handled_total"
CHECK = {"grpc_type": "unary", "grpc_service": "facequality.v1.FaceQualityService", "grpc_method": "CheckFaceQuality"}
PHOTO = photos.encode(photos.cat().resize((128, 128)), "JPEG")


MEGABYTE = 1_000_000


def distinct(number: int, size: int = 0) -> pb.CheckFaceQualityRequest:
    """A photo like no other; bytes behind a JPEG's end are nobody's business."""
    return pb.CheckFaceQualityRequest(image=PHOTO + number.to_bytes(8, "big") + bytes(size), policy="loose")


def local(**more: Any) -> tuple[App, FakeDetector]:
    detector = FakeDetector()
    settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", **more)
    return App(settings, detector), detector


def sample(app: App, name: str, **labels: str) -> float:
    return app.metrics.registry.get_sample_value(name, labels) or 0


def photos_held() -> int:
    """Count the gate's views of photos of a megabyte, also those that only wait for the garbage collector."""
    return sum(isinstance(found, memoryview) and found.nbytes >= MEGABYTE for found in gc.get_objects())


def resident() -> int:
    gc.collect()
    return resident_bytes()
