"""The MariaDB schema as SQLAlchemy Core tables; `database/migrations` creates it.

Times are UTC milliseconds (``*_ms``) or tick times (``*_tick``, also ms). Amounts of the real
account are DECIMAL, as the venue prints them; numbers of virtual runs are DOUBLE, as the
kernel computes them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Double,
    Enum,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB, TINYINT, VARBINARY

INNODB: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}

Money = Numeric(28, 10)
Symbol = String(32)

metadata = MetaData()

exchanges = Table(
    "exchanges",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    **INNODB,
)

instruments = Table(
    "instruments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("symbol", Symbol, nullable=False, unique=True),
    Column("base", String(32), nullable=False),
    Column("quote", String(16), nullable=False),
    Column("kind", Enum("perpetual", name="instrument_kind"), nullable=False),
    **INNODB,
)

products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("exchange_id", Integer, nullable=False),
    Column("instrument_id", Integer, nullable=False),
    Column("symbol", Symbol, nullable=False, unique=True),
    Column("asset_index", Integer, nullable=False),
    Column("sz_decimals", TINYINT(unsigned=True), nullable=False),
    Column("max_leverage", Integer, nullable=False),
    Column("only_isolated", Boolean, nullable=False, default=False),
    Column("active", Boolean, nullable=False, default=True),
    UniqueConstraint("exchange_id", "instrument_id", name="uq_products_listing"),
    **INNODB,
)

position_snapshots = Table(
    "position_snapshots",
    metadata,
    Column("voter", String(64), primary_key=True),
    Column("venue_ms", BigInteger, nullable=False),
    Column("read_ms", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("dexes", JSON, nullable=False),
    **INNODB,
)

positions = Table(
    "positions",
    metadata,
    Column("voter", String(64), primary_key=True),
    Column("symbol", Symbol, primary_key=True),
    Column("size", Money, nullable=False),
    Column("entry_price", Money, nullable=False),
    Column("unrealised_usd", Money, nullable=False),
    Column("margin_used_usd", Money, nullable=False),
    Column("venue_ms", BigInteger, nullable=False),
    Column("read_ms", BigInteger, nullable=False),
    **INNODB,
)

balance_history = Table(
    "balance_history",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("account_value", Money, nullable=False),
    Column("withdrawable", Money, nullable=False),
    Column("margin_used", Money, nullable=False),
    Column("total_notional", Money, nullable=False),
    Column("venue_ms", BigInteger, nullable=False),
    Column("read_ms", BigInteger, nullable=False),
    Index("ix_balance_history_venue_ms", "venue_ms"),
    **INNODB,
)


def _candle_columns() -> list[Column[Any]]:
    return [
        Column("symbol", Symbol, primary_key=True),
        Column("timeframe", String(4), primary_key=True),
        Column("open_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("open", Double, nullable=False),
        Column("high", Double, nullable=False),
        Column("low", Double, nullable=False),
        Column("close", Double, nullable=False),
        Column("volume", Double, nullable=False),
    ]


candles = Table("candles", metadata, *_candle_columns(), **INNODB)

market_data = Table(
    "market_data",
    metadata,
    *_candle_columns(),
    mariadb_engine="MEMORY",
    mariadb_charset="utf8mb4",
    mariadb_collate="utf8mb4_bin",
)
"""Recent candles in memory; empty after a database restart and refilled from ``candles``."""

config_versions = Table(
    "config_versions",
    metadata,
    Column("version", String(16), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    **INNODB,
)

tick_inputs = Table(
    "tick_inputs",
    metadata,
    Column("interval_ms", Integer, primary_key=True, autoincrement=False),
    Column("tick_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("config_version", String(16), nullable=False),
    Column(
        "source",
        Enum("live", "backfill", "history", "missing", name="tick_source"),
        nullable=False,
    ),
    Column("payload", MEDIUMBLOB, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    **INNODB,
)

iteration_shards = Table(
    "iteration_shards",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_tick", BigInteger, nullable=False),
    Column("interval_ms", Integer, nullable=False),
    Column("version", BigInteger, nullable=False, default=0),
    Column("sums", JSON, nullable=False),
    Column("sums_tick", BigInteger, nullable=False, default=0),
    Column("committed_ms", BigInteger, nullable=False, default=0),
    Column("worker", String(128), nullable=False, default=""),
    **INNODB,
)

runs = Table(
    "runs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("shard_id", Integer, nullable=False),
    Column("product_id", Integer, nullable=False),
    Column("symbol", Symbol, nullable=False),
    Column("status", Enum("active", "completed", name="run_status"), nullable=False),
    Column(
        "interpretation",
        Enum("direct", "inverse", "breakout", "swing", name="interpretation"),
        nullable=False,
    ),
    Column("parent_id", BigInteger, nullable=True),
    Column("generation", Integer, nullable=False, default=0),
    Column("spawn_tick", BigInteger, nullable=False),
    Column("exit_tick", BigInteger, nullable=True),
    Column("exit_reason", String(32), nullable=True),
    Column("height", Integer, nullable=True),
    Column("height_tick", BigInteger, nullable=True),
    Column("completed_tick", BigInteger, nullable=True),
    Column("start_balance", Double, nullable=False),
    Column("live_pnl", Double, nullable=False, default=0.0),
    Column("fill_count", Integer, nullable=False, default=0),
    Column("run_state", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_runs_living", "status", "shard_id", "product_id"),
    Index("ix_runs_status_symbol", "status", "symbol"),
    Index("ix_runs_make_up", "status", "interpretation", "generation"),
    Index("ix_runs_completed", "completed_tick"),
    **INNODB,
)

run_fills = Table(
    "run_fills",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("fill_seq", Integer, primary_key=True, autoincrement=False),
    Column("tick_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("product_id", Integer, nullable=False),
    Column("size", Double, nullable=False),
    Column("price", Double, nullable=False),
    Column("fee", Double, nullable=False),
    Column("funding_index", Double, nullable=False),
    Column("reason", TINYINT(unsigned=True), nullable=False),
    **INNODB,
)
"""Partitioned by day on ``tick_ms``, which MariaDB wants in every unique key. A fill_seq is
written by exactly one commit of its shard, so (run_id, fill_seq) is unique by the fence."""

run_checkpoints = Table(
    "run_checkpoints",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tick", BigInteger, primary_key=True, autoincrement=False),
    Column("record", VARBINARY(320), nullable=False),
    Column("live_pnl", Double, nullable=False),
    **INNODB,
)

TERMINAL_STATES = (
    "FILLED",
    "PARTIAL",
    "CANCELLED",
    "REJECTED",
    "EXPIRED",
    "NOT_PLACED",
)
ORDER_STATES = ("PENDING", "SENT", "RESTING", "UNKNOWN", *TERMINAL_STATES)

order_execution_log = Table(
    "order_execution_log",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("intent_id", String(96), nullable=False, unique=True),
    Column("cloid", String(34), nullable=False, unique=True),
    Column("symbol", Symbol, nullable=False),
    Column("plan_epoch", BigInteger, nullable=False),
    Column("leg", String(16), nullable=False),
    Column(
        "origin",
        Enum("reconcile", "hand", "flatten", "take_profit", name="order_origin"),
        nullable=False,
    ),
    Column("side", Enum("buy", "sell", name="order_side"), nullable=False),
    Column("size", Money, nullable=False),
    Column("order_type", Enum("market", "limit", name="order_type"), nullable=False),
    Column("tif", Enum("Ioc", "Gtc", "Alo", name="time_in_force"), nullable=False),
    Column("reduce_only", Boolean, nullable=False),
    Column("limit_price", Money, nullable=False),
    Column("state", Enum(*ORDER_STATES, name="order_state"), nullable=False),
    Column(
        "open_symbol",
        Symbol,
        Computed(
            "CASE WHEN state IN ('PENDING','SENT','RESTING','UNKNOWN') THEN symbol END",
            persisted=True,
        ),
        nullable=True,
        unique=True,
    ),
    Column("nonce", BigInteger, nullable=True),
    Column("expires_after_ms", BigInteger, nullable=True),
    Column("body_sha256", String(64), nullable=True),
    Column("oid", BigInteger, nullable=True),
    Column("filled_size", Money, nullable=False, default=0),
    Column("avg_price", Money, nullable=True),
    Column("fee_usd", Money, nullable=False, default=0),
    Column("reason", String(255), nullable=True),
    Column("request", JSON, nullable=False),
    Column("venue_reply", JSON, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger, nullable=True),
    Column("updated_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger, nullable=True),
    UniqueConstraint("symbol", "plan_epoch", "leg", name="uq_intent_leg"),
    Index("ix_order_log_state", "state"),
    Index("ix_order_log_created", "created_ms"),
    Index("ix_order_log_oid", "oid"),
    **INNODB,
)
"""The intent journal. ``open_symbol`` lets the database itself refuse a second open intent."""

plan_epochs = Table(
    "plan_epochs",
    metadata,
    Column("symbol", Symbol, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("advanced_ms", BigInteger, nullable=False),
    **INNODB,
)

order_fills = Table(
    "order_fills",
    metadata,
    Column("tid", BigInteger, primary_key=True, autoincrement=False),
    Column("time_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("coin", Symbol, primary_key=True),
    Column("cloid", String(34), nullable=True),
    Column("oid", BigInteger, nullable=False),
    Column("intent_id", String(96), nullable=True),
    Column("side", Enum("buy", "sell", name="fill_side"), nullable=False),
    Column("price", Money, nullable=False),
    Column("size", Money, nullable=False),
    Column("fee_usd", Money, nullable=False),
    Column("closed_pnl_usd", Money, nullable=False),
    Column("start_position", Money, nullable=False),
    Column("dir", String(32), nullable=False),
    Column("crossed", Boolean, nullable=False),
    Index("ix_order_fills_cloid", "cloid"),
    Index("ix_order_fills_intent", "intent_id"),
    Index("ix_order_fills_coin_time", "coin", "time_ms"),
    **INNODB,
)

nonces = Table(
    "nonces",
    metadata,
    Column("signer", String(42), primary_key=True),
    Column("last_nonce", BigInteger, nullable=False),
    **INNODB,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    **INNODB,
)

reconciliation_log = Table(
    "reconciliation_log",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("symbol", Symbol, nullable=False),
    Column("decision", String(32), nullable=False),
    Column("intent_id", String(96), nullable=True),
    Column("gap_usd", Double, nullable=True),
    Column("detail", JSON, nullable=False),
    Index("ix_reconciliation_log_symbol", "symbol", "at_ms"),
    Index("ix_reconciliation_log_intent", "intent_id"),
    Index("ix_reconciliation_log_at", "at_ms"),
    **INNODB,
)

take_profit_state = Table(
    "take_profit_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("baseline", Double, nullable=True),
    Column("peak", Double, nullable=True),
    Column("samples", JSON, nullable=False),
    Column("ledger_cursor_ms", BigInteger, nullable=False, default=0),
    Column("last_event_ms", BigInteger, nullable=False, default=0),
    Column("updated_ms", BigInteger, nullable=False),
    **INNODB,
)

epochs = Table(
    "epochs",
    metadata,
    Column("height", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("effective_tick", BigInteger, nullable=False),
    Column("account_value", Double, nullable=True),
    Column("run_count", Integer, nullable=False),
    Column("mean_log_growth", Double, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    **INNODB,
)

cohort_results = Table(
    "cohort_results",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("product_id", Integer, primary_key=True, autoincrement=False),
    Column("runs", BigInteger, nullable=False),
    Column("wins", BigInteger, nullable=False),
    Column("sum_win", Double, nullable=False),
    Column("sum_loss", Double, nullable=False),
    **INNODB,
)
"""Sums over ended runs; ``epoch`` is a height that was given, or the next to be given."""

risk_state = Table(
    "risk_state",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("reason", String(255), nullable=False, default=""),
    Column("actor", String(64), nullable=False, default=""),
    Column("updated_ms", BigInteger, nullable=False),
    **INNODB,
)

funding_rates = Table(
    "funding_rates",
    metadata,
    Column("symbol", Symbol, primary_key=True),
    Column("time_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("rate", Double, nullable=False),
    Column("oracle_price", Double, nullable=False),
    Column("index_usd", Double, nullable=False),
    **INNODB,
)
"""Hourly funding; ``index_usd`` is what one unit held long has received since the first row."""

alert_outbox = Table(
    "alert_outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("episode", Integer, nullable=False),
    Column("severity", Enum("info", "warning", "critical", name="alert_severity"), nullable=False),
    Column("title", String(255), nullable=False),
    Column("body", String(2000), nullable=False),
    Column(
        "state",
        Enum("held", "pending", "sent", "given_up", "ended", name="alert_state"),
        nullable=False,
    ),
    Column("settled", Boolean, nullable=False, default=False),
    Column("repeats", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_ms", BigInteger, nullable=False),
    Column("delivered", JSON, nullable=False),
    Column("error", String(255), nullable=False, default=""),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger, nullable=True),
    UniqueConstraint("kind", "subject", "episode", name="uq_alert_episode"),
    Index("ix_alert_outbox_due", "state", "next_attempt_ms"),
    **INNODB,
)
"""Messages to people: one row per episode of a subject (`shared.alerts.rules`)."""

backups = Table(
    "backups",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("finished_ms", BigInteger, nullable=False),
    **INNODB,
)
"""Each backup that `make backup` has finished: one row a day, so that an old one is noticed."""

attribution = Table(
    "attribution",
    metadata,
    Column("kind", Enum("fill", "funding", "transfer", name="attribution_kind"), primary_key=True),
    Column("time_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("ref", BigInteger, primary_key=True, autoincrement=False),
    Column("symbol", Symbol, primary_key=True),
    Column("intent_id", String(96), nullable=True),
    Column("size", Money, nullable=False),
    Column("price", Money, nullable=False),
    Column("account_usd", Money, nullable=False),
    Column("runs_usd", Double, nullable=False),
    Column("house_usd", Double, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    **INNODB,
)
"""What changed the account's cash, and who it belongs to; each event of the venue once."""

attribution_books = Table(
    "attribution_books",
    metadata,
    Column("symbol", Symbol, primary_key=True),
    Column("shares", MEDIUMBLOB, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    **INNODB,
)
"""Per symbol the compressed `shared.orders.attribution` shares of house and runs."""

attribution_runs = Table(
    "attribution_runs",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("symbol", Symbol, primary_key=True),
    Column("pnl_usd", Double, nullable=False),
    Column("fees_usd", Double, nullable=False),
    Column("funding_usd", Double, nullable=False),
    Column("fills", Integer, nullable=False),
    **INNODB,
)
"""What ended runs have made of the account's money; living ones are in the books."""
