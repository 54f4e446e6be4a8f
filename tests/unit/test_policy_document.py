"""Policies as documents, and what differs between two."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from facequality.evaluation import evaluate
from facequality.measure import Bound
from facequality.model import Judgement, Measure, Reason, Verdict
from facequality.policy import PRESETS, FaceRule, Policy, PolicySet, built_in
from facequality.policy_document import Change, Effect, differences, document, to_yaml
from facequality.policy_file import load
from hypothesis import given

from tests.detections import detections, policies
from tests.policy_mistakes import NOW, WORKED, loaded


def written(served: PolicySet, tmp_path: Path) -> PolicySet:
    return loaded(tmp_path, to_yaml(document(served, list(served.policies))))


@pytest.mark.parametrize("file", [None, *sorted(WORKED.glob("*.yaml"))], ids=lambda file: file.stem if file else "built-in")
def test_what_is_shown_loads_back_to_the_same_revisions(file: Path | None, tmp_path: Path) -> None:
    """Resolving is idempotent."""
    served = load(file, NOW) if file else built_in(NOW)
    again = written(served, tmp_path)
    assert {name: policy.revision for name, policy in again.policies.items()} == {
        name: policy.revision for name, policy in served.policies.items()
    }
    assert again.default == served.default
    assert document(again, list(again.policies)) == document(served, list(served.policies))


@given(policies())
def test_any_policy_loads_back_to_the_same_revision(policy: Policy) -> None:
    """Also fractions, advisory bounds and empty ones."""
    import tempfile

    served = PolicySet({policy.name: policy}, policy.name, "drawn", NOW)
    with tempfile.TemporaryDirectory() as folder:
        assert written(served, Path(folder)).get("").revision == policy.revision


def test_a_document_has_all_that_a_policy_has(tmp_path: Path) -> None:
    """Its shadow, and the sentences of its own."""
    text = "default: a\npolicies: {a: {extends: enroll, shadow: b, guidance: {TOO_DARK: {en: Lamp.}}}, b: {extends: strict}}"
    written_out = document(loaded(tmp_path, text), ["a"])["policies"]
    assert (written_out["a"]["shadow"], written_out["a"]["guidance"]) == ("b", {"TOO_DARK": {"en": "Lamp."}})
    assert "b" in written_out


@pytest.mark.parametrize("page", [WORKED / "README.md", WORKED.parent.parent / "README.md"])
def test_what_the_pages_show_is_a_policy_file(page: Path, tmp_path: Path) -> None:
    """To be copied."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert loaded(tmp_path, shown).default == "kiosk"


def test_a_difference_says_what_it_tightens_and_loosens() -> None:
    """From enroll to strict everything tightens; back, everything loosens."""
    there = list(differences(PRESETS["enroll"], PRESETS["strict"]))
    assert {change.effect for change in there if change.what != "description"} == {Effect.TIGHTENS}
    assert ("brightness max", "70", "65") in [(change.what, change.before, change.after) for change in there]
    back = list(differences(PRESETS["strict"], PRESETS["enroll"]))
    assert {change.effect for change in back if change.what != "description"} == {Effect.LOOSENS}
    assert list(differences(PRESETS["enroll"], PRESETS["enroll"])) == []


def test_a_difference_has_the_texts_that_people_see() -> None:
    """They change no verdict."""
    before = Policy("p", {}, FaceRule.LARGEST, description="Old.", guidance={Reason.TOO_DARK: {"en": "Lamp."}})
    after = replace(before, description="", guidance={Reason.TOO_DARK: {"en": "Lamp!", "zh-Hans": "灯"}})
    assert list(differences(before, after)) == [
        Change("description", "Old.", "none", Effect.SHOWS),
        Change("guidance TOO_DARK en", "Lamp.", "Lamp!", Effect.SHOWS),
        Change("guidance TOO_DARK zh-Hans", "built-in", "灯", Effect.SHOWS),
    ]


def test_a_difference_names_both_shadows() -> None:
    """The old and the new one."""
    before, after = (replace(PRESETS["enroll"], shadow=shadow) for shadow in (None, "next"))
    assert list(differences(before, after)) == [Change("shadow", "none", "next", Effect.REPORTS)]
    assert list(differences(after, before)) == [Change("shadow", "next", "none", Effect.REPORTS)]


def test_making_a_bound_advisory_loosens_it() -> None:
    """And an advisory bound of its own changes nothing that is accepted."""
    bound = {Measure.SCORE: Bound(70)}
    blocking = Policy("p", bound, FaceRule.LARGEST)
    advisory = Policy("p", bound, FaceRule.LARGEST, advisory=frozenset({Measure.SCORE}))
    nothing = Policy("p", {}, FaceRule.LARGEST)
    assert [change.effect for change in differences(blocking, advisory)] == [Effect.LOOSENS]
    assert [change.effect for change in differences(advisory, blocking)] == [Effect.TIGHTENS]
    assert [change.effect for change in differences(nothing, advisory)] == [Effect.REPORTS]
    assert [change.effect for change in differences(advisory, nothing)] == [Effect.REPORTS]


@given(policies(), policies(), detections)
def test_a_difference_that_only_tightens_never_accepts_more(before: Policy, after: Policy, detection: Any) -> None:
    """What diff promises, evaluation keeps."""
    effects = {change.effect for change in differences(before, after)}
    was, becomes = (Judgement.of(evaluate(policy, detection).findings).verdict for policy in (before, after))
    if Effect.LOOSENS not in effects and was is Verdict.REJECTED:
        assert becomes is Verdict.REJECTED
    if Effect.TIGHTENS not in effects and was is Verdict.ACCEPTED:
        assert becomes is Verdict.ACCEPTED
