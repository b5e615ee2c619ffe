"""The account's history in MariaDB becomes a ratio, a decay alert and one summary a day."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select

from shared.alerts.raising import Alerts
from shared.config import Settings
from shared.database import UnitOfWork
from shared.orders.attribution import Split
from shared.storage.attribution import AttributionStore, Event
from shared.storage.tables import alert_outbox, balance_history
from shared.testing.clock import FrozenClock
from worker.services.performance import PerformanceTracker

HOUR_MS = 3_600_000


class Account:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.clock = FrozenClock(1_700_006_400_000)  # midnight, UTC
        alerts = Alerts(engine, settings.alerts, self.clock.now_ms)
        self.tracker = PerformanceTracker(engine, alerts, settings.performance, 30, self.clock)

    def history(self, returns: list[float], start: float = 1_000.0) -> None:
        value = start
        rows = []
        for number, one in enumerate([0.0, *returns]):
            value *= 1 + one
            at_ms = self.clock.now_ms() - (len(returns) - number) * HOUR_MS
            rows += [
                {
                    "account_value": Decimal(str(round(value, 6))), "withdrawable": 0,
                    "margin_used": 0, "total_notional": 0, "venue_ms": at_ms + late_ms,
                    "read_ms": at_ms,
                }
                for late_ms in (-9_000, -3_000)
            ]  # fmt: skip
        with UnitOfWork(self.engine) as uow:
            uow.conn.execute(balance_history.insert(), rows)
            uow.commit()

    def told(self, kind: str) -> list[Any]:
        with UnitOfWork(self.engine) as uow:
            return list(uow.conn.execute(select(alert_outbox).where(alert_outbox.c.kind == kind)))


@pytest.fixture
def account(engine: Engine, settings: Settings) -> Account:
    return Account(engine, settings)


def test_a_losing_account_is_told_of_once(account: Account) -> None:
    account.history([-0.002, 0.001] * 40)
    for _ in range(3):
        assert (account.tracker.track() or 0) < 0
        account.clock.advance(300_000)
    (row,) = account.told("decay")
    assert row.title.startswith("Performance decays: Sharpe -")


def test_an_account_that_earns_is_not(account: Account) -> None:
    account.history([0.002, -0.001] * 40)
    assert (account.tracker.track() or 0) > 0
    assert account.told("decay") == []


def test_too_short_a_history_has_no_ratio(account: Account) -> None:
    account.history([0.001] * 5)
    assert account.tracker.track() is None


def test_yesterday_is_summed_up_once_without_deposits(account: Account) -> None:
    account.history([0.0] * 30)
    deposit = Event("transfer", account.clock.now_ms() - 2 * HOUR_MS, 0, "", Decimal(400))
    with UnitOfWork(account.engine) as uow:
        AttributionStore(uow.conn).add(deposit, Split(0, 400, 0), 1)
        uow.commit()
    for _ in range(30):
        account.tracker.track()
        account.clock.advance(HOUR_MS // 2)
    (row,) = account.told("daily_summary")
    assert row.subject == "2023-11-14"
    assert "Earned -400.00 USD" in row.body
