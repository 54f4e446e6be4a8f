"""Photo URIs, by their text."""

from __future__ import annotations

import ipaddress

import pytest
from facequality.errors import ErrorReason, InvalidRequest
from facequality.photo_uri import UriRules, check_uri, is_public
from hypothesis import given
from hypothesis import strategies as st

ANY = UriRules()


@pytest.mark.parametrize(
    "uri",
    [
        "https://bucket-1250000000.cos.ap-guangzhou.myqcloud.com/a.jpg?sign=x%2Fy",
        "http://photos.example.com:8080/a",
        "HTTPS://EXAMPLE.COM./a",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::1111]/a.png",
        "https://xn--fiq228c.example/a",
        "https://example.com/".ljust(2048, "a"),
    ],
)
def test_public_uris_pass(uri: str) -> None:
    """Names, ports, public literals, percent-encoding."""
    check_uri(uri, ANY)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "URL_INVALID"),
        ("photo.jpg", "URL_INVALID"),
        ("//example.com/a", "URL_INVALID"),
        ("ftp://example.com/a", "URL_INVALID"),
        ("file:///etc/passwd", "URL_INVALID"),
        ("data:image/png;base64,xx", "URL_INVALID"),
        ("https://", "URL_INVALID"),
        ("https:///path", "URL_INVALID"),
        ("https://example.com:99999/", "URL_INVALID"),
        ("https://[::1/a", "URL_INVALID"),
        ("https://exa mple.com/", "URL_INVALID"),
        ("https://example.com/\r\nHost: x", "URL_INVALID"),
        ("https://example.com\\@10.0.0.1/", "URL_INVALID"),
        ("https://例子.example/a", "URL_INVALID"),
        ("https://a%2eb.example/a", "URL_INVALID"),
        ("https://a..b.example/", "URL_INVALID"),
        ("https://example.com/" + "a" * 2048, "URL_INVALID"),
        ("https://127.1/a", "URL_INVALID"),
        ("http://10.0.0.1[2606:4700::1111]/a", "URL_INVALID"),
        ("http://[2606:4700::1111].evil.internal/a", "URL_INVALID"),
        ("http://x[2606:4700::1111]/a", "URL_INVALID"),
        ("http://[v1.x]/a", "URL_INVALID"),
        ("https://" + "a" * 64 + ".example/a", "URL_INVALID"),
        ("http://[64:ff9b::7f00:1]/a", "URL_FORBIDDEN"),
        ("http://[64:ff9b:1::a00:1]/a", "URL_FORBIDDEN"),
        ("http://[fec0::1]/a", "URL_FORBIDDEN"),
        ("http://[::7f00:1]/a", "URL_FORBIDDEN"),
        ("https://2130706433/a", "URL_INVALID"),
        ("https://0x7f000001/a", "URL_INVALID"),
        ("https://0177.0.0.1/a", "URL_INVALID"),
        ("https://user:secret@example.com/a", "URL_FORBIDDEN"),
        ("https://user@example.com/a", "URL_FORBIDDEN"),
        ("https://127.0.0.1/a", "URL_FORBIDDEN"),
        ("https://10.1.2.3/a", "URL_FORBIDDEN"),
        ("https://169.254.169.254/latest/meta-data", "URL_FORBIDDEN"),
        ("https://100.64.0.1/a", "URL_FORBIDDEN"),
        ("https://0.0.0.0/a", "URL_FORBIDDEN"),
        ("https://[::1]/a", "URL_FORBIDDEN"),
        ("https://[::ffff:10.0.0.1]/a", "URL_FORBIDDEN"),
        ("https://[fd00::1]/a", "URL_FORBIDDEN"),
        ("https://[fe80::1]/a", "URL_FORBIDDEN"),
        ("https://[2002:7f00:1::]/a", "URL_FORBIDDEN"),
        ("https://[2001:0:a00:1:8000:63bf:f7f7:f7f7]/a", "URL_FORBIDDEN"),  # Teredo: a relay at 10.0.0.1
        ("https://localhost/a", "URL_FORBIDDEN"),
        ("https://LOCALHOST./a", "URL_FORBIDDEN"),
        ("https://metadata/a", "URL_FORBIDDEN"),
        ("https://metadata.google.internal/a", "URL_FORBIDDEN"),
        ("https://vault.prod.svc.cluster.local/a", "URL_FORBIDDEN"),
        ("https://vault.prod.svc/a", "URL_FORBIDDEN"),
        ("http://metadata.tencentyun.com/latest/meta-data", "URL_FORBIDDEN"),
        ("https://printer.corp/a", "URL_FORBIDDEN"),
        ("https://nas.lan/a", "URL_FORBIDDEN"),
        ("http://[::ffff:0:7f00:1]/a", "URL_FORBIDDEN"),
        ("http://[3fff::1]/a", "URL_FORBIDDEN"),
        ("http://[5f00::1]/a", "URL_FORBIDDEN"),
        ("http://[4000::1]/a", "URL_FORBIDDEN"),
        ("http://192.88.99.1/a", "URL_FORBIDDEN"),
        ("http://192.0.0.192/latest", "URL_FORBIDDEN"),
        ("http://239.255.255.250/a", "URL_FORBIDDEN"),
        ("https://example.com/\u00e4", "URL_INVALID"),
        ("https://example.com/a b", "URL_INVALID"),
        ("https://example.com/".ljust(2049, "a"), "URL_INVALID"),
        ("https://@example.com/a", "URL_FORBIDDEN"),
        ("http://photos.example.com:0/a", "URL_INVALID"),
    ],
)
def test_others_are_refused_without_being_repeated(uri: str, reason: str) -> None:
    """A URI that points inside the cluster, in every disguise."""
    with pytest.raises(InvalidRequest) as caught:
        check_uri(uri, ANY)
    assert caught.value.reason == reason
    assert caught.value.violations[0].field == "uri"
    assert "secret" not in str(caught.value)


def test_an_allow_list_names_hosts_and_what_lies_below_them() -> None:
    """example.com is not .example.com, and neither is what merely ends in it."""
    rules = UriRules(frozenset({"photos.example.com", ".cdn.example.net"}))
    check_uri("https://Photos.Example.com/a", rules)
    check_uri("https://eu.cdn.example.net/a", rules)
    others = ("example.com/a", "evilphotos.example.com/a", "cdn.example.net/a", "evilcdn.example.net/a", "8.8.8.8/")
    for other in others:
        with pytest.raises(InvalidRequest, match="does not allow"):
            check_uri(f"https://{other}", rules)


def test_a_host_has_253_characters_at_most() -> None:
    """As DNS has it."""
    host = ".".join(["a" * 49] * 5) + ".ab"
    check_uri(f"https://b{host[1:]}/", ANY)
    assert len(host) == 252
    check_uri(f"https://b{host}/", ANY)
    with pytest.raises(InvalidRequest):
        check_uri(f"https://bb{host}/", ANY)


@given(st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_any_text_passes_or_is_refused_in_a_typed_way(uri: str) -> None:
    """Nothing but InvalidRequest."""
    try:
        check_uri(uri, ANY)
    except InvalidRequest as refused:
        assert refused.reason in {ErrorReason.URL_INVALID, ErrorReason.URL_FORBIDDEN}


@given(st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="169.254.0.0/16") | st.ip_addresses(network="fc00::/7"))
def test_private_addresses_are_not_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Nor are they when they are mapped into IPv6."""
    assert not is_public(address)
    if address.version == 4:
        assert not is_public(ipaddress.ip_address(f"::ffff:{address}"))
