r"""TC3-HMAC-SHA256: what the vendor documents, as pure functions of their inputs.

    CanonicalRequest = METHOD \n URI \n QUERY \n HEADERS \n SIGNEDHEADERS \n hex(sha256(PAYLOAD))
    StringToSign     = "TC3-HMAC-SHA256" \n TIMESTAMP \n DATE/SERVICE/tc3_request \n hex(sha256(CanonicalRequest))
    Signature        = hex(HMAC(HMAC(HMAC(HMAC("TC3" + KEY, DATE), SERVICE), "tc3_request"), StringToSign))

DATE is the UTC date of the timestamp. Only the headers listed as signed are covered.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

ALGORITHM = "TC3-HMAC-SHA256"
TERMINATOR = "tc3_request"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""Stands in for the payload where only TLS protects it; the request then says so in X-TC-Content-SHA256."""
UNSIGNED_PAYLOAD_SHA256 = hashlib.sha256(UNSIGNED_PAYLOAD.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key, with a token if it is a temporary one. Secrets stay out of reprs."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Canonical:
    """What is signed of a request."""

    method: str
    """GET or POST."""
    query: str
    """As sent, without the question mark; empty for POST."""
    headers: Sequence[tuple[str, str]]
    """The signed ones, names in lower case, sorted, values as they are to be signed."""
    payload_sha256: str
    """Hex."""

    @property
    def signed_headers(self) -> str:
        """Their names, joined by semicolons."""
        return ";".join([name for name, _ in self.headers])

    def text(self) -> str:
        """The canonical request."""
        headers = "".join([f"{name}:{value}\n" for name, value in self.headers])
        return f"{self.method}\n/\n{self.query}\n{headers}\n{self.signed_headers}\n{self.payload_sha256}"


def utc_date(timestamp: int) -> str:
    """Return the UTC date of a Unix time, YYYY-MM-DD. A local date fails eight hours a day in Beijing."""
    return _date_of_day(timestamp // 86_400)


@lru_cache(maxsize=4)
def _date_of_day(day: int) -> str:
    return datetime.fromtimestamp(86_400 * day, UTC).strftime("%Y-%m-%d")


def string_to_sign(canonical: Canonical, timestamp: int, date: str, service: str) -> str:
    """Return what the signing key signs."""
    digest = hashlib.sha256(canonical.text().encode()).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{date}/{service}/{TERMINATOR}\n{digest}"


def sign(canonical: Canonical, secret_key: str, timestamp: int, date: str, service: str) -> str:
    """Return the signature, hex."""
    text = string_to_sign(canonical, timestamp, date, service)
    return hmac.digest(_signing_key(secret_key, date, service), text.encode(), "sha256").hex()


def authorization(canonical: Canonical, credential: Credential, timestamp: int, service: str) -> str:
    """Return the Authorization header's value."""
    date = utc_date(timestamp)
    signature = sign(canonical, credential.secret_key, timestamp, date, service)
    scope = f"{credential.secret_id}/{date}/{service}/{TERMINATOR}"
    return f"{ALGORITHM} Credential={scope}, SignedHeaders={canonical.signed_headers}, Signature={signature}"


@lru_cache(maxsize=16)
def _signing_key(secret_key: str, date: str, service: str) -> bytes:
    """Derive the key of a day; it changes once a day, or with the secret."""
    key = f"TC3{secret_key}".encode()
    for part in (date, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
