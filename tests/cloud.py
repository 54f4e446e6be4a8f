"""The cloud detector in front of a loopback endpoint."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trustme
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.errors import ErrorReason
from facequality.image import MAX_BYTES

from tests.running import portrait
from tests.upstream import EXAMPLES, SECRET_ID, SECRET_KEY, Exchange, Received, Upstream, answer

PORTRAIT = portrait()
KEY = Credential(SECRET_ID, SECRET_KEY)
R = ErrorReason


def large_jpeg(size: int = MAX_BYTES) -> bytes:
    """A sound JPEG of an exact size: trailing bytes are ignored."""
    return PORTRAIT + b"\x00" * (size - len(PORTRAIT))


@asynccontextmanager
async def cloud(endpoint: Upstream, http: HttpOptions | None = None, **options: Any) -> AsyncIterator[TencentCloudDetector]:
    detector = TencentCloudDetector(lambda: KEY, CloudOptions(endpoint=endpoint.url, **options), HttpClient(http))
    try:
        yield detector
    finally:
        await detector.aclose()


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def answering_after(seconds: float) -> Exchange:
    """Answer example 2 after a while."""

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await answer(writer, EXAMPLES[2])

    return slow


async def close_after_the_request(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()
