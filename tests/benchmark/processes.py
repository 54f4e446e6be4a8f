"""Processes under test and beside it: start, order, measure. Only processes started here are ever ended, by their pid."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trustme
from facequality.testing import SECRET_ID, SECRET_KEY

LINE_LIMIT = 1 << 24
LIGHT_CALLER = "h2load" if shutil.which("h2load") else "grpc"
"""Whichever takes less of the machine from what is measured."""
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "33554432"}
"""What the image sets: glibc keeps up to 32 MiB of freed pages at hand, in one arena for all threads."""
COMMAND = str(Path(sys.executable).parent / "face-quality-gate")


@dataclass(frozen=True)
class Process:
    """A running process."""

    process: asyncio.subprocess.Process

    @property
    def cpu(self) -> float:
        """CPU of all its threads so far, user and system, s: the kernel's clock of that process."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def resident(self) -> int:
        """Memory, bytes."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """Most memory since the last reset, bytes."""
        return self._status("VmHWM")

    @property
    def in_sockets(self) -> int:
        """Bytes that wait in its sockets, sent but not taken or come but not read: a container's memory too."""
        links: list[str] = []
        for each in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed just now
                links.append(str(each.readlink()))
        own = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}
        rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
        return sum(int(part, 16) for row in rows if row[9] in own for part in row[4].split(":"))

    def reset_peak(self) -> None:
        """Begin a new peak."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def pin(self, core: int) -> None:
        """Leave it one core."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})

    async def line(self) -> str:
        """Read its next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"process {self.process.pid} ended with {await self.process.wait()}")
        return line.decode().strip()

    async def order(self, **order: Any) -> dict[str, Any]:
        """Have it make calls."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        result: dict[str, Any] = json.loads(await self.line())
        return result

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise RuntimeError(name)


@asynccontextmanager
async def started(*command: str, **environ: str) -> AsyncIterator[Process]:
    """Run a command until the end of the block."""
    pipe = asyncio.subprocess.PIPE
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FACEQUALITY_", "MALLOC_"))} | environ
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environ, limit=LINE_LIMIT)
    try:
        yield Process(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def module(name: str, *arguments: str, **environ: str) -> Any:
    """Run one of this package's modules."""
    return started(sys.executable, "-m", f"tests.benchmark.{name}", *arguments, **environ)


@dataclass(frozen=True)
class Vendor:
    """The fake vendor."""

    endpoint: str
    """Base URL."""
    ca_file: str

    @property
    def host(self) -> str:
        """``host:port``."""
        return self.endpoint.partition("://")[2]

    async def counts(self) -> dict[str, int]:
        """Connections and requests so far."""
        async with httpx.AsyncClient(verify=self.ca_file, trust_env=False) as client:
            found: dict[str, int] = (await client.get(self.endpoint)).json()
            return found


@asynccontextmanager
async def vendor(directory: Path, delay: float, *, tls: bool = True, stall: bool = False) -> AsyncIterator[Vendor]:
    """Run a fake vendor."""
    certificate, ca_file = directory / "server.pem", directory / "ca.pem"
    if not ca_file.exists():
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(ca_file))
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    arguments = ["--delay", str(delay), *(["--certificate", str(certificate)] if tls else []), *(["--stall"] if stall else [])]
    async with module("upstream", *arguments) as process:
        yield Vendor(f"{'https' if tls else 'http'}://localhost:{await process.line()}", str(ca_file))


@dataclass(frozen=True)
class Subject:
    """What is measured, and what makes it work."""

    process: Process
    caller: Process
    port: str = ""
    """Where it listens, if it does."""

    async def run(self, **order: Any) -> dict[str, Any]:
        """Make calls; the result also has the CPU that the subject took, s."""
        before = self.process.cpu
        result = await self.caller.order(**order)
        return result | {"cpu": self.process.cpu - before}


@asynccontextmanager
async def gate(endpoint: Vendor, caller: str = "grpc", **settings: str) -> AsyncIterator[Subject]:
    """The gate as it ships: every safety on, the log written to a file."""
    environ = {
        "FACEQUALITY_DETECTOR": "tencentcloud",
        "FACEQUALITY_GRPC_ADDRESS": "127.0.0.1:0",
        "FACEQUALITY_METRICS_ADDRESS": "127.0.0.1:0",
        "FACEQUALITY_TENCENTCLOUD_ENDPOINT": endpoint.endpoint,
        "FACEQUALITY_TENCENTCLOUD_CA_FILE": endpoint.ca_file,
        "TENCENTCLOUD_SECRET_ID": SECRET_ID,
        "TENCENTCLOUD_SECRET_KEY": SECRET_KEY,
    }
    log = Path(endpoint.ca_file).parent / f"gate-{time.monotonic_ns()}.log"
    command = f"exec {COMMAND} serve 2>{log}"
    async with started("/bin/sh", "-c", command, **(ALLOCATOR | environ | settings)) as process:
        port = await _port(log)
        async with module("callers", caller, port) as calling:
            yield Subject(process, calling, port)


async def _port(log: Path) -> str:
    async with asyncio.timeout(30):
        while True:
            for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
                record = json.loads(line)
                if record["event"] == "server.started":
                    return str(record["grpc_port"])
            await asyncio.sleep(0.05)


@asynccontextmanager
async def yardstick(kind: str, endpoint: Vendor, caller: str = "grpc") -> AsyncIterator[Subject]:
    """The bare echo, the naive gate, or a part of the gate."""
    allocator = {} if kind == "naive" else ALLOCATOR
    async with module("yardsticks", kind, endpoint.endpoint, endpoint.ca_file, **allocator) as process:
        port = await process.line()
        async with module("callers", caller, port) as calling:
            yield Subject(process, calling, port)


@asynccontextmanager
async def direct(kind: str, endpoint: Vendor) -> AsyncIterator[Subject]:
    """A process that calls the vendor itself: it is measured, and it makes the calls."""
    async with module("callers", kind, endpoint.host, endpoint.ca_file) as process:
        yield Subject(process, process)
