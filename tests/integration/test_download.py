"""Photo URIs downloaded by the gate itself, for the embedded engine."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from facequality.detectors.download import MAX_REDIRECTS, DownloadingDetector
from facequality.errors import ErrorReason, GateError, Overloaded
from facequality.gate import CheckRequest, Gate
from facequality.image import MAX_BYTES
from facequality.model import Detection, DetectOptions, PhotoBytes, PhotoRefused, PhotoUri, Reason
from facequality.photo_uri import UriRules
from facequality.policy import built_in

from tests import photos
from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.resolving import NamesResolver, only_the_first, uri
from tests.running import no_descriptor
from tests.upstream import Received, Upstream, answer, answering, upstream

PHOTO = photos.encode(photos.cat(), "JPEG")


@pytest.fixture
async def host() -> AsyncIterator[Upstream]:
    async with upstream() as listening:
        listening.exchange = answering(PHOTO, kind="image/jpeg")
        yield listening


def downloading(inner: RecordingDetector, seconds: float = 5.0) -> DownloadingDetector:
    return DownloadingDetector(inner, resolver=NamesResolver(), is_allowed=only_the_first, seconds=seconds)


async def failed(detector: DownloadingDetector, photo: PhotoUri) -> GateError:
    with pytest.raises(GateError) as caught:
        await detector.detect(photo, DetectOptions())
    await detector.aclose()
    return caught.value


async def test_a_photo_is_downloaded_and_passed_on(host: Upstream) -> None:
    """As bytes; bytes themselves pass through."""
    inner = RecordingDetector(EXAMPLE_2)
    detector = downloading(inner)
    assert isinstance(await detector.detect(uri(host), DetectOptions()), Detection)
    await detector.detect(PhotoBytes(b"x"), DetectOptions())
    assert [photo for photo, _ in inner.calls] == [PhotoBytes(PHOTO), PhotoBytes(b"x")]
    assert host.received[0].line == "GET /a.jpg HTTP/1.1"
    await detector.aclose()
    assert inner.is_closed


@pytest.mark.parametrize("path", ["/a%2Fb.jpg?sign=a%2Fb%3Bc%7Ed&e=%2B+%20=", "/a.jpg?q=%zz&&x", "/%E4.jpg"])
async def test_what_a_uri_escapes_stays_escaped(host: Upstream, path: str) -> None:
    """A signed one is good only as it was written."""
    detector = downloading(RecordingDetector(EXAMPLE_2))
    await detector.detect(uri(host, path=path), DetectOptions())
    assert host.received[0].line == f"GET {path} HTTP/1.1"
    assert host.received[0].headers["host"] == uri(host).uri.split("/")[2]
    await detector.aclose()


async def test_a_name_that_resolves_to_a_private_address_is_not_connected_to(host: Upstream) -> None:
    """DNS rebinding: the check is on the address that the connection goes to."""
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host, "private.example.com"))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED
    assert error.message.endswith("the host name has no address that is allowed")
    assert host.connections == 0


async def test_without_options_loopback_is_not_public(host: Upstream) -> None:
    """The default rule."""
    detector = DownloadingDetector(RecordingDetector(EXAMPLE_2), resolver=NamesResolver())
    assert (await failed(detector, uri(host))).reason is ErrorReason.IMAGE_DOWNLOAD_FAILED
    assert host.connections == 0


async def test_redirects_are_followed_and_each_is_checked(host: Upstream) -> None:
    """To a public name yes; to a private literal, a private name or another scheme no."""
    inner = RecordingDetector(EXAMPLE_2)

    def redirecting(to: str, status: int = 302) -> None:
        async def exchange(request: Received, writer: asyncio.StreamWriter) -> None:
            if "start" in request.line:
                await answer(writer, b"", f"{status} Elsewhere\r\nLocation: {to}")
            else:
                await answer(writer, PHOTO)

        host.exchange = exchange

    port = host.url.rsplit(":", 1)[1]
    detector = downloading(inner)
    there = f"http://cdn.example.com:{port}/photo.jpg"
    for status, to in ((301, there), (302, "/photo.jpg"), (303, there), (307, there), (308, there)):
        redirecting(to, status)
        assert isinstance(await detector.detect(uri(host, path="/start"), DetectOptions()), Detection)
    await detector.aclose()
    for to, reason in (
        (f"http://127.0.0.1:{port}/photo.jpg", ErrorReason.URL_FORBIDDEN),
        (f"http://private.example.com:{port}/photo.jpg", ErrorReason.IMAGE_DOWNLOAD_FAILED),
        ("file:///etc/passwd", ErrorReason.URL_INVALID),
        ("http://metadata/photo.jpg", ErrorReason.URL_FORBIDDEN),
    ):
        redirecting(to)
        assert (await failed(downloading(inner), uri(host, path="/start"))).reason is reason


@pytest.mark.parametrize("to", ["http://[::1", "http://a]b/", "http://xn--a.example/", "", "http://" + "a" * 64 + ".example/"])
async def test_a_redirect_to_nonsense_is_typed(host: Upstream, to: str) -> None:
    """Whatever a stranger's host says: no bug of ours."""

    async def exchange(_: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, b"", f"302 Found\r\nLocation: {to}")

    host.exchange = exchange
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host))
    assert error.reason in {ErrorReason.IMAGE_DOWNLOAD_FAILED, ErrorReason.URL_INVALID}


async def test_a_redirect_must_stay_within_the_allow_list(host: Upstream) -> None:
    """What the operator allows holds for every hop."""
    port = host.url.rsplit(":", 1)[1]
    host.exchange = answering(b"", f"302 Found\r\nLocation: http://elsewhere.example.com:{port}/")
    rules = UriRules(frozenset({"photos.example.com"}))
    detector = DownloadingDetector(RecordingDetector(EXAMPLE_2), rules=rules, resolver=NamesResolver(), is_allowed=only_the_first)
    assert (await failed(detector, uri(host))).reason is ErrorReason.URL_FORBIDDEN


async def test_a_coded_answer_is_not_taken_for_the_photo(host: Upstream) -> None:
    """None was asked for."""
    host.exchange = answering(gzip.compress(PHOTO), "200 OK\r\nContent-Encoding: gzip")
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED
    assert host.received[0].headers["accept-encoding"] == "identity"


async def test_what_is_not_http_is_no_photo(host: Upstream) -> None:
    """An SSH server, say: nothing was judged."""

    async def banner(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()

    host.exchange = banner
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED


async def test_redirects_are_limited(host: Upstream) -> None:
    """A loop ends."""
    host.exchange = answering(b"", "302 Found\r\nLocation: /again")
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED
    assert len(host.received) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content"])
@pytest.mark.parametrize("size", [0, MAX_BYTES + 1])
async def test_no_photo_at_the_address_is_an_error(host: Upstream, status: str, size: int) -> None:
    """Nothing was judged, however long the page is that says so."""
    host.exchange = answering(bytes(size), status)
    error = await failed(downloading(RecordingDetector(EXAMPLE_2)), uri(host))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>log in</html>", Reason.IMAGE_UNDECODABLE),
        (b"GIF89a" + b"\x00" * 40, Reason.IMAGE_FORMAT_UNSUPPORTED),
        (b"\x00" * (MAX_BYTES + 1), Reason.IMAGE_TOO_LARGE),
        (photos.encode(photos.cat().resize((2001, 100))), Reason.IMAGE_RESOLUTION_TOO_HIGH),
    ],
)
async def test_a_downloaded_photo_is_held_against_the_limits(host: Upstream, content: bytes, reason: Reason) -> None:
    """By content, before the engine sees it."""
    host.exchange = answering(content, kind="image/jpeg")
    inner = RecordingDetector(EXAMPLE_2)
    detector = downloading(inner)
    refused = await detector.detect(uri(host), DetectOptions())
    assert isinstance(refused, PhotoRefused)
    assert refused.reason is reason
    assert inner.calls == []
    await detector.aclose()


async def test_the_largest_photo_is_downloaded(host: Upstream) -> None:
    """To its last byte."""
    photo = PHOTO + bytes(MAX_BYTES - len(PHOTO))
    host.exchange = answering(photo, kind="image/jpeg")
    inner = RecordingDetector(EXAMPLE_2)
    detector = downloading(inner)
    assert isinstance(await detector.detect(uri(host), DetectOptions()), Detection)
    assert inner.calls[0][0] == PhotoBytes(photo)
    await detector.aclose()


async def test_what_is_too_large_is_not_read_to_its_end(host: Upstream) -> None:
    """A stranger's host could fill the gate's memory."""
    sent = 0

    async def large(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        for _piece in range(1600):
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    host.exchange = large
    detector = downloading(RecordingDetector(EXAMPLE_2))
    refused = await detector.detect(uri(host), DetectOptions())
    await detector.aclose()
    assert isinstance(refused, PhotoRefused)
    assert refused.reason is Reason.IMAGE_TOO_LARGE
    # Beside what the sockets hold.
    assert sent < MAX_BYTES + 16_000_000


async def test_a_downloaded_photo_is_refused_for_all_that_is_wrong_with_it(host: Upstream) -> None:
    """With every number, as if it had come as bytes."""
    photo = photos.encode(photos.cat().resize((4001, 63)), "JPEG")
    host.exchange = answering(photo, kind="image/jpeg")
    detector = downloading(RecordingDetector(EXAMPLE_2))
    gate = Gate(lambda: built_in(datetime.now(UTC)), detector)
    by_uri = await gate.check(CheckRequest(uri(host)))
    by_bytes = await gate.check(CheckRequest(PhotoBytes(photo)))
    await detector.aclose()
    assert by_uri.judgement == by_bytes.judgement
    assert by_uri.judgement.reasons == (Reason.IMAGE_RESOLUTION_TOO_HIGH, Reason.IMAGE_RESOLUTION_TOO_LOW)


async def test_a_slow_host_ends_in_time(host: Upstream) -> None:
    """One limit for the whole download."""
    never = asyncio.Event()

    async def drip(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        await never.wait()

    host.exchange = drip
    error = await failed(downloading(RecordingDetector(EXAMPLE_2), seconds=0.3), uri(host))
    assert error.reason is ErrorReason.IMAGE_DOWNLOAD_FAILED
    assert "0.3 s" in str(error)
    never.set()


async def test_a_machine_without_a_descriptor_left_does_not_blame_the_photo(host: Upstream) -> None:
    """It is the gate that has no room; the caller may come again."""
    detector = downloading(RecordingDetector(EXAMPLE_2))
    with no_descriptor(), pytest.raises(Overloaded, match="Too many open files"):
        await detector.detect(uri(host), DetectOptions())
    await detector.aclose()


async def test_a_hosts_cookies_are_not_kept(host: Upstream) -> None:
    """One photo has nothing to do with the next."""
    host.exchange = answering(PHOTO, "200 OK\r\nSet-Cookie: seen=1", "image/jpeg")
    detector = downloading(RecordingDetector(EXAMPLE_2))
    for _ in range(2):
        await detector.detect(uri(host), DetectOptions())
    await detector.aclose()
    assert [request.headers.get("cookie") for request in host.received] == [None, None]
