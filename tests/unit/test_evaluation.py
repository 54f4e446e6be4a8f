"""What a policy makes of a detection."""

from __future__ import annotations

import dataclasses

import pytest
from facequality.evaluation import evaluate
from facequality.measure import MEASURES, Bound
from facequality.model import (
    BoundingBox,
    Completeness,
    Detection,
    Face,
    FaceQuality,
    FindingStatus,
    Judgement,
    Measure,
    Reason,
    Verdict,
)
from facequality.policy import PRESETS, FaceRule, Policy
from hypothesis import given
from hypothesis import strategies as st

from tests.detections import EXAMPLE_1, EXAMPLE_2, detections, policies

R = Reason


def judge(policy: Policy, detection: Detection) -> Judgement:
    return Judgement.of(evaluate(policy, detection).findings)


@pytest.mark.parametrize(
    ("preset", "reasons"),
    [
        ("loose", ()),
        ("normal", (R.CHIN_OCCLUDED,)),
        ("enroll", (R.CHEEK_OCCLUDED, R.CHIN_OCCLUDED, R.TOO_BLURRY, R.LOW_SCORE)),
        (
            "strict",
            (
                R.FACE_TOO_SMALL,
                R.MASK_WORN,
                R.CHEEK_OCCLUDED,
                R.CHIN_OCCLUDED,
                R.POSE_PITCH,
                R.TOO_BLURRY,
                R.LOW_SCORE,
            ),
        ),
    ],
)
def test_documented_example_2_gives_the_contracts_reasons(preset: str, reasons: tuple[Reason, ...]) -> None:
    """The vendor's own example has one right answer per preset."""
    judgement = judge(PRESETS[preset], EXAMPLE_2)
    assert judgement.reasons == reasons
    assert judgement.verdict is (Verdict.REJECTED if reasons else Verdict.ACCEPTED)


@pytest.mark.parametrize("preset", PRESETS)
def test_nine_zeros_are_a_missing_measurement_alone(preset: str) -> None:
    """Zeros are what the vendor answers where quality detection did not run."""
    assert judge(PRESETS[preset], EXAMPLE_1).reasons == (R.MEASUREMENT_MISSING,)


@pytest.mark.parametrize("quality", [None, FaceQuality()])
def test_numbers_that_are_absent_leave_the_others_judged(quality: FaceQuality | None) -> None:
    """Null is not zero: what the vendor did give is held against its bounds."""
    face = dataclasses.replace(EXAMPLE_2.faces[0], quality=quality)
    detection = dataclasses.replace(EXAMPLE_2, faces=(face,))
    assert judge(PRESETS["strict"], detection).reasons == (
        R.FACE_TOO_SMALL,
        R.MASK_WORN,
        R.POSE_PITCH,
        R.MEASUREMENT_MISSING,
    )
    bounds = {Measure.FACE_SIZE: Bound(minimum=60), Measure.SCORE: Bound(minimum=60)}
    by_size = Policy("by size", bounds, FaceRule.LARGEST, advisory=frozenset({Measure.SCORE}))
    assert judge(by_size, detection).verdict is Verdict.ACCEPTED


def test_eight_zeros_and_no_ninth_are_no_assessment_either() -> None:
    """A null among them makes no measurement of the others."""
    quality = FaceQuality(0, 0, 0, Completeness(0, 0, 0, 0, 0, None))
    face = dataclasses.replace(EXAMPLE_2.faces[0], quality=quality)
    detection = dataclasses.replace(EXAMPLE_2, faces=(face,))
    assert judge(PRESETS["loose"], detection).reasons == (R.MEASUREMENT_MISSING,)


def test_a_judged_face_without_quality_has_no_judgement_of_its_own() -> None:
    """As the contract has it: absent where quality is."""
    face = dataclasses.replace(EXAMPLE_2.faces[0], quality=None)
    assert evaluate(PRESETS["loose"], dataclasses.replace(EXAMPLE_2, faces=(face,))).faces == (None,)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_face_is_one_reason_and_no_judged_face(preset: str) -> None:
    """An empty answer is NO_FACE, not a pass."""
    evaluation = evaluate(PRESETS[preset], Detection(640, 480, (), "3.0"))
    assert Judgement.of(evaluation.findings).reasons == (R.NO_FACE,)
    assert evaluation.judged_face is None


def faces(*sizes: tuple[int, int]) -> Detection:
    quality = dataclasses.replace(EXAMPLE_2.faces[0].quality, score=99.0)  # type: ignore[type-var]
    return Detection(4000, 4000, tuple(Face(BoundingBox(0, 0, *size), quality) for size in sizes), "3.0")


def test_the_largest_box_is_judged_and_ties_keep_the_vendors_order() -> None:
    """Width x height ranks; the first of equals is judged."""
    policy = Policy("any", {}, FaceRule.LARGEST)
    assert evaluate(policy, faces((10, 10), (30, 10), (10, 30))).judged_face == 1


def test_a_face_larger_than_any_photo_is_measured() -> None:
    """A close-up's box may leave the photo on every side."""
    judgement = judge(PRESETS["loose"], faces((4120, 4300)))
    assert [finding.observed for finding in judgement.findings if finding.measure is Measure.FACE_SIZE] == [4120]
    assert judgement.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("rule", "sizes", "reasons"),
    [
        (FaceRule.LARGEST, [(100, 100), (100, 100)], ()),
        (FaceRule.DOMINANT, [(100, 100), (33, 100)], ()),
        (FaceRule.DOMINANT, [(100, 100), (34, 100)], (R.MULTIPLE_FACES,)),
        (FaceRule.DOMINANT, [(34, 100), (100, 100)], (R.MULTIPLE_FACES,)),
        (FaceRule.DOMINANT, [(0, 0), (0, 0)], (R.MULTIPLE_FACES,)),
        (FaceRule.DOMINANT, [(-100, -100), (100, 100)], ()),
        (FaceRule.DOMINANT, [(100, 100)], ()),
        (FaceRule.DOMINANT, [(100, 100), (90, 100), (1, 1)], (R.MULTIPLE_FACES,)),
        (FaceRule.EXACTLY_ONE, [(100, 100), (1, 1)], (R.MULTIPLE_FACES,)),
        (FaceRule.EXACTLY_ONE, [(100, 100)], ()),
    ],
)
def test_rules_on_the_number_of_faces(rule: FaceRule, sizes: list[tuple[int, int]], reasons: tuple[Reason, ...]) -> None:
    """33 percent of the largest area is still dominated; 34 is not."""
    assert judge(Policy("any", {}, rule), faces(*sizes)).reasons == reasons


def test_every_failure_is_listed_also_beside_multiple_faces() -> None:
    """One retake should be able to mend everything."""
    doubled = dataclasses.replace(EXAMPLE_2, faces=EXAMPLE_2.faces * 2)
    assert judge(PRESETS["enroll"], doubled).reasons == (
        R.MULTIPLE_FACES,
        R.CHEEK_OCCLUDED,
        R.CHIN_OCCLUDED,
        R.TOO_BLURRY,
        R.LOW_SCORE,
    )


def test_each_face_with_quality_is_judged_on_its_own_without_the_count() -> None:
    """A group photo's usable faces can be told."""
    bare = Face(BoundingBox(0, 0, 10, 10))
    group = dataclasses.replace(EXAMPLE_2, faces=(*EXAMPLE_2.faces, bare))
    first, second = evaluate(PRESETS["loose"], group).faces
    assert first is not None
    assert first.verdict is Verdict.ACCEPTED
    assert Measure.FACE_COUNT not in {finding.measure for finding in first.findings}
    assert second is None


def test_an_advisory_bound_is_reported_but_never_rejects() -> None:
    """Also when it is undetermined."""
    bound = {Measure.SCORE: Bound(minimum=70)}
    advisory = Policy("advisory", bound, FaceRule.LARGEST, advisory=frozenset({Measure.SCORE}))
    judgement = judge(advisory, EXAMPLE_2)
    assert judgement.verdict is Verdict.ACCEPTED
    assert judgement.reasons == ()
    failed = [finding for finding in judgement.findings if finding.status is FindingStatus.FAIL]
    assert [finding.reason for finding in failed] == [R.LOW_SCORE]


@pytest.mark.parametrize("score", [100.5, -0.5, 1e308, float("inf"), float("nan")])
def test_a_number_out_of_its_range_never_passes(score: float) -> None:
    """A detector that counts otherwise than the contract says must not let everything through."""
    quality = dataclasses.replace(EXAMPLE_2.faces[0].quality, score=score)  # type: ignore[type-var]
    detection = dataclasses.replace(EXAMPLE_2, faces=(dataclasses.replace(EXAMPLE_2.faces[0], quality=quality),))
    judgement = judge(Policy("any", {Measure.SCORE: Bound(minimum=40)}, FaceRule.LARGEST), detection)
    assert judgement.reasons == (R.MEASUREMENT_MISSING,)


def test_a_face_that_leaves_the_photo_fills_it_at_most() -> None:
    """Its box may be larger than the photo."""
    face = dataclasses.replace(EXAMPLE_2.faces[0], box=BoundingBox(-100, -100, 1200, 1200))
    detection = Detection(800, 800, (face,), "3.0")
    finding = evaluate(Policy("any", {Measure.FACE_AREA_PERCENT: Bound(minimum=5)}, FaceRule.LARGEST), detection).findings[-1]
    assert (finding.observed, finding.status) == (100, FindingStatus.PASS)


def test_of_a_photo_without_a_size_no_share_is_known() -> None:
    """It divides by nothing."""
    policy = Policy("any", {Measure.FACE_AREA_PERCENT: Bound(minimum=5)}, FaceRule.LARGEST)
    assert judge(policy, dataclasses.replace(EXAMPLE_2, image_width=0)).reasons == (R.MEASUREMENT_MISSING,)


def test_a_single_face_dominates() -> None:
    """The finding is there, and says by how much."""
    findings = evaluate(Policy("any", {}, FaceRule.DOMINANT), faces((100, 100))).findings
    assert [(finding.measure, finding.observed) for finding in findings] == [
        (Measure.FACE_COUNT, 1),
        (Measure.SECOND_FACE_AREA_PERCENT, 0),
    ]


@given(policies(), detections)
def test_evaluation_is_total_and_deterministic(policy: Policy, detection: Detection) -> None:
    """Any policy, any detection: a verdict, the same one twice, rejected exactly if there is a reason."""
    first = judge(policy, detection)
    assert judge(policy, detection) == first
    assert (first.verdict is Verdict.REJECTED) == bool(first.reasons)
    assert len(set(first.reasons)) == len(first.reasons)
    assert list(first.reasons) == [reason for reason in Reason if reason in first.reasons]


@given(policies(), detections)
def test_margin_and_status_agree(policy: Policy, detection: Detection) -> None:
    """0 passes; negative is how far it misses; no observation has no margin."""
    for finding in evaluate(policy, detection).findings:
        if finding.margin is None:
            assert finding.status is FindingStatus.UNDETERMINED
        else:
            assert (finding.margin >= 0) == (finding.status is FindingStatus.PASS)


@given(policies(), detections, st.data())
def test_tightening_a_bound_never_turns_a_rejection_into_an_acceptance(
    policy: Policy, detection: Detection, data: st.DataObject
) -> None:
    """Monotone in every bound."""
    tighter = {}
    for measure, bound in policy.bounds.items():
        low, high = bound.minimum, bound.maximum
        spec = MEASURES[measure]
        top = high if high is not None else spec.range_max
        if low is not None:
            low = data.draw(st.floats(low, top))
        if high is not None:
            high = data.draw(st.floats(low if low is not None else spec.range_min, high))
        tighter[measure] = Bound(low, high)
    tightened = Policy("tighter", tighter, policy.face_rule, policy.advisory)
    if judge(policy, detection).verdict is Verdict.REJECTED:
        assert judge(tightened, detection).verdict is Verdict.REJECTED


@given(policies(), detections)
def test_stricter_rules_on_faces_never_accept_more(policy: Policy, detection: Detection) -> None:
    """largest, dominant, exactly_one: each refuses all that the one before refuses."""
    verdicts = [
        judge(Policy("any", policy.bounds, rule, policy.advisory), detection).verdict
        for rule in (FaceRule.LARGEST, FaceRule.DOMINANT, FaceRule.EXACTLY_ONE)
    ]
    rejected = [verdict is Verdict.REJECTED for verdict in verdicts]
    assert rejected == sorted(rejected)


@given(policies(), detections)
def test_a_measure_the_detector_did_not_give_never_passes(policy: Policy, detection: Detection) -> None:
    """Absent is undetermined, and under a blocking bound it rejects."""
    evaluation = evaluate(policy, detection)
    for finding in evaluation.findings:
        if finding.observed is None:
            assert finding.status is FindingStatus.UNDETERMINED
            assert finding.rejects == finding.blocking
