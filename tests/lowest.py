"""Prints constraints for pip: the oldest versions that pyproject.toml takes, and the tests' own tools as they are pinned.

Written for `make test-lowest`: a lower bound that nobody tries is a guess.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def constraints(tools: list[str]) -> list[str]:
    """Return a line for each dependency, extras included, and for each tool."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = [
        re.sub(r">=([^,]+).*", r"==\1", requirement)
        for requirement in project["dependencies"] + project["optional-dependencies"]["embedded"]
    ]
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    return lowest + re.findall(rf"^(?:{'|'.join(map(re.escape, tools))})==\S+", pins, re.MULTILINE)


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))  # noqa: T201 - for pip
