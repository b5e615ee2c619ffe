"""What MariaDB knows: ticks, shards, population, account, positions, orders, risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from shared.config import Settings
from shared.market_data.tick_inputs import TickInputStore
from shared.orders.states import OrderState
from shared.state_metrics import Labels, Reading
from shared.storage import population, shards
from shared.storage.alert_outbox import AlertOutbox
from shared.storage.balances import BalanceStore
from shared.storage.orders import OrderRecord, OrderStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.risk_state import RiskState, RiskStateStore
from shared.storage.tables import backups, config_versions, epochs, runs

Values = dict[str, dict[Labels, float]]
_OPEN_STATES = (OrderState.PENDING, OrderState.SENT, OrderState.RESTING, OrderState.UNKNOWN)


def read(conn: Connection, settings: Settings, now_ms: int) -> Reading:
    """One reading of the newest commits; raises ``SQLAlchemyError``."""
    symbols = settings.reconciliation_engine.symbols
    looks = [entry for entry in ReconciliationLog(conn).newest() if entry.symbol in symbols]
    return {
        **_configured(settings),
        **_ticks(conn, settings.interval_ms, now_ms),
        **_population(conn),
        **_account(conn, RiskStateStore(conn).load(), symbols, now_ms),
        **_orders(OrderStore(conn).open_orders(), symbols, now_ms),
        **_looks(looks, now_ms),
        "t3_undelivered_alerts": {(): float(AlertOutbox(conn).counts().get("pending", 0))},
        **_backup(conn, now_ms),
    }


def _configured(settings: Settings) -> Values:
    engine = settings.reconciliation_engine
    return {
        "t3_tick_interval_seconds": {(): settings.interval_ms / 1000},
        "t3_desired_runs": {(): float(settings.providence.desired_run_count)},
        "t3_reconciliation_period_seconds": {(): engine.rebalance_frequency},
        "t3_minimum_trade_usd": {(): engine.minimum_trade_threshold},
        "t3_daily_loss_limit_ratio": {(): settings.risk.max_daily_loss},
    }


def _ticks(conn: Connection, interval_ms: int, now_ms: int) -> Values:
    """Shards without runs are not stepped, so they cannot be behind."""
    newest = TickInputStore(conn).latest_tick(interval_ms)
    peopled = set(conn.scalars(select(runs.c.shard_id).where(runs.c.status == "active").distinct()))
    stepped = [shard.last_tick for shard in shards.get_all(conn) if shard.shard_id in peopled]
    values: Values = {"t3_shards": {(): float(len(stepped))}}
    if newest is not None:
        values["t3_newest_tick_age_seconds"] = {(): (now_ms - newest) / 1000}
        if stepped:
            values["t3_shard_lag_seconds"] = {(): max(0, newest - min(stepped)) / 1000}
    return values


def _population(conn: Connection) -> Values:
    found = population.report(conn)
    return {
        "t3_active_runs": {labels: float(count) for labels, count in found.active.items()},
        "t3_run_growth_ratio": {(f"{q:g}",): value for q, value in found.growth.items()},
        "t3_population_mean_growth_ratio": {(): found.mean_growth},
        "t3_cross_run_entropy_ratio": {(): found.cross_run_entropy},
        "t3_epochs": {(): float(conn.scalar(select(func.count()).select_from(epochs)) or 0)},
    }


def _account(conn: Connection, risk: RiskState, symbols: Sequence[str], now_ms: int) -> Values:
    values: Values = {
        "t3_kill_switch_engaged": {(): float(risk.kill_switch.engaged)},
        "t3_symbol_halted": {(symbol,): float(symbol in risk.pauses) for symbol in symbols},
    }
    balance = BalanceStore(conn).latest()
    if balance is None:
        return values
    values |= {
        "t3_account_value_usd": {(): float(balance.account_value)},
        "t3_account_margin_used_usd": {(): float(balance.margin_used)},
        "t3_account_notional_usd": {(): float(balance.total_notional)},
        "t3_account_age_seconds": {(): (now_ms - balance.read_ms) / 1000},
        "t3_venue_clock_offset_seconds": {(): (balance.venue_ms - balance.read_ms) / 1000},
    }
    if risk.baseline is not None and risk.baseline.account_value > 0:
        loss = 1 - balance.account_value / risk.baseline.account_value
        values["t3_daily_loss_ratio"] = {(): float(loss)}
    return values


def _orders(found: Sequence[OrderRecord], symbols: Sequence[str], now_ms: int) -> Values:
    """Ages are 0 where nothing is in doubt: an absent value could mean that nobody looked."""
    doubtful: dict[Labels, float] = dict.fromkeys(((symbol,) for symbol in symbols), 0.0)
    states: dict[Labels, float] = dict.fromkeys(((state.value,) for state in _OPEN_STATES), 0.0)
    for order in found:
        states[order.state.value,] += 1
        if order.state is OrderState.UNKNOWN:
            age_secs = (now_ms - (order.sent_ms or order.created_ms)) / 1000
            doubtful[order.symbol,] = max(doubtful.get((order.symbol,), 0.0), age_secs)
    return {"t3_open_orders": states, "t3_unknown_order_age_seconds": doubtful}


def _backup(conn: Connection, now_ms: int) -> Values:
    """An account that was never backed up is as old as its first configuration."""
    since = conn.scalar(select(func.max(backups.c.finished_ms)))
    if since is None:
        since = conn.scalar(select(func.min(config_versions.c.created_ms)))
    return {} if since is None else {"t3_backup_age_seconds": {(): (now_ms - since) / 1000}}


def _looks(looks: Sequence[WhyEntry], now_ms: int) -> Values:
    values: Values = {}
    for look in looks:
        for name, value in _look(look, now_ms):
            values.setdefault(name, {})[look.symbol,] = value
    return values


def _look(look: WhyEntry, now_ms: int) -> Iterator[tuple[str, float]]:
    """What a record of `worker.services.why` says in numbers; what it does not know is absent."""
    detail = look.detail
    position, price = _known(detail["quorum"]["position"]), _known(detail["price_usd"])
    target = _known(detail["target"]["notional_usd"])
    yield "t3_reconciliation_age_seconds", (now_ms - look.at_ms) / 1000
    yield "t3_position_known", float(position is not None)
    if position is not None and price is not None:
        yield "t3_position_usd", float(position) * float(price)
    if target is not None:
        yield "t3_target_usd", float(target)
    if look.gap_usd is not None:
        yield "t3_reconciliation_gap_usd", look.gap_usd
    demand = _known(detail["runs"])
    if demand is not None:
        yield "t3_qualifying_runs", float(demand["qualifying"])
        yield "t3_weighted_direction", float(demand["weighted_direction"])


def _known(observed: Mapping[str, Any]) -> Any:
    return observed["value"] if observed["status"] == "Known" else None
