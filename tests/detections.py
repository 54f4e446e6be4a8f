"""Detections for tests: DetectFace's documented examples, and hypothesis strategies."""

from __future__ import annotations

from facequality.measure import FACE_MEASURES, MEASURES, Bound
from facequality.model import (
    BoundingBox,
    Completeness,
    Detection,
    DetectOptions,
    Face,
    FaceAttributes,
    FaceQuality,
    Hair,
    Measure,
)
from facequality.policy import FaceRule, Policy
from hypothesis import strategies as st

EXAMPLE_BOX = BoundingBox(156, 129, 196, 196)

EXAMPLE_1 = Detection(
    640,
    440,
    (
        Face(
            EXAMPLE_BOX,
            FaceQuality(0, 0, 0, Completeness(0, 0, 0, 0, 0, 0)),
            FaceAttributes(pitch=0, yaw=0, roll=0, mask=False, glass=False, hat=False, eye_open=True),
        ),
    ),
    "3.0",
    "a574102d-1b86-48a7-a08b-6a741a8fedb6",
)
"""Quality detection off: zeros."""

EXAMPLE_2 = Detection(
    640,
    440,
    (
        Face(
            EXAMPLE_BOX,
            FaceQuality(63, 73, 47, Completeness(99, 99, 99, 52, 99, 47)),
            FaceAttributes(pitch=17, yaw=5, roll=-2, mask=True, glass=False, hat=False, eye_open=True),
        ),
    ),
    "3.0",
    "bcde47b5-e6d8-446e-a538-bcecffbe306a",
)
"""Quality and attributes on."""

points = st.none() | st.integers(0, 100).map(float)
angles = st.none() | st.floats(-30, 30)
flags = st.none() | st.booleans()
sides = st.integers(0, 4000)

qualities = st.builds(
    FaceQuality, points, points, points, st.builds(Completeness, points, points, points, points, points, points)
)
percents = st.none() | st.integers(0, 100)
hair = st.builds(Hair, st.none() | st.integers(0, 4), st.none() | st.integers(0, 1), st.none() | st.integers(0, 3))
attributes = st.builds(
    FaceAttributes,
    gender=percents,
    age=percents,
    expression=percents,
    glass=flags,
    pitch=angles,
    yaw=angles,
    roll=angles,
    beauty=percents,
    hat=flags,
    mask=flags,
    eye_open=flags,
    hair=st.none() | hair,
)
boxes = st.builds(BoundingBox, st.integers(-100, 4000), st.integers(-100, 4000), sides, sides)
faces = st.builds(Face, boxes, st.none() | qualities, st.none() | attributes)
detections = st.builds(
    Detection, sides, sides, st.lists(faces, max_size=4).map(tuple), st.sampled_from(["3.0", "2.0"]), st.just("id")
)
options = st.builds(
    DetectOptions,
    st.integers(1, 120),
    st.sampled_from([20, 34]),
    st.sampled_from([None, "2.0", "3.0"]),
    st.booleans(),
    st.booleans(),
)


@st.composite
def bounds(draw: st.DrawFn, measure: Measure) -> Bound:
    """Draw bounds that a policy may set on a measure, also fractions."""
    spec = MEASURES[measure]
    steps = 1 if spec.is_flag else 4
    values = st.integers(int(spec.range_min) * steps, int(spec.range_max) * steps).map(lambda number: number / steps)
    if not spec.is_flag:
        values |= st.floats(spec.range_min, spec.range_max).map(lambda number: round(number, 12))
    low = draw(values) if spec.low_reason is not None else None
    high = draw(values) if spec.high_reason is not None else None
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
        low, high = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
    return Bound(low, high)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy."""
    measures = draw(st.sets(st.sampled_from(FACE_MEASURES)))
    drawn = {measure: draw(bounds(measure)) for measure in measures}
    advisory = draw(st.sets(st.sampled_from(sorted(measures)))) if measures else set()
    return Policy("drawn", drawn, draw(st.sampled_from(FaceRule)), frozenset(advisory))
