"""What a path stands for. A name that is too long, say, stands for nothing; pathlib raises for it until Python 3.14."""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: Path | str) -> bool:
    """Tell whether there is something."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Tell whether it is a regular file, links followed."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Tell whether it is a directory, links followed."""
    return os.path.isdir(path)  # noqa: PTH112
