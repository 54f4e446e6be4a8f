"""Policies: named sets of bounds, with the four that are built in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from facequality.errors import PolicyNotFound
from facequality.measure import FACE_MEASURES, MEASURES, Bound
from facequality.model import Measure, Reason

DOMINANT_MAX_PERCENT = 33
"""Under ``dominant`` the second largest face may have this much of the largest one's area."""


class FaceRule(StrEnum):
    """Which number of faces a photo may show."""

    LARGEST = "largest"
    DOMINANT = "dominant"
    EXACTLY_ONE = "exactly_one"

    @property
    def faces_needed(self) -> int:
        """How many faces the detector must return for the rule to be judged."""
        return 1 if self is FaceRule.LARGEST else 2


@dataclass(frozen=True, slots=True)
class Policy:
    """A named set of bounds, resolved. Invalid ones cannot exist."""

    name: str
    bounds: Mapping[Measure, Bound] = field(hash=False)
    face_rule: FaceRule
    advisory: frozenset[Measure] = frozenset()
    description: str = ""
    shadow: str | None = None
    """A served policy that is judged beside this one, on the same detection, without answering."""
    guidance: Mapping[Reason, Mapping[str, str]] = field(default_factory=dict, hash=False)
    """Sentences that replace the built-in ones, by reason and language."""
    revision: str = field(init=False)
    """First 12 hex digits of the SHA-256 of what it judges by: bounds, rule on faces, advisory measures."""

    needs_attributes: bool = field(init=False)
    """Whether DetectFace must return attributes, which makes it slower."""

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing; freeze the mappings."""
        for measure, bound in self.bounds.items():
            _check(measure, bound)
        if stray := self.advisory - self.bounds.keys():
            raise ValueError(f"advisory without a bound: {', '.join(sorted(stray))}")
        ordered = {measure: self.bounds[measure] for measure in FACE_MEASURES if measure in self.bounds}
        object.__setattr__(self, "bounds", MappingProxyType(ordered))
        sentences = {reason: MappingProxyType(dict(texts)) for reason, texts in self.guidance.items()}
        object.__setattr__(self, "guidance", MappingProxyType(sentences))
        object.__setattr__(self, "revision", self._digest())
        object.__setattr__(self, "needs_attributes", any(MEASURES[measure].needs_attributes for measure in ordered))

    def unavailable(self, given: frozenset[Measure]) -> tuple[Measure, ...]:
        """Name the measures that this policy bounds but that a detector giving these ones never gives."""
        return tuple(measure for measure in self.bounds if measure not in given)

    @property
    def vacuous(self) -> tuple[Measure, ...]:
        """Name the measures whose bounds refuse no value that detectors give."""
        return tuple(measure for measure, bound in self.bounds.items() if bound.refuses_nothing(measure))

    def _digest(self) -> str:
        content = {
            "faces": self.face_rule.value,
            "bounds": {m.value: [_number(b.minimum), _number(b.maximum)] for m, b in self.bounds.items()},
            "advisory": sorted(m.value for m in self.advisory),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _number(value: float | None) -> float | None:
    """Make 70 and 70.0 one content, and 0 and -0."""
    return None if value is None else float(value) + 0.0


def _check(measure: Measure, bound: Bound) -> None:
    spec = MEASURES[measure]
    if spec.read is None:
        raise ValueError(f"{measure} cannot be bounded by a policy")
    for side, value, reason in (("min", bound.minimum, spec.low_reason), ("max", bound.maximum, spec.high_reason)):
        if value is None:
            continue
        if reason is None:
            raise ValueError(f"{measure} takes no {side}")
        if not spec.range_min <= value <= spec.range_max:
            raise ValueError(f"{measure}: {side} {value:g} is outside {spec.range_min:g}..{spec.range_max:g}")


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The served policies: one immutable snapshot."""

    policies: Mapping[str, Policy] = field(hash=False)
    default: str
    source: str
    loaded_at: datetime

    def __post_init__(self) -> None:
        """Refuse a default or a shadow that is not served."""
        object.__setattr__(self, "policies", MappingProxyType(dict(self.policies)))
        if self.default not in self.policies:
            raise ValueError(f"default policy {self.default!r} is not one of {', '.join(sorted(self.policies))}")
        for policy in self.policies.values():
            if policy.shadow is not None and policy.shadow not in self.policies:
                raise ValueError(
                    f"policy {policy.name}: its shadow {policy.shadow!r} is not one of {', '.join(sorted(self.policies))}"
                )

    def get(self, name: str) -> Policy:
        """Return the policy of this name, or the default one for an empty name.

        Raises:
            PolicyNotFound: no such policy is served.
        """
        try:
            return self.policies[name or self.default]
        except KeyError:
            raise PolicyNotFound(name, tuple(sorted(self.policies))) from None


def _parts(
    *, eye: int, nose: int, mouth: int, eyebrow: int | None = None, cheek: int | None = None, chin: int | None = None
) -> dict[Measure, Bound]:
    floors = {
        Measure.COMPLETENESS_EYEBROW: eyebrow,
        Measure.COMPLETENESS_EYE: eye,
        Measure.COMPLETENESS_NOSE: nose,
        Measure.COMPLETENESS_CHEEK: cheek,
        Measure.COMPLETENESS_MOUTH: mouth,
        Measure.COMPLETENESS_CHIN: chin,
    }
    return {measure: Bound(minimum=floor) for measure, floor in floors.items() if floor is not None}


def _preset(
    name: str,
    description: str,
    face_rule: FaceRule,
    *,
    score: int,
    sharpness: int,
    brightness: tuple[int, int],
    face_size: int,
    more: Mapping[Measure, Bound],
) -> Policy:
    bounds = {
        Measure.FACE_SIZE: Bound(minimum=face_size),
        Measure.SCORE: Bound(minimum=score),
        Measure.SHARPNESS: Bound(minimum=sharpness),
        Measure.BRIGHTNESS: Bound(*brightness),
        **more,
    }
    return Policy(name, bounds, face_rule, description=description)


DEFAULT_PRESET = "enroll"

PRESETS: Mapping[str, Policy] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            _preset(
                "loose",
                "Refuses unusable photos only.",
                FaceRule.LARGEST,
                score=40,
                sharpness=40,
                brightness=(15, 85),
                face_size=34,
                more=_parts(eye=61, nose=41, mouth=31),
            ),
            _preset(
                "normal",
                "Photos to verify or search with; bystanders in the background are tolerated.",
                FaceRule.DOMINANT,
                score=60,
                sharpness=60,
                brightness=(25, 75),
                face_size=60,
                more=_parts(eyebrow=51, eye=81, nose=61, cheek=51, mouth=51, chin=51),
            ),
            # The vendor's published advice for enrolment. Its intervals of occlusion are closed (eyebrow [0,80], ...): the
            # lowest integer outside each is the bound. Face size and the rule on faces are ours.
            _preset(
                DEFAULT_PRESET,
                "The vendor's published advice for enrolment; exactly one face of 80 px or more (ours).",
                FaceRule.EXACTLY_ONE,
                score=70,
                sharpness=80,
                brightness=(30, 70),
                face_size=80,
                more=_parts(eyebrow=81, eye=81, nose=61, cheek=71, mouth=51, chin=71),
            ),
            _preset(
                "strict",
                "Document-like portraits: frontal, large, nothing covered, no mask.",
                FaceRule.EXACTLY_ONE,
                score=80,
                sharpness=85,
                brightness=(35, 65),
                face_size=200,
                more={
                    **_parts(eyebrow=91, eye=91, nose=81, cheek=86, mouth=81, chin=86),
                    Measure.PITCH: Bound(-10, 10),
                    Measure.YAW: Bound(-10, 10),
                    Measure.ROLL: Bound(-20, 20),
                    Measure.MASK: Bound(maximum=0),
                },
            ),
        )
    }
)


def built_in(loaded_at: datetime, default: str = DEFAULT_PRESET) -> PolicySet:
    """Serve the four presets.

    Raises:
        ValueError: ``default`` is not one of them.
    """
    return PolicySet(PRESETS, default, "built-in", loaded_at)
