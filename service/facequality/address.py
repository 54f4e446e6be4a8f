"""Addresses to listen on."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):(\d{1,5})")
_HIGHEST_PORT = 65535


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > _HIGHEST_PORT:
        raise ValueError("must be HOST:PORT (0 to 65535), an IPv6 host in brackets, such as 127.0.0.1:50051 or [::]:50051")
    return match[1].strip("[]"), int(match[2])
