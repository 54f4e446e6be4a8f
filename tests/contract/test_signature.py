"""TC3-HMAC-SHA256 against the official SDK's signer and the vendor's documentation."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from facequality.detectors.tencentcloud import signature
from facequality.detectors.tencentcloud.signature import Canonical, Credential, authorization, sign, string_to_sign, utc_date
from hypothesis import given
from hypothesis import strategies as st
from tencentcloud.common import credential as sdk_credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.iai.v20200303.iai_client import IaiClient

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "tc3_golden_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_vectors_are_reproduced(vector: dict[str, Any]) -> None:
    """Every step: payload hash, canonical request, string to sign, signature, header."""
    payload = {"<body>": vector["body"].encode(vector["body_encoding"]), "<empty>": b""}.get(
        vector["hashed_payload_input"], vector["hashed_payload_input"].encode()
    )
    digest = hashlib.sha256(payload).hexdigest()
    assert digest == vector["payload_sha256"]
    query = vector["request_target"].partition("?")[2]
    headers = (("content-type", vector["headers"]["Content-Type"]), ("host", vector["headers"]["Host"]))
    canonical = Canonical(vector["http_method"], query, headers, digest)
    assert canonical.text() == vector["canonical_request"]
    timestamp = int(vector["headers"]["X-TC-Timestamp"])
    date = utc_date(timestamp)
    assert string_to_sign(canonical, timestamp, date, GOLDEN["service"]) == vector["string_to_sign"]
    assert sign(canonical, GOLDEN["secret_key"], timestamp, date, GOLDEN["service"]) == vector["signature"]
    credential = Credential(GOLDEN["secret_id"], GOLDEN["secret_key"])
    assert authorization(canonical, credential, timestamp, GOLDEN["service"]) == vector["authorization"]


@pytest.mark.parametrize("vector", GOLDEN["published_doc_vectors"], ids=["content-type;host", "x-tc-action too"])
def test_published_vectors_are_reproduced(vector: dict[str, Any]) -> None:
    """The two that the vendor prints."""
    headers = tuple(tuple(line.split(":", 1)) for line in vector["canonical_headers"].strip().split("\n"))
    digest = hashlib.sha256(vector["body"].encode()).hexdigest()
    assert digest == vector["payload_sha256"]
    canonical = Canonical(vector["http_method"], "", headers, digest)
    assert canonical.signed_headers == vector["signed_headers"]
    assert hashlib.sha256(canonical.text().encode()).hexdigest() == vector["canonical_request_sha256"]
    timestamp, service = vector["timestamp"], vector["service"]
    assert sign(canonical, vector["secret_key"], timestamp, utc_date(timestamp), service) == vector["signature"]


SDK = IaiClient(sdk_credential.Credential("AKIDx", "x"), "")
hosts = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){1,3}(:[0-9]{2,5})?", fullmatch=True)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(st.binary(max_size=2000), hosts, st.integers(0, 4_000_000_000), secrets)
def test_the_official_sdk_gives_the_same_signature(body: bytes, host: str, timestamp: int, secret: str) -> None:
    """Random bodies, hosts, times and keys."""
    request = RequestInternal(host, "POST", "/")
    request.data = body
    request.header = {"Content-Type": "application/json", "Host": host, "X-TC-Timestamp": str(timestamp)}
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    theirs = SDK._get_tc3_signature({}, request, date, "iai", secret)
    headers = (("content-type", "application/json"), ("host", host))
    canonical = Canonical("POST", "", headers, hashlib.sha256(body).hexdigest())
    assert sign(canonical, secret, timestamp, utc_date(timestamp), "iai") == theirs


@pytest.mark.parametrize(
    ("timestamp", "date"),
    [(0, "1970-01-01"), (1699999999, "2023-11-14"), (1700006399, "2023-11-14"), (1700006400, "2023-11-15")],
)
def test_the_date_is_utc(timestamp: int, date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine in Beijing, or in New York, where midnight in UTC is the day before."""
    import time

    try:
        for zone in ("Asia/Shanghai", "America/New_York"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            signature._date_of_day.cache_clear()
            assert utc_date(timestamp) == date
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_signing_key_is_derived_once_a_day() -> None:
    """Four HMACs saved on each call."""
    signature._signing_key.cache_clear()
    canonical = Canonical("POST", "", (("host", "x"),), "")
    for timestamp in (1700000000, 1700000001, 1700006400):
        sign(canonical, "key", timestamp, utc_date(timestamp), "iai")
    assert signature._signing_key.cache_info().misses == 2


def test_secrets_stay_out_of_reprs() -> None:
    """A credential in a traceback or a log gives nothing away."""
    text = repr(Credential("the-id", "the-key", "the-token"))
    assert not any(secret in text for secret in ("the-id", "the-key", "the-token"))
