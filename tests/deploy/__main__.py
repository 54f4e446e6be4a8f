"""``python -m tests.deploy``: every step; or only those named."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from tests.deploy import clients, image, live, static
from tests.deploy.tools import WORK, Failed, say

STEPS: dict[str, Callable[[], None]] = {
    "manifests": static.manifests,
    "lint": static.lint,
    "rules": static.rules,
    "dashboard": static.dashboard,
    "build": image.build,
    "run": image.runs,
    "pods": image.pods,
    "live": live.balanced,
    "clients": clients.every,
}


def main(steps: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(STEPS)}; none: all.")] = None) -> None:
    """Verify what is under deploy/ with the real tools."""
    WORK.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in steps or STEPS:
        started = time.monotonic()
        say(name)
        try:
            STEPS[name]()
        except Failed as error:
            failed += 1
            say(f"  FAILED: {error}")
        say(f"  {time.monotonic() - started:.0f} s")
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    typer.run(main)
