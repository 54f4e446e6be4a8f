"""The wheel, the weights and the pins."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from facequality.detectors.embedded import weights

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    target = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", target, ROOT], check=True, capture_output=True)
    (built,) = target.glob("face_quality_gate-*.whl")
    return built


def test_the_wheel_holds_the_weights_with_their_notices_and_no_training(wheel: Path) -> None:
    """What runs needs no network."""
    names = zipfile.ZipFile(wheel).namelist()
    for artifact in weights.read_manifest():
        assert f"facequality/detectors/embedded/weights/{artifact.name}" in names
        assert f"facequality/detectors/embedded/weights/{artifact.notice_name}" in names
    assert "facequality/guidance.toml" in names
    assert "facequality/py.typed" in names
    assert "facequality/detectors/embedded/heads/visibility.npz" in names
    assert not [name for name in names if "/training/" in name or name.startswith("tests/")]


def test_the_sdist_builds_the_same_wheel_without_an_index(wheel: Path, tmp_path: Path) -> None:
    """And holds what `make` needs."""
    build = "import sys; from hatchling.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    for name in (
        "Makefile",
        "requirements-dev.in",
        "requirements-build.in",
        ".dockerignore",
        "deploy/Dockerfile",
        "tests/lowest.py",
    ):
        assert (source / name).is_file(), name
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "-w", tmp_path, source], env=os.environ | {"PIP_NO_INDEX": "1"}, check=True)
    (built,) = tmp_path.glob("*.whl")
    assert built.read_bytes() == wheel.read_bytes()


def test_the_stub_is_typed(wheel: Path, tmp_path: Path) -> None:
    """For whoever installs the wheel: README's example passes strict mypy, and a misspelt field does not."""
    (example,) = re.findall(r"```python\n(import grpc.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = tmp_path / "code.py"
    for text, status in ((example, 0), (example.replace("answer.policy_revision", "answer.revision"), 1)):
        code.write_text(text, encoding="utf-8")
        mypy: list[str | Path] = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file",
            os.devnull,
            "--cache-dir",
            os.devnull,
            code,
        ]
        environ = os.environ | {"MYPYPATH": str(tmp_path / "site")}
        done = subprocess.run(mypy, cwd=tmp_path, env=environ, check=False, capture_output=True, text=True)
        # Of what is installed mypy reports nothing; this is only unpacked.
        mistakes = [line for line in done.stdout.splitlines() if line.startswith(code.name)]
        assert len(mistakes) == status, done.stdout


def test_a_proxy_only_installation_has_no_opencv_and_says_how_to_get_it(wheel: Path, tmp_path: Path) -> None:
    """The embedded detector names the pip command."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pins = ROOT / "requirements.txt"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "-r", pins], check=True, capture_output=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True, capture_output=True)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    gate = environment / "bin" / "face-quality-gate"
    done = subprocess.run([gate, "check", photo], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "install face-quality-gate with its extra [embedded]" in done.stderr
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "opencv" not in listed
    assert "numpy" not in listed
    subprocess.run([python, "-m", "pip", "check"], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-embedded.txt", "requirements-dev.txt"])
def test_pins_have_hashes_and_name_no_index(name: str) -> None:
    """Whatever index a machine is set up for serves them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9._-]+)==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE)) > 10
    assert "://" not in text
    assert "index" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)


def test_every_dependency_is_pinned() -> None:
    """The pins were made of this pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / "requirements-embedded.txt").read_text(encoding="utf-8")
    for requirement in project["dependencies"] + project["optional-dependencies"]["embedded"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}==", pins, re.MULTILINE), name


def test_damaged_weights_are_noticed_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading refuses them and names the command; fetching replaces them alone."""
    shutil.copytree(weights.DIRECTORY, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(weights, "DIRECTORY", tmp_path)
    geometry = tmp_path / "face_geometry.binarypb"
    sound = geometry.read_bytes()
    geometry.write_bytes(sound[:-1])
    with pytest.raises(weights.WeightsError, match=r"python -m facequality\.detectors\.embedded\.weights"):
        weights.load("face_geometry.binarypb")
    assert weights.fetch(weights.read_manifest(), tmp_path) == ["face_geometry.binarypb"]
    assert weights.load("face_geometry.binarypb") == sound


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    """Of the archive by pip, of the member by us; nothing is kept."""
    sound = next(artifact for artifact in weights.read_manifest() if artifact.name == "face_geometry.binarypb")
    for wrong in (
        dataclasses.replace(sound, archive_sha256="0" * 64),
        dataclasses.replace(sound, sha256="0" * 64),
    ):
        with pytest.raises(weights.WeightsError):
            weights.fetch((wrong,), tmp_path)
        assert not (tmp_path / sound.name).exists()


def test_generated_code_is_what_the_contract_gives() -> None:
    """The drift check."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "-o", "setup", "proto-check"], cwd=ROOT, env=environ, check=False, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
