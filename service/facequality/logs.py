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
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import stamina.instrumentation
import structlog

from facequality.detectors.observed import DetectorCall
from facequality.gate import CheckResult
from facequality.image import ImageInfo
from facequality.model import Detection, PhotoRefused
from facequality.policy import Policy

_notes: ContextVar[dict[str, object] | None] = ContextVar("facequality_notes", default=None)


STALL_MILLISECONDS = 200
"""How long a line waits for a reader that has fallen behind; those after it wait no more until it reads again."""


class Sink:
    """Standard error, where a line that cannot be written is lost and counted.

    Neither a full disk nor a reader that hangs may end or hold up what was paid for.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Write to this file, which is not buffered."""
        self._file = file
        self._room = select.poll()
        self._room.register(file, select.POLLOUT)
        self._patience = STALL_MILLISECONDS
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
        end = time.monotonic() + self._patience / 1000
        for start in range(0, len(line), select.PIPE_BUF):
            # A pipe that has room has it for so much.
            piece = line[start : start + select.PIPE_BUF]
            written = self._write(piece, max(0.0, 1000 * (end - time.monotonic())))
            if written < len(piece):
                self.lost += 1
                self._is_torn = self._is_torn or start + written > 0
                return 0
        self._is_torn = False
        return len(line)

    def _write(self, piece: bytes, patience: float) -> int:
        has_room = bool(self._room.poll(patience))
        self._patience = STALL_MILLISECONDS if has_room else 0
        with contextlib.suppress(OSError):
            # None: whoever shares the file does not let it block, and its room went to them.
            return (self._file.write(piece) or 0) if has_room else 0
        return 0

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


def begin(**fields: object) -> None:
    """Begin a call's notes: they stand on each of its log lines."""
    _notes.set(fields)


def note(**fields: object) -> None:
    """Add to the call's notes."""
    notes = _notes.get()
    if notes is not None:
        notes.update(fields)


def _merge_notes(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {"event": event.pop("event"), **(_notes.get() or {}), **event}


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
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    handler: logging.Handler = _SinkHandler()
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", sink)),
        cache_logger_on_first_use=True,
    )
    if sys.stderr is not None and sys.stderr.isatty():
        renderer, handler = structlog.dev.ConsoleRenderer(), logging.StreamHandler(sys.stderr)
        structlog.configure(processors=[*shared, renderer], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[
        structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer,
    ])  # fmt: skip
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)
    # The call's own line and a metric tell of retries.
    stamina.instrumentation.set_on_retry_hooks([])
    # Pillow warns of what hostile photos hold; the verdict says it better.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def note_detector_call(call: DetectorCall) -> None:
    """Add how long the detector took."""
    note(detector=call.detector.name, detector_milliseconds=round(1000 * call.seconds, 1))


def note_paid_call() -> None:
    """Count a request that the vendor bills on the line of the call that it was made for, not of those that share it."""
    notes = _notes.get()
    if notes is not None:
        notes["paid_calls"] = cast("int", notes.get("paid_calls", 0)) + 1


def note_unjudged(policy: Policy, image: ImageInfo | None) -> None:
    """Add what was asked of a check that the detector failed."""
    note(**_asked(policy, image))


def note_check(result: CheckResult) -> None:
    """Add a check's result to its call's log line."""
    answer = result.answer
    fields = {
        **_asked(result.policy, result.image),
        "verdict": result.judgement.verdict.value,
        "reasons": [reason.value for reason in result.judgement.reasons],
        "detector": result.detector.name,
        "detector_called": not result.saved_call and not (answer is not None and answer.cached),
    }
    if isinstance(answer, Detection):
        fields |= {"faces": len(answer.faces), "upstream_request_id": answer.request_id}
    if isinstance(answer, PhotoRefused):
        fields |= {"upstream_code": answer.upstream_code, "upstream_request_id": answer.request_id}
    if result.shadow is not None:
        shadow = result.shadow
        fields |= {"shadow_policy": shadow.policy.name, "shadow_revision": shadow.policy.revision}
        fields["shadow_verdict"] = shadow.judgement.verdict.value
        fields["shadow_reasons"] = [reason.value for reason in shadow.judgement.reasons]
    note(**fields)


def _asked(policy: Policy, image: ImageInfo | None) -> dict[str, object]:
    fields: dict[str, object] = {"policy": policy.name, "policy_revision": policy.revision}
    if image is not None:
        fields |= {"image_format": image.format.value, "image_bytes": image.size}
        fields |= {"image_width": image.width, "image_height": image.height}
    return fields
