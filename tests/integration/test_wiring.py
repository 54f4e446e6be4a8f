"""That settings reach the parts that they are for."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from facequality import parts
from facequality.detector import Detector
from facequality.detectors.download import DownloadingDetector
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.transport import HttpClient, HttpOptions
from facequality.errors import ErrorReason, InvalidRequest
from facequality.metrics import Metrics
from facequality.model import Detection, DetectOptions, PhotoBytes
from facequality.settings import Settings
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from tests import photos
from tests.resolving import NamesResolver, only_the_first, uri
from tests.running import gate
from tests.upstream import Upstream, answering

CAT = photos.encode(photos.cat(), "JPEG")


async def test_the_vendors_settings_are_what_is_sent(endpoint: Upstream) -> None:
    """Through the proxy, with every name that may be chosen."""
    chosen: dict[str, Any] = {
        "tencentcloud_proxy": SecretStr(endpoint.url),
        "tencentcloud_region": "ap-guangzhou",
        "tencentcloud_language": "zh-CN",
        "tencentcloud_face_model_version": "2.0",
        "tencentcloud_unsigned_payload": True,
    }
    async with gate("http://vendor.example", **chosen) as served:
        await served.check()
    (request,) = endpoint.received
    assert request.line == "POST http://vendor.example/ HTTP/1.1"
    names = ("x-tc-region", "x-tc-language", "x-tc-content-sha256")
    assert [request.headers[name] for name in names] == ["ap-guangzhou", "zh-CN", "UNSIGNED-PAYLOAD"]
    assert request.document["FaceModelVersion"] == "2.0"


async def test_the_vendors_limits_are_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many connections, and how long for a handshake and a request."""
    found: list[Any] = []

    def http(options: HttpOptions) -> HttpClient:
        found.append(options)
        return HttpClient(options)

    class Cloud(TencentCloudDetector):
        def __init__(self, credentials: Any, options: CloudOptions, *more: Any, **named: Any) -> None:
            found.append(options)
            super().__init__(credentials, options, *more, **named)

    monkeypatch.setattr(parts, "HttpClient", http)
    monkeypatch.setattr(parts, "TencentCloudDetector", Cloud)
    limits: dict[str, Any] = {
        "tencentcloud_connections": 3,
        "tencentcloud_connect_seconds": 0.7,
        "tencentcloud_attempt_seconds": 0.9,
    }
    async with gate("http://vendor.example", **limits):
        transport, cloud = found
    assert (transport.connections, transport.connect_seconds, cloud.attempt_seconds) == (3, 0.7, 0.9)


def embedded(**settings: Any) -> tuple[Detector, Metrics]:
    metrics = Metrics(CollectorRegistry())
    return parts.build_detector(Settings(embedded_workers=1, **settings), metrics), metrics


async def test_the_embedded_detector_downloads_from_allowed_hosts_if_it_is_told_to(
    endpoint: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a redirect may lead is bounded as well."""
    resolving = functools.partial(DownloadingDetector, resolver=NamesResolver(), is_allowed=only_the_first)
    monkeypatch.setattr(parts, "DownloadingDetector", resolving)
    detector, _ = embedded(embedded_fetch_uris=True, photo_uri_hosts="photos.example.com")
    endpoint.exchange = answering(CAT, kind="image/jpeg")
    assert isinstance(await detector.detect(uri(endpoint), DetectOptions()), Detection)
    location = uri(endpoint, "elsewhere.example.com").uri
    endpoint.exchange = answering(b"", status=f"302 Found\r\nLocation: {location}")
    with pytest.raises(InvalidRequest) as caught:
        await detector.detect(uri(endpoint), DetectOptions())
    assert caught.value.reason is ErrorReason.URL_FORBIDDEN
    assert len(endpoint.received) == 2
    await detector.aclose()


async def test_it_downloads_nothing_by_default(endpoint: Upstream) -> None:
    """A URI is refused."""
    detector, _ = embedded()
    with pytest.raises(InvalidRequest, match="downloads nothing"):
        await detector.detect(uri(endpoint), DetectOptions())
    await detector.aclose()


@pytest.mark.parametrize(("entries", "saved"), [(1, 0), (2, 1)])
async def test_the_cache_is_as_large_as_it_is_set(entries: int, saved: int) -> None:
    """The oldest answer makes room."""
    detector, metrics = embedded(cache_seconds=60, cache_entries=entries)
    for photo in (CAT, photos.encode(photos.cat()), CAT):
        await detector.detect(PhotoBytes(photo), DetectOptions())
    await detector.aclose()
    assert metrics.registry.get_sample_value("facequality_saved_calls_total", {"cause": "cached"}) == saved
