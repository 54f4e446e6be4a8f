"""TC3-HMAC-SHA256 as a verifier sees it: pure, constant-time, and as tolerant as the vendor's official clients need.

The clients differ in what they sign as the host (with a scheme, with a port, without) and in the case of values.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from facequality.detectors.tencentcloud.signature import (
    UNSIGNED_PAYLOAD,
    UNSIGNED_PAYLOAD_SHA256,
    Canonical,
    Credential,
    sign,
    utc_date,
)

MAX_SKEW_SECONDS = 300
"""The vendor refuses requests whose timestamp differs from its clock by more."""

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256\s+Credential=(?P<id>[^/,\s]+)/(?P<date>\d{4}-\d\d-\d\d)/(?P<service>[A-Za-z0-9_-]+)/tc3_request,"
    r"\s*SignedHeaders=(?P<names>[A-Za-z0-9;_-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came."""

    method: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def verify(request: SignedRequest, keys: Mapping[str, Credential], now: float) -> str | None:
    """Return the vendor's error code for a request that is not authentic, or None. ``now`` is Unix time, s."""
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    stamp = request.headers.get("x-tc-timestamp", "")
    if match is None or re.fullmatch(r"\d{1,12}", stamp) is None:
        return "AuthFailure.InvalidAuthorization"
    timestamp = int(stamp)
    if abs(timestamp - now) > MAX_SKEW_SECONDS:
        return "AuthFailure.SignatureExpire"
    credential = keys.get(match["id"])
    if credential is None:
        return "AuthFailure.SecretIdNotFound"
    if not _is_signed(request, match, credential, timestamp):
        return "AuthFailure.SignatureFailure"
    if not hmac.compare_digest(request.headers.get("x-tc-token", "").encode(), (credential.token or "").encode()):
        return "AuthFailure.TokenFailure"
    return None


def _is_signed(request: SignedRequest, match: re.Match[str], credential: Credential, timestamp: int) -> bool:
    names = match["names"].lower().split(";")
    if match["date"] != utc_date(timestamp) or not {"content-type", "host"} <= set(names):
        return False
    # Each once: a short request could otherwise name a long header a thousand times.
    if len(set(names)) < len(names) or not all(name in request.headers for name in names):
        return False
    digest = UNSIGNED_PAYLOAD_SHA256
    if request.headers.get("x-tc-content-sha256") != UNSIGNED_PAYLOAD:
        digest = hashlib.sha256(request.body).hexdigest()
    found = False
    for headers in _readings(names, request.headers):
        canonical = Canonical(request.method, request.query, headers, digest)
        expected = sign(canonical, credential.secret_key, timestamp, match["date"], match["service"])
        found |= hmac.compare_digest(expected, match["signature"])
    return found


def _readings(names: list[str], headers: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield what a client may have signed: the host as sent, without scheme, without port; values as sent, in lower case."""
    host = headers["host"]
    bare = re.sub(r"^https?://", "", host)
    for candidate in dict.fromkeys((host, bare, re.sub(r":\d+$", "", bare))):
        values = {**headers, "host": candidate}
        raw = tuple((name, values[name].strip()) for name in names)
        yield raw
        lower = tuple((name, value.lower()) for name, value in raw)
        if lower != raw:
            yield lower
