"""What the gate does when the vendor fails: each fault, over real sockets, as one row of a table.

``python -m tests.faults`` writes the table into tests/README.md; the tests hold each row against what it must be.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import structlog
import trustme
from facequality.emulator.scenario import Scenario
from facequality.testing import SECRET_ID, SECRET_KEY, detectface_emulator
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.loading import distinct
from tests.running import behind, details, gate
from tests.upstream import upstream

README = Path(__file__).parent / "README.md"
PHOTO = photos.encode(photos.cat(), "JPEG")
ATTEMPT_SECONDS = 0.6
TIMEOUT = 5.0
OK = "OK"


@dataclass(frozen=True)
class Vendor:
    """A vendor with a fault, and how it gets well."""

    url: str
    heal: Callable[[], Awaitable[None]]
    counted: Callable[[], int] | None = None
    """Requests that the vendor has counted as authentic; None where it cannot."""
    ca_file: Path | None = None


@dataclass(frozen=True)
class Fault:
    """One fault and what must come of it."""

    name: str
    vendor: Callable[[int], AbstractAsyncContextManager[Vendor]]
    """Makes a vendor; the emulator is told how many requests go wrong."""
    status: str
    reason: str
    paid: int
    """Requests that leave."""
    seconds: float = 1.0
    """The answer is there by then."""
    timeout: float = TIMEOUT
    uri: str = ""
    failing: int | None = None
    """Requests that go wrong; None: each that leaves."""


@dataclass(frozen=True)
class Row:
    """What came of a fault."""

    fault: Fault
    status: str
    reason: str
    seconds: float
    paid: int
    counted: int | None
    recovered: bool


def scripted(action: dict[str, Any], **scenario: Any) -> Callable[[int], AbstractAsyncContextManager[Vendor]]:
    """Let the emulator do this; then it is well."""

    @asynccontextmanager
    async def vendor(failing: int) -> AsyncIterator[Vendor]:
        ill = {"match": {"calls": list(range(1, failing + 1))}, "action": action}
        script = Scenario.model_validate({**scenario, "rules": [*([ill] if failing else []), {"action": {"example": 2}}]})
        with detectface_emulator(script, detector=RecordingDetector(EXAMPLE_2)) as endpoint:

            async def heal() -> None:
                """Every request that was to go wrong has."""

            # A request that fails the signature's check is not one of the account's.
            yield Vendor(endpoint.url, heal, None if "clock_skew_seconds" in scenario else lambda: endpoint.calls)

    return vendor


def code(name: str) -> Callable[[int], AbstractAsyncContextManager[Vendor]]:
    """Let the emulator answer with an error code."""
    return scripted({"error": name})


@asynccontextmanager
async def _replaced(
    scheme: str, ill: Callable[[Any, Any], Any] | None, tls: ssl.SSLContext | None, well: ssl.SSLContext | None, ca: Path | None
) -> AsyncIterator[Vendor]:
    """A port with something ill on it, or nothing, until a vendor that is well takes its place."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await asyncio.start_server(ill, "127.0.0.1", port, ssl=tls) if ill is not None else None
    async with AsyncExitStack() as healthy:

        async def heal() -> None:
            if server is not None:
                server.close()
            await healthy.enter_async_context(upstream(well, port))

        yield Vendor(f"{scheme}://localhost:{port}", heal, ca_file=ca)


def refused(_: int) -> AbstractAsyncContextManager[Vendor]:
    """Nobody listens."""
    return _replaced("http", None, None, None, None)


async def _reset_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def reset_on_accept(_: int) -> AbstractAsyncContextManager[Vendor]:
    """The connection is reset as soon as it stands."""
    return _replaced("http", _reset_at_once, None, None, None)


@asynccontextmanager
async def reset_within_request(_: int) -> AsyncIterator[Vendor]:
    """The connection is reset when the request's head has come."""
    async with upstream() as endpoint:

        async def reset(_: object, writer: asyncio.StreamWriter) -> None:
            await _reset_at_once(asyncio.StreamReader(), writer)
            raise ConnectionResetError

        endpoint.before_body = reset

        async def heal() -> None:
            endpoint.before_body = None

        yield Vendor(endpoint.url, heal)


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def _contexts(directory: Path, *, trusted: bool) -> tuple[ssl.SSLContext, ssl.SSLContext, Path]:
    ours, other = trustme.CA(), trustme.CA()
    ca = directory / "ca.pem"
    ours.cert_pem.write_to_path(str(ca))
    well, ill = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(well)
    (ours if trusted else other).issue_cert("elsewhere.example" if trusted else "localhost").configure_cert(ill)
    return well, ill, ca


def tls_fault(*, trusted: bool) -> Callable[[int], AbstractAsyncContextManager[Vendor]]:
    """A certificate of a stranger's; or of ours, for another name."""

    @asynccontextmanager
    async def vendor(_: int) -> AsyncIterator[Vendor]:
        with tempfile.TemporaryDirectory() as directory:
            well, ill, ca = _contexts(Path(directory), trusted=trusted)
            async with _replaced("https", _swallow, ill, well, ca) as found:
                yield found

    return vendor


@asynccontextmanager
async def not_tls(__: int) -> AsyncIterator[Vendor]:
    """Something on the TLS port that does not speak TLS."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    with tempfile.TemporaryDirectory() as directory:
        well, _, ca = _contexts(Path(directory), trusted=True)
        async with _replaced("https", plain, None, well, ca) as found:
            yield found


@asynccontextmanager
async def unresolved(_: int) -> AsyncIterator[Vendor]:
    """The vendor's name does not resolve, until it does."""
    real = socket.getaddrinfo
    broken = True

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host != "vendor.test":
            return real(host, *rest, **more)
        if broken:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *rest, **more)

    async with upstream() as endpoint:

        async def heal() -> None:
            nonlocal broken
            broken = False

        with mock.patch("socket.getaddrinfo", resolve):
            yield Vendor(endpoint.url.replace("127.0.0.1", "vendor.test"), heal)


NETWORK, MALFORMED = "UPSTREAM_NETWORK", "UPSTREAM_MALFORMED"
UNAVAILABLE, PRECONDITION, EXHAUSTED = "UNAVAILABLE", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"

FAULTS = (
    Fault("connection refused", refused, UNAVAILABLE, NETWORK, 0),
    Fault("name does not resolve", unresolved, UNAVAILABLE, NETWORK, 0),
    Fault("certificate of a stranger's", tls_fault(trusted=False), UNAVAILABLE, NETWORK, 0),
    Fault("certificate for another name", tls_fault(trusted=True), UNAVAILABLE, NETWORK, 0),
    Fault("no TLS on the TLS port", not_tls, UNAVAILABLE, NETWORK, 0),
    Fault("reset when connected", reset_on_accept, UNAVAILABLE, NETWORK, 2),
    Fault("reset within the request", reset_within_request, UNAVAILABLE, NETWORK, 2),
    Fault("reset before the answer", scripted({"reset": "before"}), UNAVAILABLE, NETWORK, 2),
    Fault("reset within the answer", scripted({"reset": "within"}), UNAVAILABLE, NETWORK, 2),
    Fault("no answer", scripted({"hang": True}), UNAVAILABLE, "UPSTREAM_NETWORK", 2, 2.0),
    Fault("an answer at 20 bytes a second", scripted({"drip": 20}), UNAVAILABLE, "UPSTREAM_NETWORK", 2, 2.0),
    Fault("no answer within the caller's deadline", scripted({"hang": True}), "DEADLINE_EXCEEDED", "DEADLINE", 1, 0.5, 0.4),
    Fault("HTTP 500 with HTML", scripted({"http_status": 500, "body": "<html>"}), UNAVAILABLE, "UPSTREAM_HTTP_STATUS", 3),
    Fault("HTTP 503 with 2 MB", scripted({"http_status": 503, "body": "x" * 2_000_000}), UNAVAILABLE, "UPSTREAM_HTTP_STATUS", 3),
    Fault("HTTP 502, once", scripted({"http_status": 502}), OK, "", 2, failing=1),
    Fault("HTTP 302", scripted({"http_status": 302}), UNAVAILABLE, "UPSTREAM_HTTP_STATUS", 3),
    Fault("truncated JSON", scripted({"truncate": 200}), UNAVAILABLE, MALFORMED, 2),
    Fault("HTML with HTTP 200", scripted({"body": "<html>"}), UNAVAILABLE, MALFORMED, 2),
    Fault("no bytes", scripted({"body": ""}), UNAVAILABLE, MALFORMED, 2),
    Fault("invalid UTF-8", scripted({"body_hex": "7b22ff22"}), UNAVAILABLE, MALFORMED, 2),
    Fault("JSON without FaceInfos", scripted({"response": {}}), UNAVAILABLE, MALFORMED, 2),
    Fault("100 MB", scripted({"oversize": 100_000_000}), UNAVAILABLE, MALFORMED, 2, 3.0),
    Fault("InternalError", code("InternalError"), UNAVAILABLE, "UPSTREAM_INTERNAL", 3),
    Fault("InternalError, once", code("InternalError"), OK, "", 2, failing=1),
    Fault("FailedOperation.RequestTimeout", code("FailedOperation.RequestTimeout"), UNAVAILABLE, "UPSTREAM_TIMEOUT", 3),
    Fault("FailedOperation.UnKnowError", code("FailedOperation.UnKnowError"), UNAVAILABLE, "UPSTREAM_UNKNOWN", 2),
    Fault("throttled, once", code("RequestLimitExceeded"), OK, "", 2, 2.0, failing=1),
    Fault("throttled, always", code("RequestLimitExceeded"), EXHAUSTED, "UPSTREAM_RATE_LIMIT", 3, 3.5),
    Fault("quota used up", code("LimitExceeded"), EXHAUSTED, "UPSTREAM_QUOTA", 1),
    Fault("wrong key", code("AuthFailure.SignatureFailure"), PRECONDITION, "UPSTREAM_CREDENTIALS", 1),
    Fault("expired token", code("AuthFailure.TokenFailure"), PRECONDITION, "UPSTREAM_TOKEN", 2),
    Fault("no permission", code("AuthFailure.UnauthorizedOperation"), PRECONDITION, "UPSTREAM_PERMISSION", 1),
    Fault("account in arrears", code("ResourceUnavailable.InArrears"), PRECONDITION, "UPSTREAM_ACCOUNT", 1),
    Fault("clock off by ten minutes", scripted({}, clock_skew_seconds=600), OK, "", 2, failing=0),
    Fault("photo refused", code("InvalidParameterValue.NoFaceInPhoto"), OK, "NO_FACE", 1),
    Fault(
        "URI not downloaded",
        code("FailedOperation.ImageDownloadError"),
        PRECONDITION,
        "IMAGE_DOWNLOAD_FAILED",
        2,
        uri="https://photos.example.com/1.jpg",
    ),
)


@dataclass(frozen=True)
class Load:
    """Checks by one caller after the other, of different photos, more than can be answered."""

    name: str
    scenario: dict[str, Any]
    settings: dict[str, Any]
    checks: int
    per_second: float
    timeout: float


@dataclass(frozen=True)
class LoadRow:
    """What came of them."""

    load: Load
    outcomes: Counter[tuple[str, str]]
    """By status and reason."""
    throttled: int
    """Checks that the vendor itself refused."""
    slowest: float
    paid: int
    counted: int
    recovered: bool


LOADS = (
    Load("throttles at half of what is offered", {"rate_limit": {"qps": 20}}, {}, 80, 40, 5),
    Load("the same, where the gate knows its quota", {"rate_limit": {"qps": 20}}, {"tencentcloud_qps": 18.0}, 80, 40, 5),
    Load(
        "half of what is offered fits into its connections",
        {"latency": {"seconds": 0.5}},
        {"tencentcloud_connections": 2},
        40,
        8,
        2,
    ),
)


async def observe_load(load: Load) -> LoadRow:
    """Run one load through a gate of its own, then one more check."""
    outcomes: Counter[tuple[str, str]] = Counter()
    throttled, slowest = 0, 0.0

    async with behind(load.scenario, **load.settings) as (endpoint, served):

        async def check(number: int) -> None:
            nonlocal throttled, slowest
            started = time.perf_counter()
            try:
                await served.stub.CheckFaceQuality(distinct(number), timeout=load.timeout)
                outcomes[OK, ""] += 1
            except grpc.aio.AioRpcError as error:
                info: Any = details(error)["ErrorInfo"]
                outcomes[error.code().name, info.reason] += 1
                throttled += "upstream_code" in info.metadata
            slowest = max(slowest, time.perf_counter() - started)

        async with asyncio.TaskGroup() as checks:
            for number in range(load.checks):
                checks.create_task(check(number))
                await asyncio.sleep(1 / load.per_second)
        paid, counted = int(served.paid), endpoint.calls
        await asyncio.sleep(1)
        recovered = await _outcome(served.stub.CheckFaceQuality(distinct(load.checks), timeout=TIMEOUT)) == (OK, "")
    return LoadRow(load, outcomes, throttled, slowest, paid, counted, recovered)


async def observe(fault: Fault) -> Row:
    """Run one fault through a gate of its own."""
    async with fault.vendor(fault.paid if fault.failing is None else fault.failing) as vendor:
        settings = {"tencentcloud_ca_file": vendor.ca_file, "tencentcloud_attempt_seconds": ATTEMPT_SECONDS}
        async with gate(vendor.url, secret_id=SECRET_ID, secret_key=SECRET_KEY, **settings) as served:
            request = pb.CheckFaceQualityRequest(image=PHOTO, policy="loose")
            ill = pb.CheckFaceQualityRequest(uri=fault.uri, policy="loose") if fault.uri else request
            started = time.perf_counter()
            status, reason = await _outcome(served.stub.CheckFaceQuality(ill, timeout=fault.timeout))
            seconds = time.perf_counter() - started
            paid = served.paid
            counted = vendor.counted() if vendor.counted is not None else None
            await vendor.heal()
            recovered = await _outcome(served.stub.CheckFaceQuality(request, timeout=TIMEOUT)) == (OK, "")
    return Row(fault, status, reason, seconds, int(paid), counted, recovered)


async def _outcome(call: Any) -> tuple[str, str]:
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        info: Any = details(error).get("ErrorInfo")
        return error.code().name, info.reason if info is not None else ""
    return OK, ", ".join(verdict_pb2.Reason.Name(reason).removeprefix("REASON_") for reason in response.reasons)


def table(rows: list[Row]) -> str:
    """Render rows as Markdown."""
    lines = ["| the vendor's fault | status | reason | seconds | paid calls | next call |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.fault.name} | `{row.status}` | {f'`{row.reason}`' if row.reason else ''} | {row.seconds:.2f} | {row.paid} | "
        f"{'succeeds' if row.recovered else 'FAILS'} |"
        for row in rows
    ]
    return "\n".join(lines)


def load_table(rows: list[LoadRow]) -> str:
    """Render rows as Markdown."""
    lines = [
        "| the vendor | checks | a second | what came of them | slowest, s | paid calls | next call |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        came = ", ".join(f"{count} `{' '.join(filter(None, key))}`" for key, count in row.outcomes.most_common())
        lines.append(
            f"| {row.load.name} | {row.load.checks} | {row.load.per_second:g} | {came} | {row.slowest:.1f} | {row.paid} | "
            f"{'succeeds' if row.recovered else 'FAILS'} |"
        )
    return "\n".join(lines)


async def _main() -> None:
    rows = [await observe(fault) for fault in FAULTS]
    loads = [await observe_load(load) for load in LOADS]
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- faults -->\n")
    _, _, tail = rest.partition("<!-- /faults -->")
    README.write_text(f"{head}<!-- faults -->\n{table(rows)}\n\n{load_table(loads)}\n<!-- /faults -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_main())
