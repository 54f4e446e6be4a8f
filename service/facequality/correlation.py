"""What ties one call's log lines, metadata and upstream request together."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote

REQUEST_ID_HEADER = "x-request-id"
TRACEPARENT_HEADER = "traceparent"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# W3C Trace Context: version, trace id, parent id, flags. All zeros, and version ff, are invalid; later versions may have more.
_IDS = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rf"00{_IDS}|(?!00|ff)[0-9a-f]{{2}}{_IDS}(-[!-~]{{0,128}})?")


@dataclass(frozen=True, slots=True)
class Correlation:
    """The request id, taken or made, and the caller's W3C trace context if there is one."""

    request_id: str
    traceparent: str | None = None


def correlate(metadata: Mapping[str, str | bytes]) -> Correlation:
    """Take the ids out of a call's metadata. What is malformed is replaced or dropped: it would end up in logs."""
    request_id, traceparent = metadata.get(REQUEST_ID_HEADER), metadata.get(TRACEPARENT_HEADER)
    return Correlation(
        request_id if isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id) else secrets.token_hex(16),
        traceparent if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent) else None,
    )


@functools.lru_cache(1024)
def address(peer: str) -> str:
    """Tell a caller's address from gRPC's ``ipv4:ADDRESS:PORT`` or ``ipv6:%5BADDRESS%5D:PORT``."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


current: ContextVar[Correlation | None] = ContextVar("facequality_correlation", default=None)
"""The call that this task serves."""
