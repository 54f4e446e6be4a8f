"""The files that policies are read from: which, how much of each, and what tells that they have changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from facequality import paths
from facequality.yaml_tree import MAX_BYTES

MAX_FILES = 64
"""Of a directory."""

Fingerprint = tuple[tuple[str, bytes], ...]
"""Each file's name and SHA-256; empty for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was read."""

    path: Path
    content: bytes
    """No more than one byte over what is taken."""
    error: str | None = None
    """Why it could not be read."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a path's policy files held when they were read."""

    path: Path
    files: tuple[SourceFile, ...]
    """No more than one over what is taken."""
    error: str | None = None
    """Why the directory could not be read."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What differs once a file has."""
        return tuple((file.path.name, b"" if file.error else hashlib.sha256(file.content).digest()) for file in self.files)


def take(path: Path) -> Snapshot:
    """Read a file, or a directory's policy files; what cannot be read is noted."""
    try:
        files = policy_files(path)
    except OSError as error:
        return Snapshot(path, (), f"cannot be read: {error.strerror}")
    return Snapshot(path, tuple(_read(file) for file in files[: MAX_FILES + 1]))


def policy_files(path: Path) -> list[Path]:
    """Return the files that a path stands for: itself, or a directory's ``*.yaml`` and ``*.yml``, but hidden ones, sorted.

    Raises:
        OSError: the directory cannot be read.
    """
    if not paths.is_folder(path):
        return [path]
    found = (file for file in path.iterdir() if file.suffix in {".yaml", ".yml"} and not paths.is_folder(file))
    # Editors keep locks and backups beside a file.
    return sorted(file for file in found if not file.name.startswith("."))


def _read(file: Path) -> SourceFile:
    if paths.exists(file) and not paths.is_file(file):
        return SourceFile(file, b"", "cannot be read: not a regular file")
    try:
        with file.open("rb") as stream:
            return SourceFile(file, stream.read(MAX_BYTES + 1))
    except OSError as error:
        return SourceFile(file, b"", f"cannot be read: {error.strerror}")
