"""Classes of how a detector call ended: what alerts key on, and what the breaker counts."""

from __future__ import annotations

import asyncio
from enum import StrEnum

from facequality.errors import ErrorReason, GateError, InvalidRequest


class Outcome(StrEnum):
    """What alerts key on: a closed set of classes."""

    OK = "ok"
    PHOTO_REFUSED = "photo_refused"
    CALLER = "caller"
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    ACCOUNT = "account"
    CONFIGURATION = "configuration"
    THROTTLED = "throttled"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    BREAKER_OPEN = "breaker_open"
    NETWORK = "network"
    UPSTREAM = "upstream"
    MALFORMED = "malformed"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    BUG = "bug"


_R = ErrorReason
_REASONS = {
    Outcome.CALLER: (
        _R.MESSAGE_MALFORMED,
        _R.PARAMETER_MISSING,
        _R.PARAMETER_INVALID,
        _R.IMAGE_EMPTY,
        _R.URL_INVALID,
        _R.URL_FORBIDDEN,
        _R.FACE_NUM_LIMIT,
        _R.POLICY_NOT_FOUND,
        _R.IMAGE_DOWNLOAD_FAILED,
    ),
    Outcome.CREDENTIALS: (_R.UPSTREAM_CREDENTIALS, _R.UPSTREAM_TOKEN),
    Outcome.PERMISSION: (_R.UPSTREAM_PERMISSION, _R.UPSTREAM_IP_DENIED),
    Outcome.ACCOUNT: (_R.UPSTREAM_ACCOUNT, _R.UPSTREAM_ACCOUNT_PROVISIONING),
    Outcome.CONFIGURATION: (_R.UPSTREAM_CONFIG, _R.UPSTREAM_CLOCK_SKEW, _R.MODEL_VERSION_NOT_ALLOWED),
    Outcome.THROTTLED: (_R.UPSTREAM_RATE_LIMIT,),
    Outcome.QUOTA: (_R.UPSTREAM_QUOTA,),
    Outcome.NETWORK: (_R.UPSTREAM_NETWORK,),
    Outcome.UPSTREAM: (
        _R.UPSTREAM_TIMEOUT,
        _R.UPSTREAM_INTERNAL,
        _R.UPSTREAM_HTTP_STATUS,
        _R.UPSTREAM_RESPONSE_TOO_LARGE,
        _R.UPSTREAM_UNKNOWN,
        _R.UPSTREAM_UNEXPECTED,
    ),
    Outcome.MALFORMED: (_R.UPSTREAM_MALFORMED,),
    Outcome.BREAKER_OPEN: (_R.UPSTREAM_BREAKER_OPEN,),
    Outcome.DEADLINE: (_R.DEADLINE,),
    Outcome.OVERLOADED: (_R.OVERLOADED,),
    Outcome.BUG: (_R.GATE_BUG,),
}
_OUTCOMES = {reason: outcome for outcome, reasons in _REASONS.items() for reason in reasons}


def outcome_of(error: BaseException) -> Outcome:
    """Class an exception that ended a detector call."""
    if isinstance(error, InvalidRequest):
        # Also for reasons that are normally the operator's, where the caller chose the value.
        return Outcome.CALLER
    if isinstance(error, GateError):
        return _OUTCOMES[error.reason]
    return Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.BUG
