"""Every measure as one row of a table: where it is read, which reason each side gives, and its unit and range.

Code elsewhere only reads the table. A side without a reason cannot be bounded: asking for a largest score or a smallest
number of masks means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType

from facequality.model import (
    BoundingBox,
    Detection,
    Face,
    Finding,
    FindingStatus,
    Measure,
    Reason,
)

FaceReader = Callable[[Face, Detection], float | None]


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """One row of the table."""

    low_reason: Reason | None
    """Why a value below a bound's minimum is refused; None: no minimum can be set."""
    high_reason: Reason | None
    """Why a value above a bound's maximum is refused; None: no maximum can be set."""
    range_min: float
    range_max: float
    """The range of bounds and, unless ``may_exceed_range``, of values."""
    unit: str
    read: FaceReader | None = None
    """Reads it from a judged face; None for measures of the photo, which policies do not bound."""
    needs_attributes: bool = False
    is_flag: bool = False
    detector_range: tuple[float, float] | None = None
    """What detectors return, if it is narrower than the range: the cloud clamps pose, and so does the embedded engine."""
    may_exceed_range: bool = False
    """Whether a value may be above ``range_max``: a face's box can be larger than the photo, a bound cannot."""

    def takes(self, value: float) -> bool:
        """Whether it can be a value of this measure at all: no NaN, no infinity, within the range."""
        return self.range_min <= value < math.inf and (self.may_exceed_range or value <= self.range_max)


def _quality(name: str) -> FaceReader:
    get = attrgetter(name)
    return lambda face, _: None if face.quality is None else get(face.quality)


def _attribute(name: str) -> FaceReader:
    get = attrgetter(name)
    return lambda face, _: None if face.attributes is None else get(face.attributes)


def _box(get: Callable[[BoundingBox, Detection], float | None]) -> FaceReader:
    return lambda face, detection: get(face.box, detection)


def _area_percent(box: BoundingBox, detection: Detection) -> float | None:
    """A box may leave the photo, which cannot be filled by more than all of it."""
    image = detection.image_width * detection.image_height
    return min(100.0, 100 * box.area / image) if image > 0 else None


def _score(low: Reason, high: Reason | None, read: FaceReader) -> MeasureSpec:
    return MeasureSpec(low, high, 0, 100, "", read)


def _angle(reason: Reason, limit: float, read: FaceReader, clamped_at: float | None = None) -> MeasureSpec:
    detector_range = None if clamped_at is None else (-clamped_at, clamped_at)
    return MeasureSpec(reason, reason, -limit, limit, "°", read, needs_attributes=True, detector_range=detector_range)


def _flag(low: Reason | None, high: Reason | None, name: str) -> MeasureSpec:
    return MeasureSpec(low, high, 0, 1, "", _attribute(name), needs_attributes=True, is_flag=True)


_ANY = math.inf
_M, _R = Measure, Reason

MEASURES: MappingProxyType[Measure, MeasureSpec] = MappingProxyType(
    {
        _M.IMAGE_DECODABLE: MeasureSpec(_R.IMAGE_UNDECODABLE, None, 0, 1, "", is_flag=True),
        _M.IMAGE_FORMAT: MeasureSpec(_R.IMAGE_FORMAT_UNSUPPORTED, None, 0, 1, "", is_flag=True),
        _M.IMAGE_BYTES: MeasureSpec(None, _R.IMAGE_TOO_LARGE, 0, _ANY, "B"),
        _M.IMAGE_LONG_SIDE: MeasureSpec(None, _R.IMAGE_RESOLUTION_TOO_HIGH, 0, _ANY, "px"),
        _M.IMAGE_SHORT_SIDE: MeasureSpec(_R.IMAGE_RESOLUTION_TOO_LOW, None, 0, _ANY, "px"),
        _M.FACE_COUNT: MeasureSpec(_R.NO_FACE, _R.MULTIPLE_FACES, 0, _ANY, ""),
        _M.SECOND_FACE_AREA_PERCENT: MeasureSpec(None, _R.MULTIPLE_FACES, 0, 100, "%"),
        _M.FACE_SIZE: MeasureSpec(_R.FACE_TOO_SMALL, None, 0, 4000, "px", _box(lambda box, _: box.size), may_exceed_range=True),
        _M.FACE_AREA_PERCENT: MeasureSpec(_R.FACE_TOO_SMALL, None, 0, 100, "%", _box(_area_percent)),
        _M.SCORE: _score(_R.LOW_SCORE, None, _quality("score")),
        _M.SHARPNESS: _score(_R.TOO_BLURRY, None, _quality("sharpness")),
        _M.BRIGHTNESS: _score(_R.TOO_DARK, _R.TOO_BRIGHT, _quality("brightness")),
        _M.COMPLETENESS_EYEBROW: _score(_R.EYEBROW_OCCLUDED, None, _quality("completeness.eyebrow")),
        _M.COMPLETENESS_EYE: _score(_R.EYE_OCCLUDED, None, _quality("completeness.eye")),
        _M.COMPLETENESS_NOSE: _score(_R.NOSE_OCCLUDED, None, _quality("completeness.nose")),
        _M.COMPLETENESS_CHEEK: _score(_R.CHEEK_OCCLUDED, None, _quality("completeness.cheek")),
        _M.COMPLETENESS_MOUTH: _score(_R.MOUTH_OCCLUDED, None, _quality("completeness.mouth")),
        _M.COMPLETENESS_CHIN: _score(_R.CHIN_OCCLUDED, None, _quality("completeness.chin")),
        _M.PITCH: _angle(_R.POSE_PITCH, 90, _attribute("pitch"), clamped_at=30),
        _M.YAW: _angle(_R.POSE_YAW, 90, _attribute("yaw"), clamped_at=30),
        _M.ROLL: _angle(_R.POSE_ROLL, 180, _attribute("roll")),
        _M.MASK: _flag(None, _R.MASK_WORN, "mask"),
        _M.EYES_OPEN: _flag(_R.EYES_CLOSED, None, "eye_open"),
        _M.GLASSES: _flag(None, _R.GLASSES_WORN, "glass"),
        _M.HAT: _flag(None, _R.HAT_WORN, "hat"),
    }
)

FACE_MEASURES = tuple(measure for measure, spec in MEASURES.items() if spec.read is not None)
"""The measures that a policy can bound."""

QUALITY_MEASURES = tuple(
    measure
    for measure in FACE_MEASURES
    if measure in (_M.SCORE, _M.SHARPNESS, _M.BRIGHTNESS) or measure.value.startswith("completeness.")
)
"""The nine numbers of FaceQualityInfo."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Inclusive bounds of one measure, in its unit; at least one of the two."""

    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Refuse an empty or crossed bound."""
        if self.minimum is None and self.maximum is None:
            raise ValueError("a bound needs a minimum or a maximum")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is over maximum {self.maximum:g}")

    def refuses_nothing(self, measure: Measure) -> bool:
        """Whether every value that detectors give of a measure is within this bound."""
        spec = MEASURES[measure]
        lowest, highest = spec.detector_range or (spec.range_min, spec.range_max)
        return (self.minimum is None or self.minimum <= lowest) and (self.maximum is None or self.maximum >= highest)

    def hold(self, measure: Measure, observed: float | None, *, blocking: bool = True) -> Finding:
        """Hold an observation against this bound. An absent one, or one out of its range, is undetermined: never a pass."""
        spec = MEASURES[measure]
        status, reason = FindingStatus.PASS, None
        if observed is None or not spec.takes(observed):
            observed, status, reason = None, FindingStatus.UNDETERMINED, Reason.MEASUREMENT_MISSING
        elif self.minimum is not None and observed < self.minimum:
            status, reason = FindingStatus.FAIL, spec.low_reason
        elif self.maximum is not None and observed > self.maximum:
            status, reason = FindingStatus.FAIL, spec.high_reason
        return Finding(measure, observed, self.minimum, self.maximum, status, blocking, reason)


_MEASURE_OF_REFUSAL = {
    reason: measure
    for measure, spec in reversed(list(MEASURES.items()))
    for reason in (spec.low_reason, spec.high_reason)
    if reason
}
"""Of measures that share a reason, the first in the table: hence reversed."""


def refusal(reason: Reason) -> Finding:
    """Make the finding of a photo that was refused for a reason without a number being measured."""
    measure = _MEASURE_OF_REFUSAL[reason]
    spec = MEASURES[measure]
    if spec.is_flag and reason is spec.high_reason:
        return Finding(measure, 1.0, None, 0.0, FindingStatus.FAIL, reason=reason)
    if spec.is_flag:
        return Finding(measure, 0.0, 1.0, None, FindingStatus.FAIL, reason=reason)
    return Finding(measure, None, None, None, FindingStatus.FAIL, reason=reason)
