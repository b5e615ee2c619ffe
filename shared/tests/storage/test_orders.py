"""The intent journal and the fills on a real MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.payloads import Fill
from shared.orders.intents import OrderRequest, derive_cloid
from shared.orders.replies import Verdict
from shared.orders.states import IllegalTransition, OrderState
from shared.storage.orders import (
    FillStore,
    IntentMismatch,
    JournalConflict,
    LegUsed,
    OpenIntentExists,
    OrderRecord,
    OrderStore,
    StalePlan,
    check_same,
)

REQUEST = OrderRequest(
    intent_id="BTC:0:open",
    symbol="BTC",
    side="buy",
    size=Decimal("0.5"),
    order_type="market",
    tif="Ioc",
    price=None,
    reduce_only=False,
    origin="reconcile",
    plan_epoch=0,
    leg="open",
)
FILL = Fill(
    symbol="BTC",
    price=Decimal(100),
    size=Decimal("0.2"),
    side="buy",
    time_ms=1_000,
    start_position=Decimal(0),
    direction="Open Long",
    closed_pnl=Decimal(0),
    oid=77,
    crossed=True,
    fee=Decimal("0.009"),
    fee_token="USDC",
    tid=5,
    cloid=None,
)
FILLED = Verdict(OrderState.FILLED, "filled", 77, Decimal("0.5"), Decimal(100))


def write(engine: Engine, work: Callable[[OrderStore], OrderRecord]) -> OrderRecord:
    with UnitOfWork(engine) as uow:
        record = work(OrderStore(uow.conn))
        uow.commit()
        return record


def pending(engine: Engine, request: OrderRequest = REQUEST) -> OrderRecord:
    return write(
        engine,
        lambda store: store.insert_pending(
            request,
            cloid=derive_cloid("0x1", "j", request.intent_id),
            size=request.size,
            limit_price=Decimal("100.5"),
            now_ms=1,
        ),
    )


def sent(engine: Engine, request: OrderRequest = REQUEST) -> OrderRecord:
    record = pending(engine, request)

    def work(store: OrderStore) -> OrderRecord:
        store.mark_sent(record, nonce=9, expires_after_ms=10, body_sha256="ab" * 32, now_ms=2)
        found = store.find(record.intent_id)
        assert found is not None
        return found

    return write(engine, work)


def concluded(engine: Engine, record: OrderRecord, verdict: Verdict) -> OrderRecord:
    return write(engine, lambda store: store.apply(record, verdict, now_ms=3))


def epoch(engine: Engine, symbol: str = "BTC") -> int:
    with UnitOfWork(engine) as uow:
        return OrderStore(uow.conn).plan_epoch(symbol)


def test_an_order_walks_through_its_life(engine: Engine) -> None:
    assert epoch(engine) == 0
    record = sent(engine)
    assert (record.state, record.nonce, record.sent_ms) == (OrderState.SENT, 9, 2)
    done = concluded(engine, record, FILLED)
    assert (done.state, done.filled_size, done.resolved_ms) == (
        OrderState.FILLED,
        Decimal("0.5"),
        3,
    )
    assert epoch(engine) == 1
    with UnitOfWork(engine) as uow:
        assert OrderStore(uow.conn).find("BTC:0:open") == done
        assert OrderStore(uow.conn).find_by_cloid(done.cloid) == done
        assert OrderStore(uow.conn).open_orders() == []


def test_pending_row_reads_back_as_it_was_written(engine: Engine) -> None:
    record = pending(engine)
    with UnitOfWork(engine) as uow:
        assert OrderStore(uow.conn).find("BTC:0:open") == record
        assert OrderStore(uow.conn).open_orders() == [record]


def test_database_refuses_a_second_open_intent(engine: Engine) -> None:
    pending(engine)
    hand = replace(REQUEST, intent_id="hand:1", plan_epoch=None, leg="hand", origin="hand")
    with pytest.raises(OpenIntentExists):
        pending(engine, hand)
    other = replace(REQUEST, intent_id="ETH:0:open", symbol="ETH")
    assert pending(engine, other).symbol == "ETH"


def test_used_leg_and_stale_plan_are_refused(engine: Engine) -> None:
    concluded(engine, sent(engine), FILLED)
    with pytest.raises(StalePlan, match="not the current one; that is 1"):
        pending(engine, replace(REQUEST, intent_id="BTC:0:close", leg="close"))
    with pytest.raises(StalePlan):
        pending(engine, replace(REQUEST, intent_id="BTC:2:open", plan_epoch=2))
    with UnitOfWork(engine) as uow:  # an epoch that did not advance, as only a fault could leave
        uow.conn.exec_driver_sql("UPDATE plan_epochs SET epoch = 0")
        uow.commit()
    with pytest.raises(LegUsed):
        pending(engine, replace(REQUEST, intent_id="BTC:0:again"))


def test_same_intent_with_another_payload_is_a_mismatch(engine: Engine) -> None:
    record = pending(engine)
    check_same(record, REQUEST)
    with pytest.raises(IntentMismatch, match="another side, size"):
        check_same(record, replace(REQUEST, side="sell", size=Decimal(1)))


def test_of_many_simultaneous_intents_one_is_journaled(engine: Engine) -> None:
    def attempt(number: int) -> bool:
        request = replace(
            REQUEST, intent_id=f"hand:{number}", plan_epoch=None, leg="hand", origin="hand"
        )
        try:
            retry_deadlocks(lambda: pending(engine, request))
        except JournalConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_of_two_verdicts_on_one_order_one_is_written(engine: Engine) -> None:
    record = sent(engine)
    concluded(engine, record, FILLED)
    with pytest.raises(JournalConflict, match="changed elsewhere"):
        concluded(engine, record, Verdict(OrderState.REJECTED, "late"))
    assert epoch(engine) == 1


def test_illegal_transition_writes_nothing(engine: Engine) -> None:
    record = pending(engine)
    with pytest.raises(IllegalTransition):
        concluded(engine, record, FILLED)
    assert epoch(engine) == 0
    unknown = concluded(
        engine, sent(engine, replace(REQUEST, intent_id="ETH:0:open", symbol="ETH")),
        Verdict(OrderState.UNKNOWN, "timeout"),
    )  # fmt: skip
    assert unknown.is_open
    assert epoch(engine, "ETH") == 0


def test_resting_order_grows_its_fill_and_stays_open(engine: Engine) -> None:
    request = replace(REQUEST, intent_id="hand:r", tif="Gtc", plan_epoch=None, leg="hand")
    resting = concluded(engine, sent(engine, request), Verdict(OrderState.RESTING, "book", 77))
    part = Verdict(OrderState.RESTING, "part", 77, Decimal("0.2"), Decimal(100))
    grown = concluded(engine, resting, part)
    assert (grown.is_open, grown.filled_size, grown.resolved_ms) == (True, Decimal("0.2"), None)
    assert epoch(engine) == 0


def test_nonces_never_go_down(engine: Engine) -> None:
    for nonce, expected in ((10, 10), (7, 10), (12, 12)):
        with UnitOfWork(engine) as uow:
            OrderStore(uow.conn).save_nonce("0xabc", nonce)
            uow.commit()
            assert OrderStore(uow.conn).last_nonce("0xabc") == expected
            assert OrderStore(uow.conn).last_nonce("0xother") == 0


def test_fills_are_stored_once_and_sum_up_the_fee(engine: Engine) -> None:
    record = concluded(engine, sent(engine), FILLED)
    first = replace(FILL, cloid=record.cloid)
    by_oid = replace(FILL, tid=6, size=Decimal("0.3"), fee=Decimal("0.01"))
    foreign = replace(FILL, tid=7, oid=1_000)
    for fills, new in (([first, first], 1), ([first, by_oid, foreign], 2), ([by_oid], 0), ([], 0)):
        with UnitOfWork(engine) as uow:
            added = FillStore(uow.conn).add(fills)
            uow.commit()
        assert len(added) == new
    with UnitOfWork(engine) as uow:
        stored = FillStore(uow.conn).of_intent(record.intent_id)
        assert [row.tid for row in stored] == [5, 6]
        assert [row.intent_id for row in FillStore(uow.conn).of_symbol("BTC", 0)] == [
            record.intent_id,
            record.intent_id,
            None,
        ]
        found = OrderStore(uow.conn).find(record.intent_id)
    assert found is not None
    assert found.fee_usd == Decimal("0.019")


def test_orders_are_listed_newest_first_and_filtered(engine: Engine) -> None:
    concluded(engine, sent(engine), FILLED)
    pending(engine, replace(REQUEST, intent_id="ETH:0:open", symbol="ETH"))
    with UnitOfWork(engine) as uow:
        store = OrderStore(uow.conn)
        assert [r.symbol for r in store.recent()] == ["ETH", "BTC"]
        assert [r.symbol for r in store.recent(symbol="BTC")] == ["BTC"]
        assert [r.symbol for r in store.recent(state=OrderState.PENDING)] == ["ETH"]
        assert store.sent_since(0) == [2]
        assert store.sent_since(2) == []


@pytest.mark.parametrize("coin", ["@107", "PURR/USDC"])
def test_fills_of_spot_pairs_are_not_the_perpetual_accounts(engine: Engine, coin: str) -> None:
    with UnitOfWork(engine) as uow:
        added = FillStore(uow.conn).add([replace(FILL, symbol=coin), FILL])
        uow.commit()
    assert [fill.symbol for fill, _ in added] == ["BTC"]
