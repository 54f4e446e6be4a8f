"""Resolved policies in the words of policy files: as a document that loads back to the same revisions, and as differences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from facequality.guidance import LANGUAGES
from facequality.measure import FACE_MEASURES, MEASURES
from facequality.model import Measure, Reason
from facequality.policy import FaceRule, Policy, PolicySet
from facequality.policy_entries import MAX_POLICIES, MAX_TEXT, NAME

_STRICTNESS = (FaceRule.LARGEST, FaceRule.DOMINANT, FaceRule.EXACTLY_ONE)


def document(policies: PolicySet, names: list[str]) -> dict[str, Any]:
    """Write policies out, resolved, as a policy file holds them; with the shadows that they name."""
    wanted = dict.fromkeys(names)
    for name in names:
        shadow = policies.get(name).shadow
        while shadow and shadow not in wanted:
            wanted[shadow] = None
            shadow = policies.get(shadow).shadow
    default = policies.default if policies.default in wanted else names[0]
    return {"default": default, "policies": {name: _policy(policies.get(name)) for name in wanted}}


def _policy(policy: Policy) -> dict[str, Any]:
    written: dict[str, Any] = {"description": policy.description} if policy.description else {}
    written |= {"faces": policy.face_rule.value, "bounds": {}}
    for measure, bound in policy.bounds.items():
        sides = (("min", bound.minimum), ("max", bound.maximum))
        written["bounds"][measure.value] = {side: _number(value) for side, value in sides if value is not None}
    if policy.advisory:
        written["advisory"] = sorted(measure.value for measure in policy.advisory)
    if policy.shadow:
        written["shadow"] = policy.shadow
    if policy.guidance:
        written["guidance"] = {reason.value: dict(sentences) for reason, sentences in policy.guidance.items()}
    return written


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def to_yaml(content: dict[str, Any]) -> str:
    """Write a document as a policy file."""

    class Dumper(yaml.SafeDumper):
        pass

    # Texts that look like numbers stay texts, and small numbers are written out: the loader reads both as they were.
    Dumper.add_representer(str, _quoted)
    Dumper.add_representer(float, _decimal)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Plain words that some YAML reads as something else."""


def _decimal(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:.15f}".rstrip("0"))


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", value) and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


class Effect(StrEnum):
    """What a change does to the set of accepted photos."""

    TIGHTENS = "tightens"
    LOOSENS = "loosens"
    REPORTS = "is only reported"
    """An advisory bound: no photo is accepted or rejected for it."""
    SHOWS = "is only shown"
    """A text for people."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two policies."""

    what: str
    before: str
    after: str
    effect: Effect


def differences(before: Policy, after: Policy) -> Iterator[Change]:
    """Yield what a change from one policy to another tightens and loosens, and which texts for people it changes."""
    if before.shadow != after.shadow:
        yield Change("shadow", before.shadow or "none", after.shadow or "none", Effect.REPORTS)
    if before.face_rule is not after.face_rule:
        tighter = _STRICTNESS.index(after.face_rule) > _STRICTNESS.index(before.face_rule)
        yield Change("faces", before.face_rule.value, after.face_rule.value, _effect(tighter=tighter))
    for measure in FACE_MEASURES:
        yield from _bound_differences(measure, before, after)
    if before.description != after.description:
        yield Change("description", before.description or "none", after.description or "none", Effect.SHOWS)
    for reason in Reason:
        for language in LANGUAGES:
            old, new = (policy.guidance.get(reason, {}).get(language, "built-in") for policy in (before, after))
            if old != new:
                yield Change(f"guidance {reason.value} {language}", old, new, Effect.SHOWS)


def _bound_differences(measure: Measure, before: Policy, after: Policy) -> Iterator[Change]:
    old, new = before.bounds.get(measure), after.bounds.get(measure)
    for side, sign in (("minimum", 1), ("maximum", -1)):
        a, b = (getattr(bound, side) if bound else None for bound in (old, new))
        if a != b:
            tighter = a is None or (b is not None and sign * (b - a) > 0)
            # What counts is the side that has the bound: an advisory one neither refuses nor, when it goes, admits a photo.
            holder = after if tighter else before
            effect = Effect.REPORTS if measure in holder.advisory else _effect(tighter=tighter)
            yield Change(f"{measure.value} {side[:3]}", _text(a), _text(b), effect)
    if old and new and (measure in before.advisory) != (measure in after.advisory):
        words = {True: "advisory", False: "blocking"}
        was, becomes = (measure in policy.advisory for policy in (before, after))
        yield Change(measure.value, words[was], words[becomes], _effect(tighter=was))


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _effect(*, tighter: bool) -> Effect:
    return Effect.TIGHTENS if tighter else Effect.LOOSENS


def json_schema() -> dict[str, Any]:
    """Describe policy files for editors (JSON Schema 2020-12). Only the loader checks what spans several keys."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
    name = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    policy = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "description": {**text, "description": "One line for people."},
            "extends": {**name, "description": "A policy of the files or a built-in to start from."},
            "faces": {"enum": [rule.value for rule in FaceRule], "description": "How many faces a photo may show."},
            "bounds": {
                "type": "object",
                "additionalProperties": False,
                "properties": {measure.value: _bound_schema(measure) for measure in FACE_MEASURES},
                "description": "Inclusive bounds by measure; null drops an inherited one.",
            },
            "advisory": {
                "type": "array",
                "items": {"enum": [measure.value for measure in FACE_MEASURES]},
                "description": "Bounds that are reported and never reject.",
            },
            "shadow": {**name, "description": "A policy that is judged beside this one without answering."},
            "guidance": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    reason.value: {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": dict.fromkeys(LANGUAGES, text),
                    }
                    for reason in Reason
                },
                "description": "Sentences for the photographed person that replace the built-in ones.",
            },
        },
        "anyOf": [{"required": ["extends"]}, {"required": ["faces"]}],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policies of the face-quality gate",
        "type": "object",
        "additionalProperties": False,
        "required": ["policies"],
        "properties": {
            "default": {**name, "description": "The policy of requests that name none."},
            "policies": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_POLICIES,
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": policy,
            },
        },
    }


def _bound_schema(measure: Measure) -> dict[str, Any]:
    spec = MEASURES[measure]
    number: dict[str, Any] = {"type": ["number", "null"], "minimum": spec.range_min, "maximum": spec.range_max}
    if spec.is_flag:
        number = {"enum": [0, 1, None]}
    sides = {side: number for side, reason in (("min", spec.low_reason), ("max", spec.high_reason)) if reason is not None}
    return {"type": ["object", "null"], "additionalProperties": False, "minProperties": 1, "properties": sides}
