"""Each of the vendor's faults ends as it must: status, reason, time, bill, and the next call."""

from __future__ import annotations

import pytest

from tests.faults import FAULTS, LOADS, Fault, observe, observe_load


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_fault(fault: Fault) -> None:
    """What is paid is what the vendor counts, and the next healthy call succeeds."""
    row = await observe(fault)
    assert (row.status, row.reason, row.paid) == (fault.status, fault.reason, fault.paid)
    assert row.counted in {None, row.paid}
    assert row.seconds <= fault.seconds + 1, "a second more than it should take on an idle machine"
    assert row.recovered


async def test_a_vendor_that_throttles_half_of_what_is_offered() -> None:
    """Everyone is answered or told to wait; with the quota configured, the vendor throttles nobody."""
    for load, is_throttled in ((LOADS[0], True), (LOADS[1], False)):
        row = await observe_load(load)
        assert set(row.outcomes) <= {("OK", ""), ("RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMIT")}
        assert row.outcomes["OK", ""] >= 30
        assert is_throttled or row.throttled == 0
        assert row.counted == row.paid <= 80 * 1.1 + 3
        assert row.recovered


async def test_twice_what_the_connections_can_carry() -> None:
    """Half is answered, half is told to come back, nothing is paid for in vain, and the healthy vendor is not shut out."""
    row = await observe_load(LOADS[2])
    assert set(row.outcomes) == {("OK", ""), ("RESOURCE_EXHAUSTED", "OVERLOADED")}
    assert row.counted == row.paid == row.outcomes["OK", ""] >= 14
    assert row.recovered
