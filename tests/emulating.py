"""Requests to the emulator as a client of the vendor's would send them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from facequality.detectors.tencentcloud.signature import Canonical, Credential, authorization
from facequality.testing import SECRET_ID, SECRET_KEY, EmulatedEndpoint

from tests import photos

CLIENTS = Path(".cache") / "clients"
PORTRAIT = photos.encode(photos.portrait(), "JPEG", quality=95)
CAT = photos.encode(photos.cat(), "JPEG")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def call(
    endpoint: EmulatedEndpoint,
    body: Any,
    *,
    key: Credential = Credential(SECRET_ID, SECRET_KEY),  # noqa: B008 - a frozen value
    headers: dict[str, str] | None = None,
    timestamp: int | None = None,
) -> dict[str, Any]:
    """Post a signed request; return the content of Response."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = int(time.time()) if timestamp is None else timestamp
    sent = {"Content-Type": "application/json", "Host": endpoint.host, "X-TC-Action": "DetectFace", "X-TC-Version": "2020-03-03"}
    sent |= {"X-TC-Timestamp": str(stamp), "X-TC-Language": "en-US", **(headers or {})}
    signed = (("content-type", sent["Content-Type"]), ("host", sent["Host"]))
    canonical = Canonical("POST", "", signed, hashlib.sha256(raw).hexdigest())
    sent["Authorization"] = authorization(canonical, key, stamp, "iai")
    sent |= {name: value for name, value in (headers or {}).items() if name == "Authorization"}
    request = urllib.request.Request(f"{endpoint.url}/", raw, sent, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        response: dict[str, Any] = json.loads(answer.read())["Response"]
    assert len(response["RequestId"]) == 36
    return response


def code(response: dict[str, Any]) -> str:
    return str(response["Error"]["Code"]) if "Error" in response else "OK"
