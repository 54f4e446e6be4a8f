"""API keys in files that change while the gate runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog
from facequality.detectors.tencentcloud import credentials
from facequality.detectors.tencentcloud.credentials import FileCredentials, usable
from facequality.detectors.tencentcloud.signature import Credential
from facequality.errors import OperatorFault


def test_a_rotated_key_file_is_read_again(tmp_path: Path) -> None:
    """Without a restart; white space is dropped; an emptied one is refused without its text."""
    secret_id, secret_key, token = (tmp_path / name for name in ("id", "key", "token"))
    for path, text in ((secret_id, "id-1\n"), (secret_key, " key-1 "), (token, "token-1")):
        path.write_text(text)
    now = 0.0
    source = FileCredentials(secret_id, secret_key, token, clock=lambda: now)
    assert source() == Credential("id-1", "key-1", "token-1")
    assert source() is source()
    with structlog.testing.capture_logs() as lines:
        secret_key.write_text(" key-1")
        assert source() == Credential("id-1", "key-1", "token-1")
        assert not lines, "it is the same key"
        secret_key.write_text("key-2")
        os.utime(secret_key, ns=(1, 1))
        assert source() == Credential("id-1", "key-2", "token-1")
    assert [line["event"] for line in lines] == ["credentials.changed"]
    assert "key-2" not in str(lines)
    copied = tmp_path / "copied"
    copied.write_text("key-3")
    os.utime(copied, ns=(1, 1))
    copied.replace(secret_key)
    assert source() == Credential("id-1", "key-3", "token-1"), "a copy that kept its time"
    secret_key.write_text("")
    os.utime(secret_key, ns=(2, 2))
    now = 60.0
    assert source() == Credential("id-1", "key-3", "token-1"), "it may be in the midst of being written"
    now = 65.0
    assert source() == Credential("id-1", "key-3", "token-1")
    now = 65.1
    with pytest.raises(OperatorFault, match=r"TENCENTCLOUD_SECRET_KEY .* is empty"):
        source()
    secret_key.write_bytes(b"\xff")
    with pytest.raises(OperatorFault, match="cannot be read"):
        source()
    secret_key.unlink()
    with pytest.raises(OperatorFault, match="cannot be read"):
        source()
    secret_key.write_text("key-4")
    assert source() == Credential("id-1", "key-4", "token-1")
    now = 200.0
    secret_key.unlink()
    assert source() == Credential("id-1", "key-4", "token-1"), "another replacement has its own time"


def test_a_key_is_never_taken_from_two_editions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Secret is swapped between the reading of its files."""
    for edition in ("1", "2"):
        (tmp_path / edition).mkdir()
        for name in ("id", "key"):
            (tmp_path / edition / name).write_text(f"{name}-{edition}")
    mounted = tmp_path / "..data"
    mounted.symlink_to("1")
    source = FileCredentials(mounted / "id", mounted / "key")
    assert source() == Credential("id-1", "key-1")

    def swap(to: str) -> None:
        (tmp_path / "..new").symlink_to(to)
        (tmp_path / "..new").replace(mounted)

    read = credentials._read

    def swapped_meanwhile(path: Path) -> str:
        text = read(path)
        if path.name == "id":
            swap("1")
        return text

    swap("2")
    with monkeypatch.context() as patch:
        patch.setattr(credentials, "_read", swapped_meanwhile)
        assert source() == Credential("id-1", "key-1")
    swap("2")
    assert source() == Credential("id-2", "key-2")


@pytest.mark.parametrize("part", ["", " \n", "\u00e9", "a\nX-Other: b", "a b", "a\x7f"])
def test_a_key_that_cannot_stand_in_a_header_is_none(part: str) -> None:
    """It would be another header, or none."""
    for parts in ((part, "key"), ("id", part), ("id", "key", part)):
        with pytest.raises(OperatorFault, match="empty or malformed"):
            usable(*parts)


def test_white_space_around_a_key_is_not_its_own() -> None:
    """A signature with it would be refused at every check."""
    assert usable(" id", "key\n", "\ttoken ") == Credential("id", "key", "token")
