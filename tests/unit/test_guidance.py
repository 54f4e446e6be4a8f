"""Which language a caller is answered in."""

from __future__ import annotations

import pytest
from facequality.guidance import CHINESE, ENGLISH, negotiate


@pytest.mark.parametrize(
    "tag",
    ["zh", "ZH-cn", "cmn", "zh-cmn", "zh-cmn-Hans-CN", "zh-Hans-SG", "zh-u-nu-hanidec", "zh-x-private", "zh-*", "fr, zh;Q=0.5"],
)
def test_readers_of_simplified_chinese_have_it(tag: str) -> None:
    """BCP 47 names them in many ways."""
    assert negotiate(tag) == CHINESE


@pytest.mark.parametrize("tag", ["zh-Hant", "zh-TW", "zh-HK", "zh-cmn-Hant", "yue", "zhx", "en-GB, zh;q=0.5", "*", "", "zh;q=0"])
def test_others_have_english(tag: str) -> None:
    """Readers of traditional characters too: the two are not the same."""
    assert negotiate(tag) == ENGLISH


def test_only_so_many_languages_are_looked_at() -> None:
    """A header may be long."""
    assert negotiate("fr," * 5 + "zh") == CHINESE
    assert negotiate("fr," * 20 + "zh") == ENGLISH
