"""What the photographed person can do about each reason, from one data file."""

from __future__ import annotations

import tomllib
from importlib import resources
from types import MappingProxyType

from facequality.model import Reason


def _load() -> MappingProxyType[Reason, str]:
    text = resources.files("facequality").joinpath("guidance.toml").read_text(encoding="utf-8")
    return MappingProxyType({Reason(name): sentence for name, sentence in tomllib.loads(text)["en"].items()})


GUIDANCE = _load()
"""One short English sentence per reason."""
