"""What an emulator is given at its start: keys, and a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import orjson

from facequality.detectors.tencentcloud.signature import Credential


def read_keys(text: str) -> dict[str, Credential]:
    """Read a key file: a JSON object of secret ids to ``{"key": …, "token": …}``.

    Raises:
        ValueError: it is not of that form.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("must be a JSON object of secret ids")  # noqa: TRY004 - a file's content, not a type
    keys = {}
    for secret_id, each in document.items():
        if (
            not isinstance(each, dict)
            or not isinstance(each.get("key"), str)
            or not each.keys() <= {"key", "token"}
            or not isinstance(each.get("token", ""), str)
        ):
            raise ValueError(f'{secret_id}: must be {{"key": …, "token": …}}')
        keys[secret_id] = Credential(secret_id, each["key"], each.get("token"))
    return keys


def tls_context(certificate: Path) -> ssl.SSLContext:
    """Read a PEM file of a certificate and its key.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate)
    except ssl.SSLError as error:
        raise ValueError("must be a PEM file of a certificate and its key") from error
    return context
