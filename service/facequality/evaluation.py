"""A policy held against a detection: total, pure, deterministic.

Every measure that the policy bounds gives one finding, failures are all listed, and the verdict follows from the blocking
ones. Tightening a bound never turns a rejection into an acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from facequality.image import LIMITS
from facequality.measure import MEASURES, QUALITY_MEASURES, Bound, refusal
from facequality.model import Detection, Face, Finding, Judgement, Measure, Reason, by_area
from facequality.policy import DOMINANT_MAX_PERCENT, FaceRule, Policy

_A_FACE, _ONE_FACE = Bound(minimum=1), Bound(1, 1)
_DOMINANT = Bound(maximum=DOMINANT_MAX_PERCENT)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy makes of a detection."""

    findings: tuple[Finding, ...]
    """The rule on faces, then the judged face's measures."""
    judged_face: int | None
    """Index of the judged face in ``Detection.faces``; None without a face."""
    faces: tuple[Judgement | None, ...]
    """Per face, in the detection's order: its own judgement without the rule on faces; None where it has no quality."""


def evaluate(policy: Policy, detection: Detection) -> Evaluation:
    """Judge the largest face (ties in the detector's order) and, on its own, every face that has quality."""
    ranked = by_area([face.box for face in detection.faces])
    judged = ranked[0] if ranked else None
    findings = _count_findings(policy.face_rule, [detection.faces[index] for index in ranked])
    by_face = [
        _face_findings(policy, face, detection) if face.quality is not None or index == judged else ()
        for index, face in enumerate(detection.faces)
    ]
    if judged is not None:
        findings += by_face[judged]
    faces = tuple(
        Judgement.of(found) if face.quality is not None else None for face, found in zip(detection.faces, by_face, strict=True)
    )
    return Evaluation(findings, judged, faces)


def evaluate_refusal(policy: Policy, reason: Reason, own: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """What a policy makes of a photo that the detector refused: not measured, but what would have been enough is known.

    ``own`` are the gate's findings on the photo, with bounds that may depend on it.
    """
    if reason is Reason.NO_FACE:
        return _count_findings(policy.face_rule, [])
    finding = refusal(reason)
    bounds = {each.measure: Bound(each.minimum, each.maximum) for each in own}
    bound = policy.bounds.get(finding.measure) or bounds.get(finding.measure) or LIMITS.get(finding.measure)
    return (finding if bound is None else replace(finding, minimum=bound.minimum, maximum=bound.maximum),)


def _count_findings(rule: FaceRule, ranked: list[Face]) -> tuple[Finding, ...]:
    count = (_ONE_FACE if rule is FaceRule.EXACTLY_ONE else _A_FACE).hold(Measure.FACE_COUNT, len(ranked))
    if rule is not FaceRule.DOMINANT or not ranked:
        return (count,)
    largest, *others = (face.box.area for face in ranked)
    # Two boxes without an area are as large as each other.
    share = 0.0 if not others else 100 * others[0] / largest if largest > 0 else 100.0
    return (count, _DOMINANT.hold(Measure.SECOND_FACE_AREA_PERCENT, share))


def _face_findings(policy: Policy, face: Face, detection: Detection) -> tuple[Finding, ...]:
    assessed = is_assessed(face, detection)
    findings = [
        bound.hold(measure, _read(measure, face, detection) if assessed else None, blocking=measure not in policy.advisory)
        for measure, bound in policy.bounds.items()
    ]
    return tuple(findings)


def is_assessed(face: Face, detection: Detection) -> bool:
    """Tell whether the detector's numbers of a face's quality mean anything.

    The vendor answers nine zeros where quality detection did not run: read as numbers, they would say that everything is
    covered. Nothing about such a face is judged; every bound is undetermined. A number that is absent says so itself.
    """
    if any(_read(measure, face, detection) for measure in QUALITY_MEASURES):
        return True
    return all(_read(measure, face, detection) is None for measure in QUALITY_MEASURES)


def _read(measure: Measure, face: Face, detection: Detection) -> float | None:
    read = MEASURES[measure].read
    return None if read is None else read(face, detection)
