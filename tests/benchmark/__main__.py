"""``python -m tests.benchmark``: measure everything; ``--guard``: the short version that CI runs, ratios against generous bounds."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.benchmark import measurements
from tests.benchmark.report import Report, machine, markdown, targets
from tests.benchmark.yardsticks import STEPS

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
START, END = "<!-- results -->\n", "<!-- /results -->"
GUARD = 2.0
"""How many times the ratio in results.json CI allows: it catches a doubling, not a noisy neighbour."""
PARTS = ("cpu", "plain", "steps", "repeated", "latency", "memory", "stalled", "pool", "beside", "growth")


async def measure(parts: list[str], rounds: int, sizes: list[str]) -> Report:
    """Run the measurements one after another."""
    report: Report = {"machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        runs = {
            "cpu": lambda: measurements.cpu(directory, sizes, rounds, subjects=("sdk", "gate", "unsigned", "echo", "naive")),
            "plain": lambda: measurements.cpu(directory, sizes, rounds, subjects=("gate", "echo", "naive"), tls=False),
            "steps": lambda: measurements.cpu(
                directory, list(dict.fromkeys((sizes[0], sizes[-1]))), rounds, subjects=("sdk", "echo", *STEPS, "gate")
            ),
            "repeated": lambda: measurements.repeated(directory, sizes),
            "latency": lambda: measurements.latency(directory, sizes, rounds),
            "memory": lambda: measurements.memory(directory),
            "stalled": lambda: measurements.stalled(directory),
            "pool": lambda: measurements.pool(directory, 64 * 64),
            "beside": lambda: measurements.beside(directory, {4: 150, 16: 50}),
            "growth": lambda: measurements.growth(directory, sizes, (1, 4, 16, 64, 256)),
        }
        for part in parts:
            sys.stderr.write(f"{part} ...\n")
            report[part] = await runs[part]()
    return report


async def guard() -> int:
    """Return 1 if a ratio is twice as bad as the recorded one."""
    recorded = {target.text: target.measured for target in targets(json.loads(RESULTS.read_text(encoding="utf-8")))}
    with tempfile.TemporaryDirectory() as name:
        found = await measurements.cpu(Path(name), ["20 KB", "1 MB"], 3, subjects=("sdk", "gate", "echo"))
    worse = 0
    for target in targets({"cpu": found}):
        before = recorded[target.text]
        bad = target.measured > GUARD * before
        worse += bad
        verdict = "WORSE" if bad else "fine "
        sys.stdout.write(f"{verdict} {target.text}: {target.measured:.2f} (recorded {before:.2f}, guard x{GUARD:g})\n")
    return int(worse > 0)


def main(
    short: Annotated[bool, typer.Option("--guard", help="The short version: exit status 1 on a doubling.")] = False,  # noqa: FBT002
    part: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(PARTS)}.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="Only these sizes.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Rounds of each comparison.")] = 5,
    write: Annotated[bool, typer.Option("--write", help="Write results.json and the table in the README.")] = False,  # noqa: FBT002
) -> None:
    """Measure the gate against the vendor's SDK, a bare echo and a naive gate; every number is from this machine and this run."""
    if short:
        raise typer.Exit(asyncio.run(guard()))
    report = asyncio.run(measure(part or list(PARTS), rounds, size or list(measurements.SIZES)))
    text = markdown(report)
    sys.stdout.write(text)
    if write:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        readme = HERE / "README.md"
        head, _, rest = readme.read_text(encoding="utf-8").partition(START)
        readme.write_text(f"{head}{START}{text}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
