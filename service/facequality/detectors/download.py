"""A decorator of the port that downloads photo URIs itself, for detectors that take bytes only. Off unless switched on.

A URI is a request to a place of a stranger's choosing: every host name's resolved addresses and every redirect are checked, and
the connection goes to the very addresses that were checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urljoin

from facequality import __version__
from facequality.detector import Detector
from facequality.detectors.decorator import DetectorDecorator
from facequality.detectors.transport import (
    AnswerTooLarge,
    BadAnswer,
    HttpAnswer,
    HttpClient,
    HttpFailure,
    HttpOptions,
    NoRoom,
    Resolver,
)
from facequality.errors import ErrorReason, Overloaded, PhotoDownloadFailed
from facequality.image import MAX_BYTES, inspect
from facequality.model import Detection, DetectOptions, Judgement, Photo, PhotoBytes, PhotoRefused, PhotoUri, Reason
from facequality.photo_uri import IpAddress, UriRules, check_uri, is_public

MAX_REDIRECTS = 3
SECONDS = 5.0
"""Time limit of a whole download, redirects included."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class DownloadingDetector(DetectorDecorator):
    """Turns URIs into bytes and passes them on."""

    def __init__(
        self,
        inner: Detector,
        *,
        rules: UriRules | None = None,
        resolver: Resolver | None = None,
        is_allowed: Callable[[IpAddress], bool] = is_public,
        seconds: float = SECONDS,
        connections: int = 64,
    ) -> None:
        """``is_allowed`` judges each address that a host name resolves to.

        With fewer ``connections`` than calls at a time, slow hosts keep other photos waiting within their ``seconds``.
        """
        super().__init__(inner)
        self._rules = rules or UriRules()
        self._seconds = seconds
        self._http = HttpClient(HttpOptions(connections=connections, resolver=resolver, is_allowed=is_allowed))

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Download a URI, hold it against the photo limits, pass it on.

        Raises:
            InvalidRequest: a redirect leads to a forbidden URI.
            PhotoDownloadFailed: there is no photo to be had.
            Overloaded: this machine cannot open another connection.
        """
        if isinstance(photo, PhotoUri):
            try:
                photo = PhotoBytes(await self._download(photo.uri))
            except AnswerTooLarge:
                return PhotoRefused(Reason.IMAGE_TOO_LARGE)
            judgement = Judgement.of(inspect(photo.data).findings)
            if judgement.reasons:
                return PhotoRefused(judgement.reasons[0], findings=judgement.findings)
        return await self._inner.detect(photo, options)

    async def aclose(self) -> None:
        """Close the connections and the inner detector."""
        await self._http.aclose()
        await super().aclose()

    async def _download(self, uri: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(uri)
        except TimeoutError as error:
            raise _failed(f"the photo did not arrive within {self._seconds:g} s") from error
        except AnswerTooLarge as error:
            if error.status != HTTPStatus.OK:
                raise _unexpected(error.status) from error
            raise
        except NoRoom as error:
            raise Overloaded(str(error)) from error
        except (HttpFailure, BadAnswer) as error:
            raise _failed(f"the photo could not be downloaded: {error}") from error

    async def _follow(self, uri: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._get(uri)
            if answer.status in _REDIRECTS:
                try:
                    uri = urljoin(uri, answer.headers.get("location", ""))
                except ValueError as error:
                    raise _failed("the photo's URI redirects to what is no URI") from error
                check_uri(uri, self._rules)
                continue
            if answer.status != HTTPStatus.OK:
                raise _unexpected(answer.status)
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise _failed("the photo's host answered with a content encoding that was not asked for")
            return answer.body
        raise _failed(f"the photo's URI redirects more than {MAX_REDIRECTS} times")

    async def _get(self, uri: str) -> HttpAnswer:
        headers = {
            "Accept": "image/jpeg, image/png, image/bmp",
            "Accept-Encoding": "identity",
            "User-Agent": f"face-quality-gate/{__version__}",
        }
        return await self._http.request("GET", uri, headers, max_answer_bytes=MAX_BYTES)


def _unexpected(status: int) -> PhotoDownloadFailed:
    return _failed(f"the photo's host answered with HTTP status {status}")


def _failed(text: str) -> PhotoDownloadFailed:
    return PhotoDownloadFailed(ErrorReason.IMAGE_DOWNLOAD_FAILED, text)
