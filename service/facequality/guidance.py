"""What the photographed person can do about each reason, per language, from one data file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from facequality.model import Reason

Sentences = Mapping[Reason, Mapping[str, str]]
"""By reason, then by language."""

ENGLISH, CHINESE = "en", "zh-Hans"
LANGUAGES = (ENGLISH, CHINESE)

# RFC 5646 tags whose readers read Simplified Chinese: no region means mainland China (CLDR, likely subtags).
# cmn is a sublanguage of zh; -u- and -x- begin what says nothing of the script.
_SIMPLIFIED = re.compile(r"(zh|cmn|zh-cmn)(-(hans|cn|sg|my)(-.*)?|-[ux]-.*|-\*)?", re.IGNORECASE)
_ENGLISH = re.compile(r"en(-.*)?|\*", re.IGNORECASE)
_WEIGHT = re.compile(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)", re.IGNORECASE)
_MAX_RANGES = 20


def _load() -> Sentences:
    table = tomllib.loads(resources.files("facequality").joinpath("guidance.toml").read_text(encoding="utf-8"))
    return MappingProxyType({reason: {language: table[language][reason] for language in LANGUAGES} for reason in Reason})


GUIDANCE = _load()
"""The built-in sentences."""


def negotiate(accept_language: str) -> str:
    """Choose a language for an Accept-Language value (RFC 9110): the best weighted that there is, else English."""
    best, best_weight = ENGLISH, 0.0
    for each in accept_language.split(",")[:_MAX_RANGES]:
        tag, _, parameter = each.strip().partition(";")
        match = _WEIGHT.fullmatch(parameter.replace(" ", "")) if parameter else None
        weight = (float(match[1]) if match else 0.0) if parameter else 1.0
        if weight <= best_weight:
            continue
        if _SIMPLIFIED.fullmatch(tag.strip()):
            best, best_weight = CHINESE, weight
        elif _ENGLISH.fullmatch(tag.strip()):
            best, best_weight = ENGLISH, weight
    return best


def sentence(reason: Reason, language: str, overrides: Sentences) -> str:
    """Return a reason's sentence: the policy's own in this language, else the built-in one."""
    return overrides.get(reason, {}).get(language) or GUIDANCE[reason][language]
