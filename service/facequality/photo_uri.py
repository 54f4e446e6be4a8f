"""Which photo URIs are passed on at all: told by their text alone, before anything is resolved or fetched."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from facequality.errors import ErrorReason, InvalidRequest

MAX_LENGTH = 2048
"""Characters."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NETLOC = re.compile(r"(?:[^@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@]*)(?::\d*)?")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MAX_HOST = 253
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that has been given out of IPv6 (IANA)."""
_NO_REAL_PLACE = tuple(map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
"""IPv6 for protocols and for documentation within it: is_global knows them not in every Python."""
_NO_REAL_PLACE_4 = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
"""Of IPv4: protocols, and retired relays to IPv6 (RFC 7526)."""
_PRIVATE_SUFFIXES = (
    *("localhost", "local", "internal", "localdomain", "home.arpa", "svc", "corp", "home", "lan", "intranet", "private"),
    # The vendor's own metadata of virtual machines, by name.
    "metadata.tencentyun.com",
)
_NUMERIC_LABEL = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class UriRules:
    """What an operator allows."""

    allowed_hosts: frozenset[str] = frozenset()
    """Host names in lower case; ``.example.com`` allows every name below it. Empty: any public host."""

    def allows(self, host: str) -> bool:
        """Whether a host (lower case) may be named."""
        return not self.allowed_hosts or any(
            host == allowed or (allowed.startswith(".") and host.endswith(allowed)) for allowed in self.allowed_hosts
        )


def check_uri(uri: str, rules: UriRules) -> None:
    """Refuse what is malformed, or points where no photo should come from. The URI is not repeated: its query may be secret.

    Raises:
        InvalidRequest: URL_INVALID or URL_FORBIDDEN.
    """
    if len(uri) > MAX_LENGTH:
        raise _refused(ErrorReason.URL_INVALID, f"is longer than {MAX_LENGTH} characters")
    if not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        raise _refused(ErrorReason.URL_INVALID, "has characters that a URI must percent-encode")
    try:
        parts = urlsplit(uri)
        host, port = (parts.hostname or "").rstrip(".").lower(), parts.port
    except ValueError:
        raise _refused(ErrorReason.URL_INVALID, "is not a URI") from None
    if _NETLOC.fullmatch(parts.netloc) is None:
        raise _refused(ErrorReason.URL_INVALID, "has a malformed host")
    if parts.scheme not in {"http", "https"}:
        raise _refused(ErrorReason.URL_INVALID, "must be http or https")
    if not host:
        raise _refused(ErrorReason.URL_INVALID, "has no host")
    if port == 0:
        raise _refused(ErrorReason.URL_INVALID, "has a malformed port")
    if parts.username is not None or parts.password is not None:
        raise _refused(ErrorReason.URL_FORBIDDEN, "must not hold credentials")
    _check_host(host)
    if not rules.allows(host):
        raise _refused(ErrorReason.URL_FORBIDDEN, "names a host that this gate does not allow")


def is_public(address: IpAddress) -> bool:
    """Whether an address is reachable from everywhere: not private, loopback, link-local, shared or reserved."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is not None:
            return is_public(embedded)
        if address not in _GLOBAL_UNICAST or any(address in net for net in _NO_REAL_PLACE):
            return False
    elif any(address in net for net in _NO_REAL_PLACE_4):
        return False
    return address.is_global and not address.is_multicast


def is_private_name(host: str) -> bool:
    """Whether a host name, in lower case, is one that only a private network resolves."""
    return any(host == name or host.endswith(f".{name}") for name in _PRIVATE_SUFFIXES)


def _check_host(host: str) -> None:
    address = _literal(host)
    if address is not None:
        if not is_public(address):
            raise _refused(ErrorReason.URL_FORBIDDEN, "points at a private address")
        return
    labels = host.split(".")
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)) or _NUMERIC_LABEL.fullmatch(labels[-1]):
        # 127.1, 0x7f000001 and 2130706433 are addresses to some resolvers: no real name ends in a number.
        raise _refused(ErrorReason.URL_INVALID, "has a malformed host")
    if len(labels) == 1 or is_private_name(host):
        raise _refused(ErrorReason.URL_FORBIDDEN, "points at a private host")


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(reason: ErrorReason, what: str) -> InvalidRequest:
    return InvalidRequest.field(reason, "uri", what)
