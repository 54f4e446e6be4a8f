"""What the steps share: where things are, and how a tool is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
WORK = ROOT / ".cache" / "deploy"
"""What the steps write; git ignores it."""
OVERLAYS = ("development", "production")


class Failed(Exception):
    """A step found something wrong."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(*command: str | Path, **more: Any) -> str:
    """Run a tool; its output on success.

    Raises:
        Failed: it ended with another status than 0; with all that it said.
    """
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    output: str = done.stdout
    return output


def tool(name: str) -> str:
    """Find a tool that `make verify-deploy` has put into an environment of its own."""
    for folder in ("tools", "checkov"):
        path = WORK / folder / "bin" / name
        if path.exists():
            return str(path)
    raise Failed(f"{name} is missing: make verify-deploy installs it")


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for something to become true; it is returned.

    Raises:
        Failed: it does not within the time.
    """
    end = monotonic() + seconds
    while monotonic() < end:
        if found := condition():
            return found
        sleep(0.2)
    raise Failed(f"not within {seconds:g} s: {what}")


@contextmanager
def background(*command: str | Path, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for as long as the block lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen([str(each) for each in command], stdout=output, stderr=output, env=os.environ | environ)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
