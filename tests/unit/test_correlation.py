"""Request ids and trace contexts."""

from __future__ import annotations

import re

import pytest
from facequality.correlation import address, correlate
from hypothesis import given
from hypothesis import strategies as st

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_ids_are_taken() -> None:
    """As they are."""
    ids = correlate({"x-request-id": "order-17", "traceparent": TRACE})
    assert (ids.request_id, ids.traceparent) == ("order-17", TRACE)


@pytest.mark.parametrize("more", ["", "-", "-what-a-later-version-adds"])
def test_a_later_versions_trace_context_is_taken(more: str) -> None:
    """Its beginning is as this version's, and it is passed on as it came."""
    trace = f"01{TRACE[2:]}{more}"
    assert correlate({"traceparent": trace}).traceparent == trace


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 129, "line\nbreak", "é"])
def test_a_malformed_id_is_replaced(given_id: str) -> None:
    """It would end up in logs."""
    made = correlate({"x-request-id": given_id}).request_id
    assert re.fullmatch("[0-9a-f]{32}", made)


@pytest.mark.parametrize(
    "trace",
    [
        f"{TRACE}\r\nX-Other: y",
        f" {TRACE}",
        TRACE.upper(),
        TRACE[:-1],
        f"ff{TRACE[2:]}",
        f"00-{32 * '0'}{TRACE[35:]}",
        f"{TRACE[:36]}{16 * '0'}-01",
        f"{TRACE}-more",
        f"01{TRACE[2:]}-{200 * 'x'}",
        f"01{TRACE[2:]}-a b",
        f"01{TRACE[2:]}x",
    ],
)
def test_a_malformed_trace_context_is_dropped(trace: str) -> None:
    """It would be sent on to the vendor."""
    assert correlate({"traceparent": trace}).traceparent is None


@given(st.dictionaries(st.sampled_from(["x-request-id", "traceparent"]), st.text() | st.binary()))
def test_any_metadata_gives_ids(metadata: dict[str, str | bytes]) -> None:
    """Never raises; a trace context is well formed or absent."""
    ids = correlate(metadata)
    assert 1 <= len(ids.request_id) <= 128
    assert ids.traceparent is None or len(ids.traceparent) >= len(TRACE)


@pytest.mark.parametrize(
    ("peer", "told"),
    [("ipv4:10.0.3.17:52110", "10.0.3.17"), ("ipv6:%5B2001:db8::7%5D:52110", "2001:db8::7"), ("unix:", "")],
)
def test_a_caller_is_told_by_its_address(peer: str, told: str) -> None:
    """Not by a port that means nothing tomorrow."""
    assert address(peer) == told
