"""Follow the account's performance: gauge, decay alert, summary of the day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, func, select

from shared import instruments
from shared.alerts import alert, performance
from shared.alerts.alert import AlertKind
from shared.alerts.performance import DAY_MS, Day, Point
from shared.alerts.raising import Alerts
from shared.config_sections import PerformanceSettings
from shared.database import UnitOfWork
from shared.ports import Clock
from shared.storage.alert_outbox import AlertOutbox
from shared.storage.attribution import AttributionStore
from shared.storage.balances import BalanceStore
from shared.storage.tables import order_fills


@dataclass(frozen=True, slots=True)
class PerformanceTracker:
    """The use case; ``keep_days`` is how long old messages stay in the outbox."""

    engine: Engine
    alerts: Alerts
    settings: PerformanceSettings
    keep_days: int
    clock: Clock

    def track(self) -> float | None:
        """The rolling Sharpe ratio, None while there is none; tells what is to be told.

        Raises ``SQLAlchemyError`` without a database.
        """
        now_ms = self.clock.now_ms()
        with UnitOfWork(self.engine) as uow:
            sharpe = self._sharpe(uow.conn, now_ms)
            day = self._yesterday(uow.conn, now_ms, sharpe)
            AlertOutbox(uow.conn).forget(now_ms - self.keep_days * DAY_MS)
            uow.commit()
        if sharpe is not None:
            instruments.set_rolling_sharpe(sharpe)
        self._tell_decay(sharpe)
        if day is not None:
            self.alerts.raise_alert(performance.daily_summary(day), once=True)
        return sharpe

    def _tell_decay(self, sharpe: float | None) -> None:
        limit = self.settings.decay_sharpe
        if sharpe is None or sharpe >= limit:
            self.alerts.settle([AlertKind.DECAY], [])
        else:
            self.alerts.raise_alert(alert.decay(sharpe, limit, self.settings.window_days))

    def _sharpe(self, conn: Connection, now_ms: int) -> float | None:
        sample_ms = round(self.settings.sample_secs * 1000)
        since_ms = now_ms - round(self.settings.window_days * DAY_MS)
        points = BalanceStore(conn).sampled(since_ms, sample_ms)
        transfers = AttributionStore(conn).transfers(since_ms)
        returns = performance.log_returns(points, transfers, sample_ms)
        return performance.sharpe_ratio(
            returns, self.settings.sample_secs, self.settings.min_samples
        )

    def _yesterday(self, conn: Connection, now_ms: int, sharpe: float | None) -> Day | None:
        """The last UTC day; None before the hour of its summary, or if nothing is known of it."""
        if datetime.fromtimestamp(now_ms / 1000, UTC).hour < self.settings.summary_hour_utc:
            return None
        name, begin_ms = performance.day_of(now_ms)
        points: list[Point] = BalanceStore(conn).sampled(begin_ms, DAY_MS // 96, begin_ms + DAY_MS)
        if len(points) < 2:
            return None
        transfers = AttributionStore(conn).transfers(points[0][0])
        moved = sum(float(usd) for ms, usd in transfers if ms <= points[-1][0])
        count, volume, fees = self._traded(conn, begin_ms)
        return Day(name, points[0][1], points[-1][1], moved, count, volume, fees, sharpe)

    def _traded(self, conn: Connection, begin_ms: int) -> tuple[int, float, float]:
        f = order_fills.c
        row = conn.execute(
            select(
                func.count(),
                func.coalesce(func.sum(f.price * f.size), 0),
                func.coalesce(func.sum(f.fee_usd), 0),
            ).where(f.time_ms >= begin_ms, f.time_ms < begin_ms + DAY_MS)
        ).one()
        return int(row[0]), float(row[1]), float(row[2])
