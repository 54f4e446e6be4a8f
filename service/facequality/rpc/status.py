"""Errors of the gate as google.rpc.Status with details."""

from __future__ import annotations

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from facequality.errors import DOMAIN, Code, ErrorReason, GateError

INTERNAL_TEXT = "internal error; the gate's log has it under this request's id"
"""What a caller is told of a bug: nothing of the exception."""


def to_status(error: GateError) -> status_pb2.Status:
    """Translate an error: ErrorInfo always, RetryInfo and BadRequest where they apply."""
    details = [_packed(_error_info(error.reason, dict(error.metadata)))]
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description) for v in error.violations
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    message = INTERNAL_TEXT if error.code is Code.INTERNAL else error.message
    return status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=message, details=details)


def bug_status() -> status_pb2.Status:
    """The status of an exception that nobody expected."""
    details = [_packed(_error_info(ErrorReason.GATE_BUG, {}))]
    return status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_TEXT, details=details)


def _error_info(reason: ErrorReason, metadata: dict[str, str]) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata)


def _packed(
    detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
