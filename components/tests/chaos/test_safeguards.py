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

from chaos.faults import FAULTS, ORDERS
from chaos.person import trade
from chaos.records import forbidden
from order_gateway.errors import Conflict, RiskBlocked
from order_gateway.journal import Journal
from shared.config import Secrets
from shared.database import UnitOfWork
from shared.exchange.signing import SignedAction
from shared.observation import Known
from shared.orders.states import OrderState
from shared.reconciliation.consensus import LOCAL_VOTER, Ballot, Consensus, Snapshot
from shared.storage.orders import OrderRecord
from shared.storage.risk_state import RiskState, RiskStateStore
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
    first, again = platform.execute("once"), platform.execute("once")
    assert (again.id, again.oid, again.filled_size) == (first.id, first.oid, first.filled_size)
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


def test_a_trade_past_the_gateway_halts_its_symbol_and_is_no_violation(
    platform: Any, secrets: Secrets
) -> None:
    began_ms = platform.wired.clock.now_ms()
    hyperliquid = secrets.exchanges.hyperliquid
    key, wallet = hyperliquid.privateKey.get_secret_value(), hyperliquid.walletAddress
    assert trade(platform.admin.url, key, wallet, "ETH")
    wait_until(lambda: platform.records.paused() == ["ETH"], 20, "the halt")
    assert platform.records.halts()[0].startswith("ETH: a trade that no order of ours explains")
    assert platform.told_of_a_halt(began_ms)
    assert platform.violations() == set()
    platform.gateway.guard.resume("ETH", reason="that was me", actor="tester")


def test_a_venue_that_refuses_every_order_halts_the_symbol(platform: Any) -> None:
    began_ms = platform.wired.clock.now_ms()
    platform.admin.strike(FAULTS["orders refused"].body)
    platform.want(BTC=90.0)
    wait_until(lambda: _halts(platform), 60, "the halt")
    platform.admin.lift()
    platform.settled()
    assert "orders in a row were refused" in platform.records.halts()[0]
    assert platform.told_of_a_halt(began_ms)
    assert platform.violations() == set()
    platform.gateway.guard.resume("BTC", reason="it takes orders again", actor="tester")


def _halts(platform: Any) -> bool:
    platform.want(BTC=90.0)
    platform.read_account()
    platform.reconcile()
    return bool(platform.records.halts())


def test_nothing_that_opens_is_sent_between_the_lines_of_the_audit_trail(platform: Any) -> None:
    platform.gateway.guard.set_kill_switch(reason="a test", actor="tester")
    with pytest.raises(RiskBlocked):
        platform.execute("switched-off")
    assert platform.violations() == set()
    (since_ms, _) = forbidden(platform.gateway.trail.path)[-1]
    assert platform.records.has_blocked(since_ms)
    with UnitOfWork(platform.wired.engine) as uow:  # someone lifts it past the gateway
        store = RiskStateStore(uow.conn)
        store.set_kill_switch(False, reason="not audited", actor="nobody", now_ms=1)
        uow.commit()
    platform.execute("past-the-trail")
    assert platform.violations() == {"opened_while_forbidden"}
    platform.gateway.guard.set_kill_switch(reason="a test", actor="tester")
    platform.gateway.guard.lift_kill_switch(reason="the test is over", actor="tester")
