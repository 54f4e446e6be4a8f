"""Policies, presets and revisions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from facequality.errors import PolicyNotFound
from facequality.measure import Bound
from facequality.model import Measure, Reason
from facequality.policy import PRESETS, FaceRule, Policy, PolicySet, built_in
from hypothesis import given
from hypothesis import strategies as st

from tests.detections import policies

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = ("EYEBROW", "EYE", "NOSE", "CHEEK", "MOUTH", "CHIN")

# The contract's table: score, sharpness, brightness, parts, pitch/yaw/roll, face px, rule.
TABLE = {
    "loose": (40, 40, (15, 85), (None, 61, 41, None, 31, None), None, 34, "largest"),
    "normal": (60, 60, (25, 75), (51, 81, 61, 51, 51, 51), None, 60, "dominant"),
    "enroll": (70, 80, (30, 70), (81, 81, 61, 71, 51, 71), None, 80, "exactly_one"),
    "strict": (80, 85, (35, 65), (91, 91, 81, 86, 81, 86), (10, 10, 20), 200, "exactly_one"),
}


@pytest.mark.parametrize("name", TABLE)
def test_presets_are_the_contracts(name: str) -> None:
    """Every number of the published table, and no bound beside it."""
    score, sharpness, brightness, parts, pose, face, rule = TABLE[name]
    expected = {
        Measure.SCORE: Bound(score),
        Measure.SHARPNESS: Bound(sharpness),
        Measure.BRIGHTNESS: Bound(*brightness),
        Measure.FACE_SIZE: Bound(face),
    }
    expected |= {Measure[f"COMPLETENESS_{p}"]: Bound(v) for p, v in zip(PARTS, parts, strict=True) if v is not None}
    if pose is not None:
        axes = (Measure.PITCH, Measure.YAW, Measure.ROLL)
        expected |= {axis: Bound(-limit, limit) for axis, limit in zip(axes, pose, strict=True)}
        expected[Measure.MASK] = Bound(maximum=0)
    assert dict(PRESETS[name].bounds) == expected
    assert PRESETS[name].face_rule == rule


def test_only_a_policy_that_bounds_an_attribute_asks_for_attributes() -> None:
    """They make DetectFace slower."""
    assert [name for name, policy in PRESETS.items() if policy.needs_attributes] == ["strict"]


@pytest.mark.parametrize(
    ("measure", "bound", "text"),
    [
        (Measure.SCORE, Bound(maximum=90), "score takes no max"),
        (Measure.MASK, Bound(minimum=1), "mask takes no min"),
        (Measure.SHARPNESS, Bound(minimum=101), "sharpness: min 101 is outside 0..100"),
        (Measure.YAW, Bound(minimum=-91), "yaw: min -91 is outside -90..90"),
        (Measure.FACE_COUNT, Bound(minimum=1), "face_count cannot be bounded by a policy"),
    ],
)
def test_a_policy_that_means_nothing_cannot_exist(measure: Measure, bound: Bound, text: str) -> None:
    """Refused at construction, in words."""
    with pytest.raises(ValueError, match=text):
        Policy("wrong", {measure: bound}, FaceRule.LARGEST)


def test_a_bound_needs_a_side_and_its_sides_in_order() -> None:
    """Empty and crossed bounds are refused."""
    with pytest.raises(ValueError, match="needs a minimum or a maximum"):
        Bound()
    with pytest.raises(ValueError, match="minimum 70 is over maximum 30"):
        Bound(70, 30)


def test_bounds_stand_in_the_order_of_the_table() -> None:
    """However a file gives them: so do findings."""
    enroll = PRESETS["enroll"].bounds
    assert list(Policy("any", dict(reversed(list(enroll.items()))), FaceRule.LARGEST).bounds) == list(enroll)


def test_an_advisory_measure_needs_a_bound() -> None:
    """Otherwise it is a slip of the pen."""
    with pytest.raises(ValueError, match="advisory without a bound: score"):
        Policy("wrong", {}, FaceRule.LARGEST, advisory=frozenset({Measure.SCORE}))


@given(policies())
def test_the_revision_follows_the_content_alone(policy: Policy) -> None:
    """Name, description and the order of bounds do not matter; 70 and 70.0 are one number."""
    shuffled = {m: Bound(b.minimum, b.maximum) for m, b in reversed(list(policy.bounds.items()))}
    other = Policy("other", shuffled, policy.face_rule, policy.advisory, "another text")
    assert other.revision == policy.revision
    assert len(policy.revision) == 12
    assert Policy("int", {Measure.SCORE: Bound(70)}, FaceRule.LARGEST).revision == (
        Policy("float", {Measure.SCORE: Bound(70.0)}, FaceRule.LARGEST).revision
    )


@given(policies(), policies())
def test_different_content_has_another_revision(one: Policy, other: Policy) -> None:
    """Bounds, rule and advisory measures are all in it."""
    same = (dict(one.bounds), one.face_rule, one.advisory) == (dict(other.bounds), other.face_rule, other.advisory)
    assert (one.revision == other.revision) == same


def test_each_thing_that_a_policy_judges_by_is_in_its_revision() -> None:
    """A bound, the rule on faces, and what is advisory, each alone."""
    bound = {Measure.SCORE: Bound(70)}
    policies_ = [
        Policy("p", bound, FaceRule.LARGEST),
        Policy("p", {Measure.SCORE: Bound(71)}, FaceRule.LARGEST),
        Policy("p", bound, FaceRule.DOMINANT),
        Policy("p", bound, FaceRule.LARGEST, advisory=frozenset({Measure.SCORE})),
    ]
    assert len({policy.revision for policy in policies_}) == len(policies_)


@given(st.text())
def test_an_unknown_policy_is_never_a_silent_fallback(name: str) -> None:
    """Only the empty name is the default."""
    served = built_in(NOW)
    if not name:
        assert served.get(name).name == "enroll"
    elif name in PRESETS:
        assert served.get(name).name == name
    else:
        with pytest.raises(PolicyNotFound, match="served: enroll, loose, normal, strict"):
            served.get(name)


def test_a_default_that_is_not_served_is_refused() -> None:
    """At construction."""
    with pytest.raises(ValueError, match="default policy 'kiosk' is not one of"):
        PolicySet(PRESETS, "kiosk", "built-in", NOW)


def test_unavailable_measures_are_named() -> None:
    """What serve and policy check warn of."""
    given_measures = frozenset(PRESETS["enroll"].bounds)
    assert PRESETS["enroll"].unavailable(given_measures) == ()
    assert PRESETS["strict"].unavailable(given_measures) == (Measure.PITCH, Measure.YAW, Measure.ROLL, Measure.MASK)


def test_a_callers_long_name_is_not_repeated_whole() -> None:
    """Neither in the text nor in what goes into the trailing metadata."""
    with pytest.raises(PolicyNotFound) as caught:
        built_in(NOW).get("x" * 100_000)
    assert len(caught.value.message) < 500
    assert caught.value.metadata["policy"] == "x" * 64


def test_a_served_set_does_not_change() -> None:
    """Nor do its policies, whatever becomes of what they were made of."""
    guidance = {Reason.NO_FACE: {"en": "Look here."}}
    policy = Policy("kiosk", {}, FaceRule.LARGEST, guidance=guidance)
    policies = {"kiosk": policy}
    served = PolicySet(policies, "kiosk", "a test", NOW)
    guidance[Reason.NO_FACE]["en"] = "Go away."
    guidance.clear()
    policies.clear()
    assert served.get("kiosk").guidance == {Reason.NO_FACE: {"en": "Look here."}}
    assert len({served, served}) == len({policy, policy}) == 1


def test_a_shadow_must_be_served() -> None:
    """Every check under the policy would fail, for a name that its caller never gave."""
    policy = Policy("kiosk", {}, FaceRule.LARGEST, shadow="next")
    with pytest.raises(ValueError, match="policy kiosk: its shadow 'next' is not one of kiosk"):
        PolicySet({"kiosk": policy}, "kiosk", "a test", NOW)
