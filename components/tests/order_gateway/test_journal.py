"""The journal against a lease that was lost."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update

from order_gateway.errors import NotReady
from order_gateway.journal import Journal
from order_gateway.lease_keeper import LeaseKeeper
from shared.storage.tables import leases


def test_a_lease_that_ran_out_is_a_refusal_and_no_fault(engine: Engine) -> None:
    keeper = LeaseKeeper(engine)
    assert keeper.step() is None
    journal = Journal(engine, keeper, "0xme", lambda: 5)
    journal.use_nonce(1)
    with engine.begin() as conn:  # the database stood still for longer than the lease lasts
        conn.execute(update(leases).values(expires_ms=0))
    with pytest.raises(NotReady, match="no longer held"):
        journal.use_nonce(2)
    assert journal.last_nonce() == 1
