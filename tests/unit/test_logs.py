"""Where log lines go."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

from facequality.logs import Sink

LINE = b"x" * 1023 + b"\n"


def test_a_reader_that_hangs_costs_lines_and_little_time() -> None:
    """They are counted; once it reads again, so does what is written."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        sink = Sink(writer)
        started = time.perf_counter()
        written = sum(sink.write(LINE) for _ in range(200))
        assert time.perf_counter() - started < 2
        assert sink.lost == 200 - written // len(LINE) > 0
        lost = sink.lost
        assert reader.read(1 << 20) == LINE * (200 - lost)
        assert sink.write(LINE) == len(LINE)
        assert sink.lost == lost


def test_a_reader_that_is_too_slow_does_not_set_the_pace() -> None:
    """Each line that finds room after a wait would give the next one leave to wait as long, without a line lost."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        ended = threading.Event()

        def read() -> None:
            while not ended.wait(0.05):
                reader.read(4096)

        slow = threading.Thread(target=read)
        slow.start()
        sink, waited, written = Sink(writer), 0.0, 0
        end = time.perf_counter() + 2
        while (started := time.perf_counter()) < end:
            written += sink.write(LINE) > 0
            waited += time.perf_counter() - started
            time.sleep(0.001)
        ended.set()
        slow.join()
    assert waited < 1
    assert sink.lost > 0
    assert written > 64 + 20, "what is read goes on being written"


def test_a_library_that_logs_waits_for_nobody_either() -> None:
    """A hanging reader of standard error must not hold up the event loop through asyncio's own lines."""
    child = """
import logging, structlog, threading
from facequality import logs
logs.configure("info")
def burst():
    for _ in range(300):
        logging.getLogger("asyncio").error("Task exception was never retrieved %s", 500 * "z")
        structlog.get_logger().info("rpc.handled", pad=500 * "y")
threads = [threading.Thread(target=burst) for _ in range(2)]
for each in threads: each.start()
for each in threads: each.join()
print(logs.sink.lost)
"""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        with os.fdopen(writing, "wb") as writer:
            done = subprocess.run([sys.executable, "-c", child], stderr=writer, stdout=subprocess.PIPE, timeout=30, check=True)
        lines = [json.loads(line) for line in reader.read().splitlines()]
    assert {line["event"][:11] for line in lines} == {"Task except", "rpc.handled"}
    assert len(lines) + int(done.stdout) == 1200


def test_a_line_within_a_line_is_lost_and_nothing_waits_for_itself(tmp_path: Path) -> None:
    """The collector runs where it will, and what it ends may log."""

    class Collecting(io.FileIO):
        def write(self, line: Any, /) -> int:
            if sink.lost == 0:
                assert sink.write(b"within\n") == 0
            return super().write(line)

    with Collecting(tmp_path / "log", "w") as file:
        sink = Sink(cast("BinaryIO", file))
        assert sink.write(b"around\n") == 7
        assert sink.write(b"after\n") == 6
    assert (tmp_path / "log").read_bytes() == b"around\nafter\n"
    assert sink.lost == 1


def test_a_long_line_never_waits_for_its_reader() -> None:
    """A pipe that has some room has not room for all of it: what fits is cut off, and the next line stands on its own."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        sink = Sink(writer)
        while not sink.lost:
            sink.write(LINE)
        first = reader.read(8192)
        lost = sink.lost
        started = time.perf_counter()
        assert sink.write(b"y" * 20_000 + b"\n") == 0
        assert time.perf_counter() - started < 2
        assert sink.lost == lost + 1
        reader.read(1 << 20)
        assert first.startswith(b"x")
        assert sink.write(LINE) == len(LINE) + 1
        assert reader.read(1 << 20).splitlines()[-1] == LINE.strip()


def test_a_line_that_is_cut_off_anywhere_spoils_only_itself(tmp_path: Path) -> None:
    """As on a disk that fills within a line."""
    (tmp_path / "log").write_bytes(b"")
    with (tmp_path / "log").open("ab", buffering=0) as file:
        sink = Sink(file)
        for limit in (100, resource.RLIM_INFINITY):
            # Python ignores SIGXFSZ: a write over the limit is cut off, the next one fails.
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            sink.write(b"a" * 69 + b"\n")
            sink.write(b"b" * 69 + b"\n")
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines == [b"a" * 69, b"b" * 30, b"a" * 69, b"b" * 69]
    assert sink.lost == 1


def test_a_reader_that_has_gone_costs_lines_alone() -> None:
    """No broken pipe reaches what is logged."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as writer:
        sink = Sink(writer)
        assert (sink.write(LINE), sink.lost) == (0, 1)


def test_only_warnings_of_libraries_are_logged_whatever_the_level() -> None:
    """They may say what the gate never logs, such as a URI with its query."""
    child = """
import logging, structlog
from facequality import logs
logs.configure("debug")
logging.getLogger("aiohttp").info("GET https://x.example/?token=secret")
logging.getLogger("aiohttp").warning("something")
structlog.get_logger().debug("ours")
"""
    done = subprocess.run([sys.executable, "-c", child], stderr=subprocess.PIPE, timeout=30, check=True)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["something", "ours"]
