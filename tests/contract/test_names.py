"""The contract and the code name the same things."""

from __future__ import annotations

from enum import Enum

import pytest
from facequality import errors, model
from facequality.detectors.outcome import Outcome, outcome_of
from facequality.guidance import GUIDANCE, LANGUAGES
from facequality.policy import FaceRule
from facequality.v1 import error_reason_pb2, policy_pb2, verdict_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (model.Reason, verdict_pb2.Reason, "REASON_"),
        (model.Measure, verdict_pb2.Measure, "MEASURE_"),
        (model.Verdict, verdict_pb2.Verdict, "VERDICT_"),
        (model.FindingStatus, verdict_pb2.FindingStatus, "FINDING_STATUS_"),
        (FaceRule, policy_pb2.FaceRule, "FACE_RULE_"),
        (errors.ErrorReason, error_reason_pb2.ErrorReason, "ERROR_REASON_"),
    ],
)
def test_enums_are_the_contracts_in_its_order(ours: type[Enum], theirs: EnumTypeWrapper, prefix: str) -> None:
    """Every value but UNSPECIFIED, in the same order."""
    assert [prefix + value.name for value in ours] == theirs.keys()[1:]
    assert theirs.keys()[0] == prefix + "UNSPECIFIED"


def test_every_reason_has_guidance() -> None:
    """One short sentence each, in every language."""
    assert set(GUIDANCE) == set(model.Reason)
    for sentences in GUIDANCE.values():
        assert tuple(sentences) == LANGUAGES
        assert sentences["en"].endswith(".")
        assert sentences["zh-Hans"].endswith("。")
        assert all(len(text) < 80 for text in sentences.values())


@pytest.mark.parametrize("reason", errors.ErrorReason)
def test_every_error_reason_has_an_outcome_class(reason: errors.ErrorReason) -> None:
    """Alerts key on it."""
    assert outcome_of(errors.UpstreamFault(reason, "")) in Outcome


def test_an_unexpected_exception_is_a_bug() -> None:
    """Not an upstream fault."""
    assert outcome_of(RuntimeError()) is Outcome.BUG
