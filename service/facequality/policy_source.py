"""The files that policies are read from: which, how much of each, and what tells that they have changed."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from facequality import paths
from facequality.yaml_tree import MAX_BYTES

MAX_FILES = 64
"""Of a directory."""

Fingerprint = tuple[tuple[str, bytes], ...]
"""Each file's name and SHA-256."""


def read_bounded(file: Path) -> bytes:
    """Read a file, but no more than one byte over what is taken.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if paths.exists(file) and not paths.is_file(file):
        raise OSError(errno.EINVAL, "not a regular file")
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


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


def fingerprint(path: Path) -> Fingerprint:
    """Digest what a load would read."""
    try:
        files = policy_files(path)
    except OSError:
        return ()
    return tuple((file.name, _digest(file)) for file in files[: MAX_FILES + 1])


def _digest(file: Path) -> bytes:
    try:
        return hashlib.sha256(read_bounded(file)).digest()
    except OSError:
        return b""
