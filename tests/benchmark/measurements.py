"""What is measured: always side by side, in turns, as the median of the rounds' ratios."""

from __future__ import annotations

import asyncio
import functools
import statistics
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.benchmark.processes import LIGHT_CALLER, Process, Subject, Vendor, direct, gate, module, vendor, yardstick
from tests.benchmark.yardsticks import STEPS

SIZES = {"20 KB": 20_000, "200 KB": 200_000, "1 MB": 1_000_000, "3.7 MB": 3_700_000}
CALLS = {"20 KB": 960, "200 KB": 480, "1 MB": 240, "3.7 MB": 120}
"""Calls of a round: each takes a second or more, so that making its connections does not count."""
UNSIGNED = {"FACEQUALITY_TENCENTCLOUD_UNSIGNED_PAYLOAD": "true"}
Report = dict[str, Any]


async def cpu(directory: Path, sizes: list[str], rounds: int, *, subjects: tuple[str, ...], tls: bool = True) -> Report:
    """CPU per check, ms, and throughput: a vendor that answers at once, 8 in progress on two connections."""
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.0, tls=tls))
        makers: dict[str, Callable[[], Any]] = {
            "sdk": lambda: direct("sdk", endpoint),
            "gate": lambda: gate(endpoint),
            "unsigned": lambda: gate(endpoint, **UNSIGNED),
            "echo": lambda: yardstick("echo", endpoint),
            "naive": lambda: yardstick("naive", endpoint),
            **{step: functools.partial(yardstick, step, endpoint) for step in STEPS},
        }
        running = {name: await stack.enter_async_context(makers[name]()) for name in subjects}
        report: Report = {}
        for size in sizes:
            order = {"calls": CALLS[size], "concurrent": 8, "size": SIZES[size]}
            for subject in running.values():
                await subject.run(**order)
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
            for number in range(rounds):
                names = list(running)
                for name in names if number % 2 else reversed(names):
                    before = (await endpoint.counts())["requests"]
                    result = await running[name].run(**order)
                    reached = (await endpoint.counts())["requests"] - before
                    assert (result["failed"], reached) == (0, 0 if name == "echo" else order["calls"]), (
                        name,
                        size,
                        result["failed"],
                    )
                    found[name].append(result)
            report[size] = {
                name: {
                    "cpu_ms": statistics.median(1000 * each["cpu"] / CALLS[size] for each in results),
                    "calls_per_second": statistics.median(each["rate"] for each in results),
                    "p50_ms": statistics.median(_percentile(each["seconds"], 50) for each in results),
                    "p99_ms": statistics.median(_percentile(each["seconds"], 99) for each in results),
                    "to": {other: _ratio(results, found[other]) for other in ("sdk", "echo", "naive") if other in found},
                }
                for name, results in found.items()
            }
        return report


async def latency(directory: Path, sizes: list[str], rounds: int) -> Report:
    """What a call takes more than the bare POST, ms, at the median: one caller, a vendor that takes 50 ms."""
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.05))
        running = {
            "bare": await stack.enter_async_context(direct("bare", endpoint)),
            "sdk": await stack.enter_async_context(direct("sdk", endpoint)),
            "gate": await stack.enter_async_context(gate(endpoint, LIGHT_CALLER)),
        }
        report: Report = {}
        for size in sizes:
            order = {"calls": 20, "concurrent": 1, "size": SIZES[size]}
            for subject in running.values():
                await subject.run(**order | {"calls": 3})
            found: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(rounds):
                for name, subject in running.items():
                    found[name] += (await subject.run(**order))["seconds"]
            base = _percentile(found["bare"], 50)
            added = {name: _percentile(found[name], 50) - base for name in ("sdk", "gate")}
            tails = {name: _percentile(found[name], 99) - base for name in ("sdk", "gate")}
            report[size] = {"added_p50_ms": added, "added_p99_ms": tails, "ratio": added["gate"] / added["sdk"]}
        return report


async def memory(directory: Path, *, bursts: int = 2, in_flight: int = 64) -> Report:
    """Peak above idle per image byte in flight, and what stays after each burst: 3.7 MB, a vendor that takes 2 s."""
    report: Report = {}
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 2.0))
        for name, making in _gates(endpoint):
            async with making as subject:
                await subject.run(calls=8, concurrent=8, size=SIZES["20 KB"])
                idle, after = subject.process.resident, []
                subject.process.reset_peak()
                for _ in range(bursts):
                    result = await subject.run(calls=in_flight, concurrent=in_flight, size=SIZES["3.7 MB"])
                    await asyncio.sleep(1)
                    after.append(subject.process.resident)
                report[name] = {
                    "peak_per_byte": (subject.process.peak - idle) / (in_flight * SIZES["3.7 MB"]),
                    "idle_mb": idle / 1e6,
                    "after_burst_mb": [each / 1e6 for each in after],
                    "growth": after[-1] / after[0],
                    "failed": result["failed"],
                }
    return report


async def stalled(directory: Path, *, callers: int = 140) -> Report:
    """Most memory of a gate whose vendor stops reading, MB: 3.7 MB, more callers than it takes, each with a connection of its own."""
    report: Report = {}
    async with AsyncExitStack() as stack:
        for name, tls in (("TLS", True), ("plain HTTP", False)):
            endpoint = await stack.enter_async_context(vendor(directory, 0.0, tls=tls, stall=True))
            async with gate(endpoint, LIGHT_CALLER) as subject:
                calling = asyncio.ensure_future(subject.run(calls=2 * callers, concurrent=callers, size=SIZES["3.7 MB"]))
                sockets = 0
                while not calling.done():
                    sockets = max(sockets, subject.process.in_sockets)
                    await asyncio.sleep(0.2)
                calling.result()
                report[name] = {"resident_mb": subject.process.peak / 1e6, "in_sockets_mb": sockets / 1e6}
    return report


async def pool(directory: Path, calls: int) -> Report:
    """New connections per 1,000 checks and throughput of the ideal: 64 in progress, a vendor that takes 50 ms, 20 KB."""
    report: Report = {}
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.05))
        for name, making in _gates(endpoint, LIGHT_CALLER):
            async with making as subject:
                await subject.run(calls=1280, concurrent=64, size=SIZES["20 KB"])
                before = await endpoint.counts()
                result = await subject.run(calls=calls, concurrent=64, size=SIZES["20 KB"])
                after = await endpoint.counts()
                assert after["requests"] - before["requests"] == calls, name
                new = after["connections"] - before["connections"]
                report[name] = {
                    "new_connections_per_1000": 1000 * new / calls,
                    "of_ideal": result["rate"] / (64 / 0.05),
                    "p50_ms": _percentile(result["seconds"], 50),
                    "p99_ms": _percentile(result["seconds"], 99),
                    "failed": result["failed"],
                }
    return report


async def repeated(directory: Path, sizes: list[str]) -> Report:
    """The same photo again and again, 8 in progress, a vendor that takes 50 ms: what sharing one call saves; then with the cache too."""
    report: Report = {}
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.05))
        for name, settings in (("shared", {}), ("cached", {"FACEQUALITY_CACHE_SECONDS": "60"})):
            async with gate(endpoint, **settings) as subject:
                for size in sizes:
                    order = {"calls": CALLS[size], "concurrent": 8, "size": SIZES[size], "same": True}
                    before = (await endpoint.counts())["requests"]
                    result = await subject.run(**order)
                    asked = (await endpoint.counts())["requests"] - before
                    report[f"{name}, {size}"] = {
                        "cpu_ms": 1000 * result["cpu"] / CALLS[size],
                        "vendor_calls_per_check": asked / CALLS[size],
                        "p50_ms": _percentile(result["seconds"], 50),
                    }
    return report


async def beside(directory: Path, calls: dict[int, int]) -> Report:
    """p99 of 20 KB checks while so many of 3.7 MB are in progress, ms; a vendor that takes 50 ms.

    ``calls``: how many small checks are measured, by the number of large ones.
    """
    report: Report = {}
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.05))
        for large, small in calls.items():
            for name, making in _gates(endpoint, LIGHT_CALLER):
                async with making as subject, module("callers", LIGHT_CALLER, subject.port) as other:
                    report[f"{name}, {large}"] = await _small_beside(endpoint, subject, other, small=small, large=large)
    return report


async def _small_beside(endpoint: Vendor, subject: Subject, other: Process, *, small: int, large: int) -> Report:
    await subject.caller.order(calls=10, concurrent=1, size=SIZES["20 KB"])
    before = (await endpoint.counts())["requests"]
    enough = asyncio.Event()
    loading = asyncio.ensure_future(_keep(other, enough, calls=20 * large, concurrent=large, size=SIZES["3.7 MB"]))
    await asyncio.sleep(1)
    result = await subject.caller.order(calls=small, concurrent=1, size=SIZES["20 KB"])
    enough.set()
    expected = small + await loading
    assert (await endpoint.counts())["requests"] - before == expected, large
    return {"p50_ms": _percentile(result["seconds"], 50), "p99_ms": _percentile(result["seconds"], 99)}


async def growth(directory: Path, sizes: list[str], concurrencies: tuple[int, ...]) -> Report:
    """Checks per second of a gate on one core, by what is in progress and by size; a vendor that takes 50 ms."""
    report: Report = {}
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(vendor(directory, 0.05))
        settings = {
            "FACEQUALITY_TENCENTCLOUD_CONNECTIONS": "256",
            "FACEQUALITY_MAX_QUEUED": "256",
            "FACEQUALITY_MAX_IN_FLIGHT_MIB": "1024",
        }
        subject = await stack.enter_async_context(gate(endpoint, **settings))
        subject.process.pin(0)
        for size in sizes:
            report[size] = {}
            for concurrent in concurrencies:
                # As long as the vendor alone would take for eight rounds, but no longer than three rounds of the others.
                calls = max(concurrent, min(8 * concurrent, 3 * CALLS[size]))
                result = await subject.run(calls=calls, concurrent=concurrent, size=SIZES[size])
                report[size][str(concurrent)] = {
                    "calls_per_second": result["rate"] * (1 - result["failed"] / calls),
                    "cpu_ms": 1000 * result["cpu"] / calls,
                    "p50_ms": _percentile(result["seconds"], 50),
                    "p99_ms": _percentile(result["seconds"], 99),
                    "failed": result["failed"],
                }
    return report


def _gates(endpoint: Vendor, caller: str = "grpc") -> Iterator[tuple[str, Any]]:
    """The gate and the naive one, one after the other: each has the machine to itself."""
    yield "gate", gate(endpoint, caller)
    yield "naive", yardstick("naive", endpoint, caller)


async def _keep(caller: Process, enough: asyncio.Event, **order: Any) -> int:
    calls = 0
    while not enough.is_set():
        await caller.order(**order)
        calls += order["calls"]
    return calls


def _ratio(these: list[dict[str, Any]], those: list[dict[str, Any]]) -> float:
    ratio: float = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(these, those, strict=True))
    return ratio


def _percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds."""
    if len(seconds) < 2:
        return 1000 * seconds[0]
    cuts: list[float] = statistics.quantiles(seconds, n=100, method="inclusive")
    return 1000 * cuts[percent - 1]
