"""The state in MariaDB becomes alerts, and stops being them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, select, update

from shared.alerts.raising import Alerts
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.breaker import VenueBreaker
from shared.exchange.payloads import AccountSnapshot, Asset, PositionSnapshot
from shared.reconciliation.consensus import LOCAL_VOTER
from shared.storage.positions import PositionStore
from shared.storage.products import ProductStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.redis_keys import breaker
from shared.storage.risk_state import RiskStateStore, UnknownEntry
from shared.storage.tables import alert_outbox, order_execution_log
from shared.testing.clock import FrozenClock
from worker.services.alert_watch import WatchLimits, watch, watch_breaker

KNOWN = {"status": "Known", "value": "1", "as_of_ms": 1}


class Platform:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.clock = FrozenClock()
        self.engine = engine
        self.alerts = Alerts(engine, settings.alerts, self.clock.now_ms)
        self.limits = WatchLimits.of(settings)

    def look(self, symbol: str, **detail: Any) -> None:
        full = {"quorum": {"position": KNOWN}, "price_usd": KNOWN, "reason": symbol, **detail}
        with UnitOfWork(self.engine) as uow:
            entry = WhyEntry(self.clock.now_ms(), symbol, "hold", None, None, full)
            ReconciliationLog(uow.conn).add([entry])
            uow.commit()

    def watch(self) -> list[str]:
        return [a.kind.value for a in watch(self.engine, self.alerts, self.limits, self.clock)]

    def pending(self) -> list[str]:
        with UnitOfWork(self.engine) as uow:
            return list(
                uow.conn.execute(
                    select(alert_outbox.c.title).where(alert_outbox.c.state == "pending")
                ).scalars()
            )


@pytest.fixture
def platform(engine: Engine, settings: Settings) -> Platform:
    return Platform(engine, settings)


def test_all_is_well_and_nobody_is_told(platform: Platform) -> None:
    platform.look("BTC")
    assert platform.watch() == []
    assert platform.pending() == []


def test_kill_switch_and_halted_symbol_are_told_at_once_and_once(platform: Platform) -> None:
    with UnitOfWork(platform.engine) as uow:
        risk = RiskStateStore(uow.conn)
        now_ms = platform.clock.now_ms()
        risk.set_kill_switch(True, reason="daily loss", actor="risk", now_ms=now_ms)
        risk.set_pause("ETH", True, now_ms, reason="5 refusals", actor="reconciliation")
        uow.commit()
    for _ in range(5):
        assert platform.watch() == ["kill_switch", "symbol_halted"]
        platform.clock.advance(5_000)
    assert len(platform.pending()) == 2


def test_an_unknown_entry_of_the_ledger_is_told_once_for_a_day(platform: Platform) -> None:
    with UnitOfWork(platform.engine) as uow:
        now_ms = platform.clock.now_ms()
        RiskStateStore(uow.conn).set_unknown_entry(UnknownEntry("somethingNew", now_ms), now_ms)
        uow.commit()
    for _ in range(23):
        assert platform.watch() == ["ledger_unknown"]
        platform.clock.advance(3_600_000)
    assert platform.pending() == [
        "The venue's ledger has an entry of an unknown kind: somethingNew"
    ]
    platform.clock.advance(3_600_000)
    assert platform.watch() == []


def test_a_lost_quorum_is_told_after_it_has_lasted(platform: Platform) -> None:
    for _ in range(15):
        platform.look("BTC", quorum={"position": {"status": "Unknown", "reason": "1 of 3 voters"}})
        assert platform.watch() == ["quorum_lost"]
        assert platform.pending() == []
        platform.clock.advance(4_000)
    platform.look("BTC", quorum={"position": {"status": "Unknown", "reason": "1 of 3 voters"}})
    platform.watch()
    assert platform.pending() == ["BTC: its position is not known"]


def test_a_quorum_that_comes_back_is_not_told(platform: Platform) -> None:
    for turn in range(40):
        lost = turn % 8 != 0
        position = {"status": "Unknown", "reason": "1 of 3 voters"} if lost else KNOWN
        platform.look("BTC", quorum={"position": position})
        platform.watch()
        platform.clock.advance(5_000)
    assert platform.pending() == []


def test_a_stale_price_is_told(platform: Platform) -> None:
    for _ in range(8):
        platform.look("SOL", price_usd={"status": "Stale", "value": "1", "as_of_ms": 5})
        assert platform.watch() == ["price_stale"]
        platform.clock.advance(5_000)
    assert platform.pending() == ["SOL: no fresh price"]


def test_reconciliation_that_stopped_is_a_position_nobody_knows(platform: Platform) -> None:
    platform.look("BTC")
    platform.clock.advance(platform.limits.look_ms + 1)
    assert platform.watch() == ["quorum_lost"]


def test_a_symbol_that_is_not_traded_any_more_is_not_watched(platform: Platform) -> None:
    platform.look("DOGE")
    platform.clock.advance(platform.limits.look_ms + 1)
    assert platform.watch() == []


def test_an_order_in_doubt_is_told_when_it_gets_old(platform: Platform) -> None:
    sent_ms = platform.clock.now_ms()
    with UnitOfWork(platform.engine) as uow:
        uow.conn.execute(
            order_execution_log.insert().values(
                intent_id="BTC:1:open", cloid="0x1", symbol="BTC", plan_epoch=1, leg="open",
                origin="reconcile", side="buy", size=1, order_type="market", tif="Ioc",
                reduce_only=False, limit_price=10, state="UNKNOWN", request={},
                created_ms=sent_ms, sent_ms=sent_ms, updated_ms=sent_ms,
            )
        )  # fmt: skip
        uow.commit()
    assert platform.watch() == []
    platform.clock.advance(60_000)
    assert platform.watch() == ["unknown_order"]
    assert platform.pending() == ["BTC: an order has been UNKNOWN for 60 s"]
    with UnitOfWork(platform.engine) as uow:
        uow.conn.execute(update(order_execution_log).values(state="NOT_PLACED"))
        uow.commit()
    assert platform.watch() == []


@pytest.mark.parametrize("held", [None, "1.5"])
def test_a_delisted_symbol_is_told_with_what_is_held_of_it(
    platform: Platform, held: str | None
) -> None:
    account = account_with({} if held is None else {"SOL": Decimal(held)}, platform.clock.now_ms())
    with UnitOfWork(platform.engine) as uow:
        ProductStore(uow.conn).sync([Asset("SOL", 2, 2, 20, only_isolated=False, delisted=True)])
        PositionStore(uow.conn).replace(LOCAL_VOTER, account, ("",), platform.clock.now_ms())
        uow.commit()
    assert platform.watch() == ["symbol_delisted"]
    (told,) = delivered_text(platform)
    if held is None:
        assert "Nothing of it is held" in told
    else:
        assert "1.5 of it are still held" in told
        assert "make flatten SYMBOL=SOL" in told


def account_with(sizes: dict[str, Decimal], now_ms: int) -> AccountSnapshot:
    zero = Decimal(0)
    positions = {
        symbol: PositionSnapshot(symbol, size, Decimal(9), zero, zero, zero, 5, False, None)
        for symbol, size in sizes.items()
    }
    return AccountSnapshot("", positions, zero, zero, zero, zero, zero, now_ms)


def delivered_text(platform: Platform) -> list[str]:
    with UnitOfWork(platform.engine) as uow:
        return list(uow.conn.execute(select(alert_outbox.c.body)).scalars())


def test_a_breaker_that_any_process_opens_is_told_once(
    platform: Platform, redis_client: redis.Redis
) -> None:
    route = platform.limits.route
    processes = [VenueBreaker(route, failures=3, client=redis_client) for _ in range(3)]

    def told() -> list[str]:
        found = watch_breaker(redis_client, platform.alerts, platform.limits)
        return [one.subject for one in found]

    assert told() == []
    for process in processes:  # no one of them has seen enough failures by itself
        process.failed()
    assert told() == told() == [route]
    assert platform.pending() == [f"{route}: the venue's breaker is open"]
    assert "3 calls in a row failed" in delivered_text(platform)[0]
    with pytest.raises(redis.RedisError):
        watch_breaker(redis.Redis(port=1), platform.alerts, platform.limits)
    with UnitOfWork(platform.engine) as uow:  # not known is not over
        assert uow.conn.execute(select(alert_outbox.c.settled)).scalar_one() == 0
    redis_client.delete(breaker(route))
    assert told() == []
    with UnitOfWork(platform.engine) as uow:
        assert uow.conn.execute(select(alert_outbox.c.settled)).scalar_one() == 1
