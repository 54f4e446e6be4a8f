"""Values that flow through the gate: frozen, slotted, and free of gRPC, HTTP, clocks and files.

Units throughout: pixels for boxes and image sides, bytes for photo sizes, degrees for poses, 0-100 for quality numbers.
``None`` means that the detector did not give the value; it is never a number in disguise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_FACE_NUM = 120
"""Most faces that a detector is asked for."""
MIN_FACE_SIZES = (20, 34)
"""Smallest faces that a detector is asked for, px."""
FACE_MODEL_VERSIONS = ("2.0", "3.0")
QUALITY_FACES = 30
"""DetectFace gives quality for the 30 largest faces only."""

ATTRIBUTE_FACES = 5
"""DetectFace gives attributes for the 5 largest faces only."""


class Verdict(StrEnum):
    """The gate's decision about one photo, or one face, under one policy."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class Reason(StrEnum):
    """Why a photo was rejected. The order of declaration is the order of significance."""

    NO_FACE = "NO_FACE"
    IMAGE_UNDECODABLE = "IMAGE_UNDECODABLE"
    IMAGE_FORMAT_UNSUPPORTED = "IMAGE_FORMAT_UNSUPPORTED"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    IMAGE_RESOLUTION_TOO_HIGH = "IMAGE_RESOLUTION_TOO_HIGH"
    IMAGE_RESOLUTION_TOO_LOW = "IMAGE_RESOLUTION_TOO_LOW"
    MULTIPLE_FACES = "MULTIPLE_FACES"
    FACE_TOO_SMALL = "FACE_TOO_SMALL"
    MASK_WORN = "MASK_WORN"
    EYE_OCCLUDED = "EYE_OCCLUDED"
    NOSE_OCCLUDED = "NOSE_OCCLUDED"
    MOUTH_OCCLUDED = "MOUTH_OCCLUDED"
    CHEEK_OCCLUDED = "CHEEK_OCCLUDED"
    CHIN_OCCLUDED = "CHIN_OCCLUDED"
    EYEBROW_OCCLUDED = "EYEBROW_OCCLUDED"
    EYES_CLOSED = "EYES_CLOSED"
    GLASSES_WORN = "GLASSES_WORN"
    HAT_WORN = "HAT_WORN"
    POSE_PITCH = "POSE_PITCH"
    POSE_YAW = "POSE_YAW"
    POSE_ROLL = "POSE_ROLL"
    TOO_DARK = "TOO_DARK"
    TOO_BRIGHT = "TOO_BRIGHT"
    TOO_BLURRY = "TOO_BLURRY"
    LOW_SCORE = "LOW_SCORE"
    MEASUREMENT_MISSING = "MEASUREMENT_MISSING"


_SIGNIFICANCE = {reason: rank for rank, reason in enumerate(Reason)}


def by_significance(reasons: set[Reason]) -> tuple[Reason, ...]:
    """Order reasons, most significant first."""
    return tuple(sorted(reasons, key=_SIGNIFICANCE.__getitem__))


class Measure(StrEnum):
    """One number or flag that can be held against a bound. The values are the names that policy files use."""

    IMAGE_DECODABLE = "image_decodable"
    IMAGE_FORMAT = "image_format"
    IMAGE_BYTES = "image_bytes"
    IMAGE_LONG_SIDE = "image_long_side"
    IMAGE_SHORT_SIDE = "image_short_side"
    FACE_COUNT = "face_count"
    SECOND_FACE_AREA_PERCENT = "second_face_area_percent"
    FACE_SIZE = "face_size"
    FACE_AREA_PERCENT = "face_area_percent"
    SCORE = "score"
    SHARPNESS = "sharpness"
    BRIGHTNESS = "brightness"
    COMPLETENESS_EYEBROW = "completeness.eyebrow"
    COMPLETENESS_EYE = "completeness.eye"
    COMPLETENESS_NOSE = "completeness.nose"
    COMPLETENESS_CHEEK = "completeness.cheek"
    COMPLETENESS_MOUTH = "completeness.mouth"
    COMPLETENESS_CHIN = "completeness.chin"
    PITCH = "pitch"
    YAW = "yaw"
    ROLL = "roll"
    MASK = "mask"
    EYES_OPEN = "eyes_open"
    GLASSES = "glasses"
    HAT = "hat"


class FindingStatus(StrEnum):
    """How a measure stands to its bounds."""

    PASS = "PASS"  # noqa: S105 - a status
    FAIL = "FAIL"
    UNDETERMINED = "UNDETERMINED"


@dataclass(frozen=True, slots=True)
class Completeness:
    """Visible share of each part of a face, 0-100; higher is less occluded."""

    eyebrow: float | None = None
    eye: float | None = None
    nose: float | None = None
    cheek: float | None = None
    mouth: float | None = None
    chin: float | None = None


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Quality of one face; every number 0-100."""

    score: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    completeness: Completeness = field(default_factory=Completeness)


@dataclass(frozen=True, slots=True)
class Hair:
    """Length 0 bald, 1 short, 2 medium, 3 long, 4 tied; bang 0 yes, 1 no; color 0 black, 1 gold, 2 brown, 3 grey."""

    length: int | None = None
    bang: int | None = None
    color: int | None = None


@dataclass(frozen=True, slots=True)
class FaceAttributes:
    """Attributes of one face: gender 0 (female) - 100 (male), age in years, expression and beauty 0-100, pose in degrees."""

    gender: int | None = None
    age: int | None = None
    expression: int | None = None
    glass: bool | None = None
    pitch: float | None = None
    yaw: float | None = None
    roll: float | None = None
    beauty: int | None = None
    hat: bool | None = None
    mask: bool | None = None
    eye_open: bool | None = None
    hair: Hair | None = None


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """A face's box in px; it may leave the image, so x and y may be negative."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Width x height, square px; 0 for a box without extent."""
        return max(self.width, 0) * max(self.height, 0)

    @property
    def size(self) -> int:
        """The shorter side, px: what the gate calls the face's size."""
        return min(self.width, self.height)


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a photo."""

    box: BoundingBox
    quality: FaceQuality | None = None
    attributes: FaceAttributes | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """The detector's whole answer, in its own order of faces."""

    image_width: int
    image_height: int
    faces: tuple[Face, ...]
    face_model_version: str
    request_id: str = ""
    cached: bool = False
    """Whether it was given before, for the same photo."""


@dataclass(frozen=True, slots=True)
class PhotoRefused:
    """The detector's other answer: it refused the photo itself. A verdict, not an error."""

    reason: Reason
    upstream_code: str = ""
    request_id: str = ""
    cached: bool = False
    """Whether it was given before, for the same photo."""
    findings: tuple[Finding, ...] = ()
    """What was measured of the photo, if anything was."""


@dataclass(frozen=True, slots=True)
class PhotoBytes:
    """A photo as its encoded bytes, or a view of them where they lie in a larger message; they must not change."""

    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class PhotoUri:
    """A photo as an address. Its query may hold a token: it is kept out of reprs."""

    uri: str = field(repr=False)


Photo = PhotoBytes | PhotoUri


def by_area(boxes: Sequence[BoundingBox]) -> list[int]:
    """Return the boxes' indices, the largest first; of equal ones the one that comes first."""
    return sorted(range(len(boxes)), key=lambda index: -boxes[index].area)


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """DetectFace's options; a face_model_version of None is the configured one.

    max_face_num is 1 to MAX_FACE_NUM, min_face_size one of MIN_FACE_SIZES, face_model_version one of FACE_MODEL_VERSIONS.
    """

    max_face_num: int = 1
    min_face_size: int = 34
    face_model_version: str | None = None
    need_rotate_detection: bool = False
    need_face_attributes: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure held against its bounds, all in the measure's unit."""

    measure: Measure
    observed: float | None
    minimum: float | None
    maximum: float | None
    status: FindingStatus
    blocking: bool = True
    reason: Reason | None = None

    @property
    def margin(self) -> float | None:
        """min(observed - minimum, maximum - observed): negative is how far it misses, 0 just passes."""
        if self.observed is None:
            return None
        if self.minimum is None:
            return None if self.maximum is None else self.maximum - self.observed
        above = self.observed - self.minimum
        return above if self.maximum is None else min(above, self.maximum - self.observed)

    @property
    def rejects(self) -> bool:
        """Whether this finding alone rejects the photo."""
        return self.blocking and self.status is not FindingStatus.PASS


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings and what follows from them."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: tuple[Finding, ...]) -> Judgement:
        """Reject if any blocking finding does not pass; every such finding's reason once, most significant first."""
        rejecting = [finding for finding in findings if finding.rejects]
        reasons = by_significance({finding.reason for finding in rejecting if finding.reason is not None})
        return cls(Verdict.REJECTED if rejecting else Verdict.ACCEPTED, reasons, findings)
