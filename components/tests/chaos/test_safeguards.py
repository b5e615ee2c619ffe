"""Each safeguard of the order path taken away alone: the checker must report what it prevented.

Every test does the same thing twice, first with the safeguard and without a violation.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from chaos.faults import ORDERS
from order_gateway.errors import Conflict
from order_gateway.journal import Journal
from shared.exchange.signing import SignedAction
from shared.observation import Known
from shared.orders.states import OrderState
from shared.reconciliation.consensus import LOCAL_VOTER, Ballot, Consensus, Snapshot
from shared.storage.orders import OrderRecord
from shared.storage.risk_state import RiskState
from shared.testing.servers import wait_until
from worker.services import inputs


def test_without_the_journal_before_the_send(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert platform.execute("journaled").state is OrderState.FILLED
    assert platform.violations() == set()

    def not_committed(_: Journal, record: OrderRecord, action: SignedAction) -> OrderRecord:
        """The order goes out; the process dies before it could write that down."""
        return dataclasses.replace(
            record, state=OrderState.SENT, nonce=action.nonce, sent_ms=record.created_ms
        )

    monkeypatch.setattr(Journal, "sent", not_committed)
    assert platform.execute("unjournaled").state is OrderState.PENDING  # the journal's word
    platform.settled()
    assert platform.violations() >= {"sent_before_journal", "wrong_verdict"}


def test_without_the_check_of_the_client_order_id(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = platform.execute("once")
    assert platform.execute("once") == first
    assert platform.violations() == set()

    look_up = Journal.look_up

    def forgetful(
        self: Journal, intent_id: str, symbol: str
    ) -> tuple[OrderRecord | None, RiskState]:
        return None, look_up(self, intent_id, symbol)[1]

    monkeypatch.setattr(Journal, "look_up", forgetful)
    with platform.without_unique("intent_id", "cloid"):
        platform.execute("twice")
        platform.execute("twice")
        assert "double_effect" in platform.violations()


def test_without_the_fence_of_the_symbol(platform: Any) -> None:
    with pytest.raises(Conflict, match="one at a time"):
        _two_at_a_time(platform, "fenced")
    assert platform.violations() == set()

    with platform.without_unique("open_symbol"):
        _two_at_a_time(platform, "unfenced")
        assert "overlap" in platform.violations()


def _two_at_a_time(platform: Any, name: str) -> None:
    """A second intent of the symbol while the venue holds the first."""
    hold = platform.admin.strike(
        {"kind": "delay", "match": ORDERS, "count": 1, "params": {"ms": 1_000}}
    )
    first = threading.Thread(target=platform.execute, args=(f"{name}-1",))
    first.start()
    try:
        wait_until(lambda: platform.admin.hits(hold) > 0, 10, "the first order to be held")
        platform.execute(f"{name}-2", leg="another")
    finally:
        first.join()
        platform.admin.lift()


def test_without_the_quorum(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _trade_and_look_again(platform, BTC=10.0)
    assert platform.violations() == set()

    def trusting(symbol: str, ballots: Sequence[Ballot], *_: Any) -> Consensus:
        """The local table alone, however old."""
        local = next(b for b in ballots if b.voter == LOCAL_VOTER)
        assert isinstance(local, Snapshot)
        size = local.positions.get(symbol, 0)
        position = Known(Decimal(size), local.venue_ms)
        return Consensus(symbol, position, (), (LOCAL_VOTER,), (), ())

    monkeypatch.setattr(inputs, "agree", trusting)
    _trade_and_look_again(platform, BTC=40.0)
    assert "wrong_position" in platform.violations()


def _trade_and_look_again(platform: Any, **directions: float) -> None:
    """Trade, and look again at once: nobody has read the account since."""
    platform.want(**directions)
    platform.read_account()
    wait_until(lambda: _has_traded(platform), 20, "an order of reconciliation")
    platform.settled()
    for _ in range(5):
        platform.reconcile()
        threading.Event().wait(0.2)
    platform.settled()


def _has_traded(platform: Any) -> bool:
    looked = platform.reconcile().looked
    return any(x.reply is not None for x in looked)
