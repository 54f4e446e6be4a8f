"""Each of the vendor's faults ends as it must: status, reason, time, bill, and the next call."""

from __future__ import annotations

import pytest

from tests.faults import FAULTS, Fault, observe


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_fault(fault: Fault) -> None:
    """What is paid is what the vendor counts, and the next healthy call succeeds."""
    row = await observe(fault)
    assert (row.status, row.reason, row.paid) == (fault.status, fault.reason, fault.paid)
    assert row.counted in {None, row.paid}
    assert row.seconds <= fault.seconds + 1, "a second more than it should take on an idle machine"
    assert row.recovered
