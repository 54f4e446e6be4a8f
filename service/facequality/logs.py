"""Structured logs: one JSON object a line on standard error, readable lines on a terminal.

Never logged: image bytes, URI queries, Authorization, secrets, tokens.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import stamina.instrumentation
import structlog

from facequality import notes

PATIENCE_SECONDS = 0.2
"""How long lines may wait, in all, for a reader that has fallen behind: a moment's lag costs no line."""
PATIENCE_SHARE = 0.01
"""The share of time that comes back of it: a reader that is always too slow must not set the gate's pace."""


class Sink:
    """Standard error, where a line that cannot be written is lost and counted.

    Neither a full disk nor a reader that hangs may end or hold up what was paid for.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Write to this file, which is not buffered."""
        self._file = file
        self._room = select.poll()
        self._room.register(file, select.POLLOUT)
        self._patience = PATIENCE_SECONDS
        self._waited_at = time.monotonic()
        self._is_torn = False
        # structlog's lock is not the standard library's.
        self._lock = threading.RLock()
        self._is_writing = False
        self.lost = 0

    def write(self, line: bytes) -> int:
        """Write a line, or count it."""
        with self._lock:
            if self._is_writing:
                # In the midst of a line the collector may end a task whose error nobody took, which asyncio logs.
                self.lost += 1
                return 0
            self._is_writing = True
            try:
                return self._write_line(line)
            finally:
                self._is_writing = False

    def _write_line(self, line: bytes) -> int:
        if self._is_torn:
            # What is left of a lost line must not spoil this one.
            line = b"\n" + line
        for start in range(0, len(line), select.PIPE_BUF):
            # A pipe that has room has it for so much.
            piece = line[start : start + select.PIPE_BUF]
            written = self._write(piece)
            if written < len(piece):
                self.lost += 1
                self._is_torn = self._is_torn or start + written > 0
                return 0
        self._is_torn = False
        return len(line)

    def _write(self, piece: bytes) -> int:
        has_room = bool(self._room.poll(0)) or self._wait_for_room()
        with contextlib.suppress(OSError):
            # None: whoever shares the file does not let it block, and its room went to them.
            return (self._file.write(piece) or 0) if has_room else 0
        return 0

    def _wait_for_room(self) -> bool:
        now = time.monotonic()
        self._patience = min(PATIENCE_SECONDS, self._patience + PATIENCE_SHARE * (now - self._waited_at))
        has_room = bool(self._room.poll(max(0.0, 1000 * self._patience)))
        self._waited_at = time.monotonic()
        self._patience -= self._waited_at - now
        return has_room

    def flush(self) -> None:
        """Nothing is held back."""


def _standard_error() -> BinaryIO:
    if sys.stderr is None:
        # It was closed: its number may be any other file's by now.
        return Path(os.devnull).open("wb", buffering=0)
    return open(2, "wb", buffering=0, closefd=False)


sink = Sink(_standard_error())
"""Where the JSON lines go."""


class _SinkHandler(logging.Handler):
    """Takes the lines of libraries the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sink.write(self.format(record).encode(errors="backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - a record that cannot be written is logging's own affair
            self.handleError(record)


def _merge_notes(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {"event": event.pop("event"), **notes.current(), **event}


def _dumps(event: object, **_: object) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except TypeError:
        # A path's bytes may not be text: the line is worth more than its form.
        return json.dumps(event, default=repr).encode()


def configure(level: str) -> None:
    """Set up the process's logging; ``level`` is debug, info, warning or error."""
    threshold = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        _merge_notes,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    own: structlog.typing.Processor
    theirs: structlog.typing.Processor
    if sys.stderr is not None and sys.stderr.isatty():
        own = theirs = structlog.dev.ConsoleRenderer()
        factory: Callable[..., object] = structlog.PrintLoggerFactory(sys.stderr)
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        # The standard library's lines are text.
        own, theirs = structlog.processors.JSONRenderer(serializer=_dumps), structlog.processors.JSONRenderer()
        factory, handler = structlog.BytesLoggerFactory(cast("BinaryIO", sink)), _SinkHandler()
    structlog.configure(
        processors=[*shared, own],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[without_meta, theirs]))
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)
    # The call's own line and a metric tell of retries.
    stamina.instrumentation.set_on_retry_hooks([])
    # Pillow warns of what hostile photos hold; the verdict says it better.
    warnings.filterwarnings("ignore", module=r"PIL\.")
