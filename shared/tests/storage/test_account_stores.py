"""Positions, balances and reasons on a real MariaDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import Engine, func, select

from shared.database import UnitOfWork, retry_deadlocks
from shared.exchange.payloads import AccountSnapshot, PositionSnapshot
from shared.storage.balances import Balance, BalanceStore
from shared.storage.positions import FUTURE_TOLERANCE_MS, PositionStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.tables import positions

DEXES = ("",)


def account(venue_ms: int, **sizes: str) -> AccountSnapshot:
    held = {
        symbol: PositionSnapshot(
            symbol=symbol,
            size=Decimal(size),
            entry_price=Decimal("100.5"),
            unrealised=Decimal("-1.25"),
            margin_used=Decimal(20),
            notional=abs(Decimal(size)) * 100,
            leverage=5,
            isolated=False,
            liquidation_price=None,
        )
        for symbol, size in sizes.items()
    }
    return AccountSnapshot(
        dex="",
        positions=held,
        account_value=Decimal("1000.123456"),
        withdrawable=Decimal(900),
        margin_used=Decimal(20),
        total_notional=Decimal(100),
        maintenance_margin=Decimal(5),
        venue_ms=venue_ms,
    )


def store(engine: Engine, reading: AccountSnapshot, read_ms: int, voter: str = "local") -> bool:
    def work() -> bool:
        with UnitOfWork(engine) as uow:
            newer = PositionStore(uow.conn).replace(voter, reading, DEXES, read_ms)
            uow.commit()
            return newer

    return retry_deadlocks(work)


def sizes(engine: Engine, voter: str = "local") -> dict[str, Decimal]:
    with UnitOfWork(engine) as uow:
        snapshot = PositionStore(uow.conn).snapshot(voter)
    assert snapshot is not None
    return dict(snapshot.positions)


def test_a_voter_that_never_read_has_no_snapshot(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        assert PositionStore(uow.conn).snapshot("local") is None


def test_a_complete_reading_without_positions_is_a_snapshot(engine: Engine) -> None:
    assert store(engine, account(1_000), 1_010)
    with UnitOfWork(engine) as uow:
        snapshot = PositionStore(uow.conn).snapshot("local")
    assert snapshot is not None
    assert (snapshot.venue_ms, snapshot.read_ms) == (1_000, 1_010)
    assert snapshot.positions == {}
    assert snapshot.dexes == {""}


def test_a_newer_reading_replaces_all_positions(engine: Engine) -> None:
    store(engine, account(1_000, BTC="1.00001", ETH="-2"), 1_010)
    store(engine, account(2_000, ETH="-3"), 2_010)
    assert sizes(engine) == {"ETH": Decimal(-3)}


def test_sizes_come_back_exactly(engine: Engine) -> None:
    store(engine, account(1_000, PEPE="123456789012.5", BTC="0.00001"), 1_010)
    assert sizes(engine) == {"PEPE": Decimal("123456789012.5"), "BTC": Decimal("0.00001")}


def test_an_older_reading_that_comes_later_changes_nothing(engine: Engine) -> None:
    store(engine, account(2_000, BTC="1"), 2_010)
    assert not store(engine, account(1_000, BTC="9"), 2_020)
    assert not store(engine, account(2_000, BTC="9"), 2_030)
    assert sizes(engine) == {"BTC": Decimal(1)}


def test_a_reading_from_a_broken_future_is_overwritten(engine: Engine) -> None:
    store(engine, account(10_000_000, BTC="9"), 1_000)
    assert store(engine, account(2_000, BTC="1"), 10_000_000 - FUTURE_TOLERANCE_MS - 1)
    assert sizes(engine) == {"BTC": Decimal(1)}


def test_voters_do_not_touch_each_other(engine: Engine) -> None:
    store(engine, account(1_000, BTC="1"), 1_010, "local")
    store(engine, account(1_000, BTC="2"), 1_010, "other")
    assert (sizes(engine, "local"), sizes(engine, "other")) == (
        {"BTC": Decimal(1)},
        {"BTC": Decimal(2)},
    )


def test_an_uncommitted_reading_leaves_the_last_one(engine: Engine) -> None:
    store(engine, account(1_000, BTC="1"), 1_010)
    with UnitOfWork(engine) as uow:
        PositionStore(uow.conn).replace("local", account(2_000, BTC="2"), DEXES, 2_010)
    assert sizes(engine) == {"BTC": Decimal(1)}


def test_readings_at_the_same_time_leave_the_newest_whole(engine: Engine) -> None:
    readings = [account(1_000 + n, BTC=str(n + 1), ETH=str(n + 1)) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda r: store(engine, r, 5_000), readings))
    assert sizes(engine) == {"BTC": Decimal(12), "ETH": Decimal(12)}
    with UnitOfWork(engine) as uow:
        assert uow.conn.execute(select(func.count()).select_from(positions)).scalar_one() == 2


def test_balances_come_back_in_order(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        store_ = BalanceStore(uow.conn)
        assert store_.latest() is None
        for venue_ms in (1_000, 2_000, 3_000):
            store_.add(Balance.of(account(venue_ms), venue_ms + 5))
        uow.commit()
    with UnitOfWork(engine) as uow:
        latest = BalanceStore(uow.conn).latest()
        since = BalanceStore(uow.conn).since(2_000)
    assert latest is not None
    assert latest.account_value == Decimal("1000.123456")
    assert [b.venue_ms for b in since] == [2_000, 3_000]
    assert since[-1] == latest


@pytest.fixture
def reasons(engine: Engine) -> Engine:
    with UnitOfWork(engine) as uow:
        ReconciliationLog(uow.conn).add(
            [
                WhyEntry(1_000, "BTC", "hold", None, 3.5, {"reason": "at its target"}),
                WhyEntry(2_000, "BTC", "trade", "BTC:1:open", 90.0, {"reply": None}),
                WhyEntry(2_000, "ETH", "unknown", None, None, {"reason": "no quorum"}),
            ]
        )
        uow.commit()
    return engine


def test_reasons_are_found_by_symbol_and_by_intent(reasons: Engine) -> None:
    with UnitOfWork(reasons) as uow:
        log = ReconciliationLog(uow.conn)
        assert [e.at_ms for e in log.of_symbol("BTC")] == [2_000, 1_000]
        assert [e.symbol for e in log.newest()] == ["BTC", "ETH"]
        (entry,) = log.of_intent("BTC:1:open")
    assert entry.gap_usd == 90.0
    assert entry.detail == {"reply": None}


def test_a_reply_completes_its_own_reason_only(reasons: Engine) -> None:
    with UnitOfWork(reasons) as uow:
        log = ReconciliationLog(uow.conn)
        log.complete(
            [WhyEntry(2_000, "BTC", "trade", "BTC:1:open", 90.0, {"reply": {"state": "FILLED"}})]
        )
        uow.commit()
    with UnitOfWork(reasons) as uow:
        newest, oldest = ReconciliationLog(uow.conn).of_symbol("BTC")
    assert newest.detail == {"reply": {"state": "FILLED"}}
    assert oldest.detail == {"reason": "at its target"}


def look(engine: Engine, at_ms: int, reason: str, intent_id: str | None = None) -> None:
    decision = "hold" if intent_id is None else "trade"
    with UnitOfWork(engine) as uow:
        ReconciliationLog(uow.conn).add(
            [WhyEntry(at_ms, "BTC", decision, intent_id, float(at_ms), {"reason": reason})]
        )
        uow.commit()


def kept(engine: Engine) -> list[WhyEntry]:
    with UnitOfWork(engine) as uow:
        return ReconciliationLog(uow.conn).of_symbol("BTC")


def test_looks_that_find_the_same_again_are_one_record_of_the_newest(engine: Engine) -> None:
    for at_ms in (1_000, 2_000, 3_000):
        look(engine, at_ms, f"the change of {at_ms}.50 USD is below the minimum")
    (entry,) = kept(engine)
    assert (entry.at_ms, entry.gap_usd) == (3_000, 3_000.0)
    assert entry.detail == {
        "reason": "the change of 3000.50 USD is below the minimum",
        "first_ms": 1_000,
        "looks": 3,
    }


def test_another_finding_is_a_record_of_its_own(engine: Engine) -> None:
    look(engine, 1_000, "at its target")
    look(engine, 2_000, "too small")
    look(engine, 3_000, "at its target")
    assert [e.at_ms for e in kept(engine)] == [3_000, 2_000, 1_000]


def test_orders_are_never_folded(engine: Engine) -> None:
    look(engine, 1_000, "open to the target", "BTC:1:open")
    look(engine, 2_000, "open to the target", "BTC:1:open")
    look(engine, 3_000, "at its target")
    look(engine, 4_000, "open to the target", "BTC:2:open")
    assert len(kept(engine)) == 4


def test_folding_ends_after_a_while(engine: Engine) -> None:
    for at_ms in (1_000, 600_000, 601_000, 602_000):
        look(engine, at_ms, "at its target")
    assert [e.at_ms for e in kept(engine)] == [602_000, 600_000]
