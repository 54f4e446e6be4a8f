"""Measurements as one table: every target beside what was measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

Report = dict[str, Any]
SIZES = ("20 KB", "200 KB", "1 MB", "3.7 MB")


@dataclass(frozen=True)
class Target:
    """A bound on a ratio."""

    text: str
    bound: float
    measured: float
    least: bool = False
    """Whether the bound is a lower one."""

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.bound if self.least else self.measured <= self.bound


CPU_BOUNDS: tuple[tuple[str, str, str, tuple[float, ...]], ...] = (
    ("gate CPU ÷ official SDK's direct call", "gate", "sdk", (0.60, 0.42, 0.34, 0.32)),
    ("the same with UNSIGNED-PAYLOAD", "unsigned", "sdk", (0.60, 0.37, 0.25, 0.23)),
    ("gate CPU ÷ bare gRPC echo", "gate", "echo", (3.8, 4.0, 4.3, 3.8)),
)
LATENCY_BOUNDS = (1.2, 0.8, 0.4, 0.3)


def targets(report: Report) -> list[Target]:
    """Hold what was measured against the targets."""
    found = []
    for text, subject, other, bounds in CPU_BOUNDS:
        for size, bound in zip(SIZES, bounds, strict=True):
            measured = report.get("cpu", {}).get(size, {}).get(subject, {}).get("to", {}).get(other)
            if measured is not None:
                found.append(Target(f"{text}, {size}", bound, measured))
    for size, bound in zip(SIZES, LATENCY_BOUNDS, strict=True):
        if size in report.get("latency", {}):
            found.append(
                Target(f"latency added at p50, gate ÷ SDK, 50 ms, 1 caller, {size}", bound, report["latency"][size]["ratio"])
            )
    if "memory" in report:
        gate = report["memory"]["gate"]
        found.append(Target("peak memory above idle per image byte, 64 x 3.7 MB in flight", 2.5, gate["peak_per_byte"]))
        found.append(Target("memory after the second burst ÷ after the first", 1.2, gate["growth"]))
    if "pool" in report:
        gate = report["pool"]["gate"]
        found.append(Target("new connections per 1,000 checks, 64 in flight", 5, gate["new_connections_per_1000"]))
        found.append(Target("throughput ÷ ideal, 64 in flight, 50 ms, 20 KB", 0.80, gate["of_ideal"], least=True))
    if "beside" in report:
        found.append(Target("p99 of a 20 KB check beside four of 3.7 MB, 50 ms, ms", 75, report["beside"]["gate, 4"]["p99_ms"]))
    return found


def machine() -> dict[str, str]:
    """Describe where this ran."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ("grpcio", "httpx", "httpx-aiohttp", "aiohttp", "uvloop", "orjson", "pybase64", "tencentcloud-sdk-python-common")
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def markdown(report: Report) -> str:
    """Render everything."""
    lines = ["| target | at most | measured | |", "|---|---|---|---|"]
    for target in targets(report):
        bound = f"≥ {target.bound:g}" if target.least else f"{target.bound:g}"
        lines.append(f"| {target.text} | {bound} | {target.measured:.3g} | {'met' if target.met else '**missed**'} |")
    for part, title in (("cpu", "TLS"), ("plain", "Plain HTTP")):
        if part in report:
            lines += _cpu_table(report[part], f"{title}, a vendor that answers at once, 8 in progress")
    if "steps" in report:
        lines += _steps_table(report["steps"])
    for name, title in (
        ("repeated", "The same photo again and again, 8 in progress, a vendor that takes 50 ms:"),
        ("memory", "64 x 3.7 MB in flight, a vendor that takes 2 s:"),
        ("stalled", "140 callers with 3.7 MB each, a vendor that stops reading, 256 MiB taken (the default); the most memory:"),
        ("pool", "64 in progress, 20 KB, a vendor that takes 50 ms:"),
        ("beside", "A 20 KB check beside so many of 3.7 MB, a vendor that takes 50 ms:"),
    ):
        if name in report:
            measures = list(next(iter(report[name].values())))
            lines += ["", title, "", "| | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
            lines += [
                f"| {kind} | " + " | ".join(_number(found[each]) for each in measures) + " |"
                for kind, found in report[name].items()
            ]
    if "growth" in report:
        concurrencies = list(next(iter(report["growth"].values())))
        lines += [
            "",
            "Growth: one core for the gate, a vendor that takes 50 ms: checks per second by checks in progress (p99, ms):",
            "",
        ]
        lines += ["| | " + " | ".join(concurrencies) + " | CPU per check, ms |", "|---" * (len(concurrencies) + 2) + "|"]
        for size, found in report["growth"].items():
            cells = [f"{found[each]['calls_per_second']:.0f} ({found[each]['p99_ms']:.0f})" for each in concurrencies]
            busiest = min(each["cpu_ms"] for each in found.values())
            lines.append(f"| {size} | " + " | ".join(cells) + f" | {busiest:.2f} |")
    lines += ["", *(f"{name}: {value}  " for name, value in report["machine"].items())]
    return "\n".join(lines) + "\n"


def _cpu_table(report: Report, title: str) -> list[str]:
    subjects = list(next(iter(report.values())))
    lines = ["", f"{title}: CPU per check, ms (checks per second; p50 / p99, ms):", ""]
    lines += ["| | " + " | ".join(subjects) + " |", "|---" * (len(subjects) + 1) + "|"]
    for size, by_subject in report.items():
        cells = [
            f"{each['cpu_ms']:.2f} ({each['calls_per_second']:.0f}; {each['p50_ms']:.0f} / {each['p99_ms']:.0f})"
            for each in by_subject.values()
        ]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return lines


def _steps_table(report: Report) -> list[str]:
    texts = {
        "echo": "gRPC: the bare echo",
        "exchange": "an HTTP exchange without the photo, by httpx over aiohttp and TLS",
        "photo": "the photo in it: base64, SHA-256, signature, TLS; the vendor's answer read",
        "verdict": "the photo's header and the policy",
        "response": "the response with every finding",
        "gate": "what keeps a gate alive and watched: deadlines, limits, sharing, retries, breaker, metrics, logs",
    }
    lines = ["", "From the echo to the gate, each with what stands above it: CPU as a share of the SDK's direct call (ms):", ""]
    lines += ["| | " + " | ".join(report) + " |", "|---" * (len(report) + 1) + "|"]
    for step, text in texts.items():
        cells = [f"{found[step]['to']['sdk']:.2f} ({found[step]['cpu_ms']:.2f})" for found in report.values()]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    return lines


def _number(value: Any) -> str:
    return ", ".join(map(_number, value)) if isinstance(value, list) else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
