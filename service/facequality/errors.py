"""Every error the gate raises on purpose. Whatever the photographed person can mend is a verdict and not here.

    GateError                     code                 mended by
    ├── InvalidRequest            INVALID_ARGUMENT     the calling service
    ├── PolicyNotFound            NOT_FOUND            the calling service
    ├── DeadlineExceeded          DEADLINE_EXCEEDED    nobody, or a longer deadline
    ├── Overloaded                RESOURCE_EXHAUSTED   time, or another replica
    └── DetectorError             (see below)          what the detector could not do
        ├── PhotoDownloadFailed   FAILED_PRECONDITION  the calling service
        ├── OperatorFault         FAILED_PRECONDITION  the operator: credentials, account, configuration, clock
        ├── LimitReached          RESOURCE_EXHAUSTED   time (a rate limit) or the operator (a quota)
        ├── UpstreamFault         UNAVAILABLE          time: the vendor or the network
        │   └── UpstreamSilent    UNAVAILABLE          the same; the vendor had taken the request
        └── DetectorBug           INTERNAL             us

An exception that is none of these is a bug; the RPC layer answers INTERNAL with a fixed text.
A StartError is for the operator alone: no call is served yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

DOMAIN = "facequality.v1"
"""``google.rpc.ErrorInfo.domain`` of every error."""


class Code(StrEnum):
    """The gRPC status codes that the gate answers with, by their canonical names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class ErrorReason(StrEnum):
    """What ``google.rpc.ErrorInfo.reason`` can be; the contract's ErrorReason without its prefix."""

    MESSAGE_MALFORMED = "MESSAGE_MALFORMED"
    PARAMETER_MISSING = "PARAMETER_MISSING"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    IMAGE_EMPTY = "IMAGE_EMPTY"
    URL_INVALID = "URL_INVALID"
    URL_FORBIDDEN = "URL_FORBIDDEN"
    FACE_NUM_LIMIT = "FACE_NUM_LIMIT"
    POLICY_NOT_FOUND = "POLICY_NOT_FOUND"
    IMAGE_DOWNLOAD_FAILED = "IMAGE_DOWNLOAD_FAILED"
    GATE_BUG = "GATE_BUG"
    DEADLINE = "DEADLINE"
    OVERLOADED = "OVERLOADED"
    UPSTREAM_CREDENTIALS = "UPSTREAM_CREDENTIALS"
    UPSTREAM_TOKEN = "UPSTREAM_TOKEN"  # noqa: S105 - a name
    UPSTREAM_PERMISSION = "UPSTREAM_PERMISSION"
    UPSTREAM_IP_DENIED = "UPSTREAM_IP_DENIED"
    UPSTREAM_ACCOUNT = "UPSTREAM_ACCOUNT"
    UPSTREAM_ACCOUNT_PROVISIONING = "UPSTREAM_ACCOUNT_PROVISIONING"
    UPSTREAM_CONFIG = "UPSTREAM_CONFIG"
    UPSTREAM_CLOCK_SKEW = "UPSTREAM_CLOCK_SKEW"
    MODEL_VERSION_NOT_ALLOWED = "MODEL_VERSION_NOT_ALLOWED"
    UPSTREAM_RATE_LIMIT = "UPSTREAM_RATE_LIMIT"
    UPSTREAM_QUOTA = "UPSTREAM_QUOTA"
    UPSTREAM_NETWORK = "UPSTREAM_NETWORK"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_INTERNAL = "UPSTREAM_INTERNAL"
    UPSTREAM_HTTP_STATUS = "UPSTREAM_HTTP_STATUS"
    UPSTREAM_MALFORMED = "UPSTREAM_MALFORMED"
    UPSTREAM_RESPONSE_TOO_LARGE = "UPSTREAM_RESPONSE_TOO_LARGE"
    UPSTREAM_UNKNOWN = "UPSTREAM_UNKNOWN"
    UPSTREAM_UNEXPECTED = "UPSTREAM_UNEXPECTED"
    UPSTREAM_BREAKER_OPEN = "UPSTREAM_BREAKER_OPEN"


class Retry(StrEnum):
    """Whether another attempt can help."""

    NEVER = "never"
    ONCE = "once"
    """Jittered, at most once: the first attempt may have been billed."""
    YES = "yes"
    """Jittered, within the deadline."""
    THROTTLE = "throttle"
    """Jittered, no sooner than a second."""
    SLOW = "slow"
    """In minutes; not within a call."""
    SPENT = "spent"
    """Not within this call, which has been paid for as often as it may; the caller may, in another one."""

    @property
    def seconds(self) -> float | None:
        """What a caller is told to wait, s."""
        return {Retry.ONCE: 1.0, Retry.YES: 0.5, Retry.THROTTLE: 1.0, Retry.SLOW: 60.0, Retry.SPENT: 1.0}.get(self)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request: its path in the message, and what would be right."""

    field: str
    description: str


class GateError(Exception):
    """Base of the tree. Its text is written for the caller and holds no secret."""

    code: ClassVar[Code]

    def __init__(
        self,
        reason: ErrorReason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry: Retry = Retry.NEVER,
        wait_seconds: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
    ) -> None:
        """``metadata`` goes into ErrorInfo, ``violations`` into BadRequest.

        ``retry`` is the gate's own retry policy for this error. RetryInfo tells the caller to wait ``wait_seconds`` or, without
        it, as long as ``retry`` implies.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.retry = retry
        self._wait_seconds = wait_seconds
        self.violations = violations

    @property
    def retry_after(self) -> float | None:
        """Seconds after which another call may succeed; None where waiting does not help."""
        if self.code not in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}:
            return None
        return self.retry.seconds if self._wait_seconds is None else self._wait_seconds


class InvalidRequest(GateError):
    """The request itself is wrong."""

    code = Code.INVALID_ARGUMENT

    @classmethod
    def field(
        cls, reason: ErrorReason, field: str, description: str, *, metadata: Mapping[str, str] | None = None
    ) -> InvalidRequest:
        """Name one wrong field and what would be right."""
        return cls(reason, f"{field}: {description}", metadata=metadata, violations=(FieldViolation(field, description),))

    @classmethod
    def all(cls, mistakes: Sequence[InvalidRequest]) -> InvalidRequest:
        """Make one of several, at least one; its reason is the first one's."""
        text = "; ".join(mistake.message for mistake in mistakes)
        return cls(mistakes[0].reason, text, violations=tuple(each for mistake in mistakes for each in mistake.violations))


NAMED_POLICIES = 10
"""As many are named in an error's text, which travels in a header of limited size; ListPolicies names all."""


class PolicyNotFound(GateError):
    """No served policy has the requested name. Never a silent fallback."""

    code = Code.NOT_FOUND

    def __init__(self, name: str, served: tuple[str, ...]) -> None:
        """Name the policy that is missing and those that are served."""
        more = ", ..." if len(served) > NAMED_POLICIES else ""
        message = f"no policy named {name[:64]!r}; served: {', '.join(served[:NAMED_POLICIES])}{more}"
        super().__init__(ErrorReason.POLICY_NOT_FOUND, message, metadata={"policy": name[:64]})


class DeadlineExceeded(GateError):
    """The call's time is spent."""

    code = Code.DEADLINE_EXCEEDED

    def __init__(self, seconds: float, awaited: str) -> None:
        """``seconds`` is the budget that ``awaited`` had."""
        text = f"no {awaited} within {seconds:.3g} s" if seconds >= 0.001 else "the deadline leaves no time to answer"
        super().__init__(ErrorReason.DEADLINE, text)


class Overloaded(GateError):
    """The gate has as much in use as it can: calls, their bytes, connections to the vendor, descriptors, or health watches."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, what: str) -> None:
        """``what`` there is too much of."""
        super().__init__(ErrorReason.OVERLOADED, f"{what}; the gate takes no more at the moment", wait_seconds=0.5)


class DetectorError(GateError):
    """The detector could not judge the photo."""


class PhotoDownloadFailed(DetectorError):
    """The detector could not download the photo's URI; nothing was judged."""

    code = Code.FAILED_PRECONDITION


class OperatorFault(DetectorError):
    """Credentials, account, permission, configuration or clock."""

    code = Code.FAILED_PRECONDITION


class LimitReached(DetectorError):
    """A rate limit (waiting helps) or a quota (the operator's to raise)."""

    code = Code.RESOURCE_EXHAUSTED


class UpstreamFault(DetectorError):
    """The vendor or the network failed."""

    code = Code.UNAVAILABLE


class UpstreamSilent(UpstreamFault):
    """The vendor took a request and had no answer in time."""


class DetectorBug(DetectorError):
    """The gate called the detector wrongly."""

    code = Code.INTERNAL


class StartError(Exception):
    """The gate cannot start; the text says what to mend."""
