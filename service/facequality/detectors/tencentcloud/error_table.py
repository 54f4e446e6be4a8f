"""The vendor's error codes, from the table beside this module: which are verdicts, which errors, and whether to try again."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from facequality.errors import (
    DetectorBug,
    ErrorReason,
    FieldViolation,
    GateError,
    InvalidRequest,
    LimitReached,
    OperatorFault,
    PhotoDownloadFailed,
    Retry,
    UpstreamFault,
    UpstreamSilent,
)
from facequality.model import PhotoRefused, Reason

_R = ErrorReason

_KINDS: dict[ErrorReason, type[GateError]] = {
    _R.PARAMETER_INVALID: InvalidRequest,
    _R.PARAMETER_MISSING: InvalidRequest,
    _R.IMAGE_EMPTY: InvalidRequest,
    _R.URL_INVALID: InvalidRequest,
    _R.FACE_NUM_LIMIT: InvalidRequest,
    _R.IMAGE_DOWNLOAD_FAILED: PhotoDownloadFailed,
    _R.UPSTREAM_CREDENTIALS: OperatorFault,
    _R.UPSTREAM_TOKEN: OperatorFault,
    _R.UPSTREAM_PERMISSION: OperatorFault,
    _R.UPSTREAM_IP_DENIED: OperatorFault,
    _R.UPSTREAM_ACCOUNT: OperatorFault,
    _R.UPSTREAM_CONFIG: OperatorFault,
    _R.UPSTREAM_CLOCK_SKEW: OperatorFault,
    _R.MODEL_VERSION_NOT_ALLOWED: OperatorFault,
    _R.UPSTREAM_RATE_LIMIT: LimitReached,
    _R.UPSTREAM_QUOTA: LimitReached,
    _R.UPSTREAM_TIMEOUT: UpstreamSilent,
    _R.GATE_BUG: DetectorBug,
}
"""What is raised for each reason; for any other an UpstreamFault."""

_FIELDS = {_R.URL_INVALID: "uri", _R.IMAGE_EMPTY: "image", _R.FACE_NUM_LIMIT: "options.max_face_num"}
"""The request's field that each of these is about."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the gate makes of a code."""

    reason: Reason | ErrorReason
    retry: Retry = Retry.NEVER


def _row(row: dict[str, Any]) -> Row:
    return Row(ErrorReason(row["reason"]), Retry(row["retry"])) if "retry" in row else Row(Reason(row["reason"]))


def _load() -> tuple[dict[str, Row], tuple[tuple[str, Row], ...]]:
    text = resources.files(__package__).joinpath("error_codes.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    listed = {code: _row(row) for row in (*table["verdict"], *table["error"]) for code in row["codes"]}
    return listed, tuple((row["prefix"], _row(row)) for row in table["prefix"])


LISTED, PREFIXES = _load()


def find(code: str) -> Row:
    """Return the row of a code; of an unlisted one, the first prefix that matches (the last matches everything)."""
    return LISTED.get(code) or next(row for prefix, row in PREFIXES if code.startswith(prefix))


def interpret(code: str, request_id: str) -> PhotoRefused:
    """Make a verdict of a code. The vendor's message is not used: it says nothing that the code does not.

    Raises:
        GateError: the code is not about the photo.
    """
    row = find(code)
    if isinstance(row.reason, Reason):
        return PhotoRefused(row.reason, code, request_id)
    metadata = {"upstream_code": code[:128]} | ({"upstream_request_id": request_id} if request_id else {})
    kind = _KINDS.get(row.reason, UpstreamFault)
    text = f"DetectFace answered {code[:128]}"
    violations = (FieldViolation(_FIELDS[row.reason], text),) if row.reason in _FIELDS else ()
    raise kind(row.reason, text, metadata=metadata, retry=row.retry, violations=violations)
