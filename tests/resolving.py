"""Photo hosts with names, on loopback."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from facequality.model import PhotoUri
from facequality.photo_uri import IpAddress

from tests.upstream import Upstream


class NamesResolver(AbstractResolver):
    """Resolves every name to loopback, but private.example.com to another loopback address that is not allowed."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        address = "127.0.0.9" if host == "private.example.com" else "127.0.0.1"
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def only_the_first(address: IpAddress) -> bool:
    """The public address, for once."""
    return address == ipaddress.ip_address("127.0.0.1")


def uri(host: Upstream, name: str = "photos.example.com", path: str = "/a.jpg") -> PhotoUri:
    """A photo's address on that host."""
    return PhotoUri(f"http://{name}:{host.url.rsplit(':', 1)[1]}{path}")
