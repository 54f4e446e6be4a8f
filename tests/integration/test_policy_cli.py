"""The command line's policy commands."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
import yaml
from facequality.v1 import face_quality_service_pb2 as pb

from tests import photos
from tests.policy_files import BROKEN, STRICT, gate, write
from tests.running import run, until


def test_policy_check_exits_0_1_or_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good, warned of for the detector that serve would have, broken; the worst of several files counts."""
    good, warned, broken = (tmp_path / f"{name}.yaml" for name in ("good", "warned", "broken"))
    write(good, STRICT)
    write(warned, "policies: {gate: {extends: enroll, bounds: {glasses: {max: 0}}}}")
    write(broken, BROKEN)
    result = run("policy", "check", good, "--detector", "embedded")
    assert (result.exit_code, "1 policy, default gate: gate f163c93262d4" in result.stdout) == (0, True)
    result = run("policy", "check", warned, "--detector", "embedded")
    assert result.exit_code == 1
    assert "the embedded detector cannot give glasses" in result.stderr
    assert run("policy", "check", warned).exit_code == 1
    assert run("policy", "check", warned, "--detector", "tencentcloud").exit_code == 0
    monkeypatch.setenv("FACEQUALITY_DETECTOR", "tencentcloud")
    assert run("policy", "check", warned).exit_code == 0
    result = run("policy", "check", good, broken, warned)
    assert result.exit_code == 2
    assert "broken.yaml:1: policies.gate.bounds.sharpnes: there is no measure" in result.stderr
    assert run("policy", "check", tmp_path / "missing.yaml").exit_code == 2


def test_policy_check_warns_of_bounds_that_refuse_nothing(tmp_path: Path) -> None:
    """Detectors give pitch and yaw up to 30 degrees: a bound at 45 looks strict and is none."""
    write(
        tmp_path / "wide.yaml",
        "policies: {gate: {extends: enroll, bounds: {yaw: {min: -45, max: 45}, pitch: {min: -29}, mask: {max: 1}}}}",
    )
    result = run("policy", "check", tmp_path / "wide.yaml", "--detector", "tencentcloud")
    assert result.exit_code == 1
    assert "policies.gate: warning: the bounds of yaw, mask refuse no value that detectors give" in result.stderr


def test_policy_check_is_told_the_default_that_serve_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would stop every replica from starting does not pass."""
    write(tmp_path / "one.yaml", STRICT)
    assert run("policy", "check", tmp_path / "one.yaml").exit_code == 0
    monkeypatch.setenv("FACEQUALITY_DEFAULT_POLICY", "kiosk")
    result = run("policy", "check", tmp_path / "one.yaml")
    assert (result.exit_code, "kiosk" in result.output) == (2, True)
    two = tmp_path / "two.yaml"
    write(two, "policies: {kiosk: {extends: enroll}, hall: {extends: loose}}")
    assert run("policy", "show", "--file", two).exit_code == 0
    monkeypatch.setenv("FACEQUALITY_POLICY_FILE", str(two))
    assert "default" in run("policy", "show", "kiosk").output
    assert "default" in run("policy", "show", "hall", "--default", "hall").output
    assert "default" not in run("policy", "show", "kiosk", "--default", "hall").output
    monkeypatch.delenv("FACEQUALITY_POLICY_FILE")
    assert run("policy", "diff", two, two).exit_code == 0
    monkeypatch.delenv("FACEQUALITY_DEFAULT_POLICY")
    assert run("policy", "diff", two, two).exit_code == 2


def test_a_description_is_shown_as_it_is(tmp_path: Path) -> None:
    """Brackets are no markup."""
    write(tmp_path / "hall.yaml", "policies: {hall: {extends: enroll, description: 'At the [hall] door [/x]'}}")
    shown = run("policy", "show", "--file", tmp_path / "hall.yaml")
    assert (shown.exit_code, "At the [hall] door [/x]" in shown.output) == (0, True)


async def test_a_path_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    """As the source of what is served, and in a reload's failure."""
    path = tmp_path / os.fsdecode(b"pol\xff.yaml")
    write(path, STRICT)
    async with gate(path) as served:
        assert (await served.stub.GetPolicy(pb.GetPolicyRequest())).policy.source.endswith("pol\\xff.yaml")
        write(path, BROKEN)
        await until(lambda: served.app.store.last_failure is not None)
        listed = await served.stub.ListPolicies(pb.ListPoliciesRequest())
        assert "pol\\xff.yaml" in listed.last_failed_reload.reason


def test_policy_show_and_diff_read_files(tmp_path: Path) -> None:
    """YAML that loads back; differences with an exit status like diff's."""
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    write(one, STRICT)
    write(other, "policies: {gate: {extends: enroll, bounds: {sharpness: {min: 70}}}, extra: {extends: loose}}\ndefault: gate")
    shown = run("policy", "show", "--file", one, "--format", "yaml")
    assert yaml.safe_load(shown.stdout)["policies"]["gate"]["bounds"]["sharpness"] == {"min": 80}
    assert "faces" in run("policy", "show", "gate", "--file", one).stdout
    result = run("policy", "diff", one, other)
    assert result.exit_code == 1
    assert "loosens" in result.stdout
    assert "extra" in result.stdout
    assert run("policy", "diff", one, one).exit_code == 0
    result = run("policy", "diff", f"{other}:extra", "loose")
    assert (result.exit_code, "is only shown" in result.stdout, "loosens" in result.stdout) == (1, True, False)
    both = "policies: {a: {extends: enroll}, b: {extends: loose}}\n"
    write(one, both + "default: a")
    write(other, both + "default: b")
    result = run("policy", "diff", one, other)
    assert (result.exit_code, "default" in result.stdout) == (1, True)
    assert run("policy", "check", "x" * 300).exit_code == 2
    assert run("policy", "diff", "enroll", "nope").exit_code == 2


def test_a_difference_names_its_measures_in_any_width() -> None:
    """In a pipe there are 80 columns; the parts must be told apart all the same."""
    shown = run("policy", "diff", "normal", "enroll", columns=60).stdout
    assert all(f"completeness.{part} min" in shown for part in ("eyebrow", "cheek", "chin"))


def test_a_difference_shows_its_values_however_long_the_names_are(tmp_path: Path) -> None:
    """A name may have 63 letters."""
    one, other, name = tmp_path / "one.yaml", tmp_path / "other.yaml", "n" * 60
    write(one, f"policies: {{{name}1: {{extends: enroll}}, kept: {{extends: loose}}}}\ndefault: kept")
    write(other, f"policies: {{{name}2: {{extends: enroll}}, kept: {{extends: enroll}}}}\ndefault: {name}2")
    shown = run("policy", "diff", one, other, columns=80).stdout
    assert re.search(r"sharpness min +│ 40 +│ 80 +│ tightens", shown)
    assert all(line in shown for line in (f"{name}1: gone", f"{name}2: new", f"default: kept -> {name}2"))
    shown = run("policy", "diff", f"{one}:{name}1", "strict", columns=80).stdout
    assert re.search(r"sharpness min +│ 80 +│ 85 +│ tightens", shown)


async def test_check_uses_the_policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In process, as the service would."""
    path, photo = tmp_path / "policies.yaml", tmp_path / "photo.png"
    write(path, "policies: {tiny: {faces: largest, bounds: {face_size: {min: 4000}}}}")
    photo.write_bytes(photos.encode(photos.portrait()))
    monkeypatch.setitem(os.environ, "FACEQUALITY_POLICY_FILE", str(path))
    result = await asyncio.to_thread(run, "check", photo, "--json")
    assert result.exit_code == 1
    assert '"policy": "tiny"' in result.stdout
