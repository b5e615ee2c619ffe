"""The sections of ``config.yml``: every key with its type, range and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A part of a configuration file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def between(low: float, high: float) -> Any:
    """A number from ``low`` to ``high``, both included."""
    return Field(ge=low, le=high)


Symbols = tuple[
    Annotated[str, Field(pattern=r"^([a-z0-9]+:)?[A-Za-z0-9]{1,20}$", description="BTC or kPEPE")],
    ...,
]
Range = tuple[float, float]
Url = Annotated[
    str,
    Field(
        pattern=r"^https?://[^\s/]+(:\d+)?$", description="http://127.0.0.1:8001, without a path"
    ),
]
Period = Annotated[float, between(0.2, 86_400)]


class HyperliquidSettings(Section):
    """How the venue is reached."""

    proxy: str | None = None
    origin: str | None = None
    poll_interval: Annotated[float, between(0.2, 60)] = 2.0
    poll_batch_size: Annotated[int, between(1, 1_000)] = 50
    timeout_secs: Annotated[float, between(1, 60)] = 10.0
    dexes: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")], ...] = ()
    price_channel: Literal["allMids", "bbo", "trades"] = "allMids"
    stream_watchdog_secs: Annotated[float, between(1, 300)] = 15.0
    stream_cross_check_secs: Annotated[float, between(0.2, 60)] = 5.0
    max_price_jump: Annotated[float, between(0.01, 1)] = 0.5
    rate_budget_per_minute: Annotated[int, between(1, 100_000)] = 900
    in_flight_limit: Annotated[int, between(2, 100)] = 50
    boot_stagger_secs: Annotated[float, between(0, 5)] = 0.1
    breaker_failures: Annotated[int, between(1, 1_000)] = 5
    breaker_reset_secs: Annotated[float, between(1, 3_600)] = 30.0


class ExchangesSettings(Section):
    """The venues; there is one."""

    hyperliquid: HyperliquidSettings = HyperliquidSettings()


class EntropySettings(Section):
    """Grid of permutation-entropy cells: every order with every delay and window."""

    orders: tuple[Annotated[int, between(3, 6)], ...]
    delays: tuple[Annotated[int, between(1, 100)], ...]
    windows: tuple[Annotated[int, between(10, 10_000)], ...]

    @field_validator("orders", "delays", "windows")
    @classmethod
    def _rising(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or list(values) != sorted(set(values)):
            raise ValueError("must be a rising list of at least one whole number")
        return values


class SizingSettings(Section):
    """Kelly sizing of a run."""

    base_fraction: Annotated[float, Field(gt=0, le=10)]
    probation_fraction: Annotated[float, between(0, 10)]
    kelly_multiplier: Range
    max_fraction: Annotated[float, Field(gt=0, le=50)]
    max_reward_ratio: Annotated[float, between(0.1, 100)]
    min_trades: Annotated[int, between(1, 1_000)]


class CostSettings(Section):
    """Costs of a virtual fill."""

    taker_fee_bps: Annotated[float, between(0, 100)]
    slippage_bps: Annotated[float, between(0, 100)]


class ExitSettings(Section):
    """What ends a run."""

    max_duration_secs: Range
    max_drawdown: Range
    take_profit: Range
    judge_after_trades: Annotated[int, between(1, 100_000)]


class ClonalSettings(Section):
    """How vacancies are filled."""

    clonal_fraction: Annotated[float, between(0, 1)]
    min_parent_age_secs: Annotated[float, between(0, 1e8)]
    min_trades: Annotated[int, between(1, 10_000)]
    mutation_scale: Annotated[float, between(0, 1)]
    integer_step_probability: Annotated[float, between(0, 1)]
    flip_probability: Annotated[float, between(0, 1)]
    shrinkage: Annotated[float, between(0, 10_000)]


class ProvidenceSettings(Section):
    """The population of virtual strategies."""

    desired_run_count: Annotated[int, between(0, 10_000_000)]
    iteration_jitter_seconds: Annotated[float, between(0, 60)] = 1.0
    iteration_batch_size: Annotated[int, between(1, 500)] = 100
    db_checkpoint_iterations: Annotated[int, between(1, 10_000)] = 60
    resend_after_secs: Annotated[float, between(1, 600)] = 30.0
    spawn_batch: Annotated[int, between(1, 20_000)] = 2_000
    start_balance: Annotated[float, between(1, 1e9)] = 10_000.0
    max_symbol_share: Annotated[float, between(0.01, 1)] = 0.34
    entropy: EntropySettings
    lookbacks: tuple[Annotated[int, between(1, 10_000)], ...]
    interpretations: dict[Literal["direct", "inverse", "breakout", "swing"], float]
    theta_quantile: Range
    theta_min_samples: Annotated[int, between(1, 1_000_000)] = 30
    dead_band: Range
    sizing: SizingSettings
    costs: CostSettings
    exits: ExitSettings
    clonal: ClonalSettings

    @property
    def longest_window(self) -> int:
        """Samples that the longest entropy window or look-back reaches into the past."""
        return max(*self.entropy.windows, *self.lookbacks) + 1


class ReconciliationSettings(Section):
    """How the account follows the population."""

    rebalance_frequency: Period
    risk_pos_percentage: Annotated[float, between(0, 10)]
    symbols: Symbols
    observer_nodes: tuple[Url, ...]
    order_gateway_url: Url
    minimum_trade_threshold: Annotated[float, between(10, 1e9)]
    invert_decisions: bool = False
    can_go_long: bool = True
    can_go_short: bool = True
    live_pnl_threshold: Annotated[float, between(-1e12, 1e12)] = 0.0
    kelly_threshold: Annotated[float, between(0, 10)] = 1.0
    probationary_multiplier: Annotated[float, between(0, 10)] = 0.5
    max_skew_secs: Annotated[float, between(0.1, 600)] = 5.0
    max_snapshot_age_secs: Annotated[float, between(0.1, 3_600)] = 10.0
    max_balance_age_secs: Annotated[float, between(0.1, 3_600)] = 30.0
    max_price_age_secs: Annotated[float, between(0.1, 3_600)] = 5.0
    max_sums_age_secs: Annotated[float, between(0.1, 3_600)] = 60.0
    max_symbol_exposure: Annotated[float, between(0, 50)] = 1.0
    max_total_exposure: Annotated[float, between(0, 50)] = 3.0
    observer_timeout_secs: Annotated[float, between(0.1, 60)] = 2.0
    gateway_timeout_secs: Annotated[float, between(0.1, 60)] = 15.0

    @field_validator("symbols", "observer_nodes")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) != len(set(values)) or not values:
            raise ValueError("must name at least one, and each only once")
        return values


class GatewaySettings(Section):
    """The order gateway."""

    host: str = "127.0.0.1"
    port: Annotated[int, between(1, 65_535)] = 8002
    expires_after_secs: Annotated[float, between(1, 120)] = 10.0
    evidence_margin_secs: Annotated[float, between(1, 120)] = 5.0
    max_slippage_bps: Annotated[float, between(1, 1_000)] = 50.0
    leverage: Annotated[int, between(1, 50)] = 5
    resting_ttl_secs: Annotated[float, between(1, 86_400)] = 3_600.0
    resolve_interval_secs: Annotated[float, between(0.1, 60)] = 1.0
    fills_interval_secs: Annotated[float, between(0.5, 600)] = 10.0
    max_body_bytes: Annotated[int, between(256, 1_000_000)] = 16_384
    emergency_journal: Path = Path("logs/emergency_journal.jsonl")
    pause_on_external_fill: bool = True


class ObserverSettings(Section):
    """An exchange observer."""

    host: str = "127.0.0.1"
    poll_interval_secs: Annotated[float, between(0.2, 60)] = 1.0
    max_age_secs: Annotated[float, between(0.5, 600)] = 10.0


class RiskSettings(Section):
    """Limits that the gateway enforces on every order."""

    max_daily_loss: Annotated[float, between(0.001, 1)]
    max_round_trip_loss: Annotated[float, between(0, 1)] = 0.05
    max_open_positions: Annotated[int, between(1, 1_000)]
    max_symbol_notional: Annotated[float, between(0, 50)]
    max_total_notional: Annotated[float, between(0, 50)]
    max_margin_use: Annotated[float, between(0.01, 1)]
    max_orders_per_minute: Annotated[int, between(1, 10_000)]
    max_price_age_secs: Annotated[float, between(0.1, 600)]
    max_price_deviation_bps: Annotated[float, between(1, 5_000)]
    cool_down_secs: Annotated[float, between(0, 86_400)]
    audit_trail: Path = Path("logs/audit_trail.jsonl")


class TakeProfitSettings(Section):
    """Epochs of the account."""

    threshold: Annotated[float, between(0.0001, 10)]
    drawdown_reset: Annotated[float, between(0.0001, 1)]
    baseline_samples: Annotated[int, between(1, 10_000)]


class MarketDataSettings(Section):
    """Candles."""

    concurrency_limit: Annotated[int, between(1, 50)] = 4
    timeframes: tuple[
        Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"], ...
    ] = ("1m", "1h")
    memory_candles: Annotated[int, between(10, 5_000)] = 500


class SamplerSettings(Section):
    """The price sampler."""

    max_price_age_secs: Annotated[float, between(0.1, 600)] = 3.0
    warm_history: bool = False


class RecorderSettings(Section):
    """The recorder of prices, candles, funding and fills."""

    enabled: bool = True
    path: Path = Path("data/archive")
    flush_secs: Annotated[float, between(1, 60)] = 30.0


class PurgeSettings(Section):
    """How long things stay."""

    tick_input_days: Annotated[int, between(1, 3_650)] = 14
    run_fill_days: Annotated[int, between(1, 3_650)] = 14
    reconciliation_log_days: Annotated[int, between(1, 3_650)] = 30
    balance_days: Annotated[int, between(1, 3_650)] = 30
    market_data_days: Annotated[int, between(1, 3_650)] = 90
    archive: Path = Path("artifacts/archive")


AlertName = Literal[
    "kill_switch",
    "symbol_halted",
    "unknown_order",
    "quorum_lost",
    "price_stale",
    "symbol_delisted",
    "ledger_unknown",
    "breaker_open",
    "decay",
    "reoptimisation",
    "daily_summary",
]


class AlertSettings(Section):
    """What people are told, and when."""

    enabled: tuple[AlertName, ...]
    cooldown_secs: Annotated[float, between(0, 604_800)] = 3_600.0
    quorum_lost_secs: Annotated[float, between(0, 86_400)] = 60.0
    price_stale_secs: Annotated[float, between(0, 86_400)] = 30.0
    unknown_order_secs: Annotated[float, between(0, 86_400)] = 60.0
    timeout_secs: Annotated[float, between(0.1, 60)] = 4.0
    keep_days: Annotated[int, between(1, 3_650)] = 30


class PerformanceSettings(Section):
    """The account's rolling Sharpe ratio."""

    sample_secs: Annotated[float, between(1, 86_400)] = 3_600.0
    window_days: Annotated[float, between(0.01, 365)] = 14.0
    min_samples: Annotated[int, between(3, 10_000)] = 48
    decay_sharpe: Annotated[float, between(-100, 100)] = 0.0
    summary_hour_utc: Annotated[int, between(0, 23)] = 0


class ScheduleSettings(Section):
    """Seconds between two runs of each beat entry."""

    providence_supervisor: Period
    providence_iteration_scheduler: Period
    update_balance: Period
    schedule_market_data_fetching: Period
    audit_price_feed: Period
    update_volatility: Period
    purge_stale_runs: Period
    attribute_fills: Period
    attribute_payments: Period
    track_performance: Period
    watch_for_alerts: Period
    deliver_alerts: Period

    @field_validator("providence_iteration_scheduler")
    @classmethod
    def _whole_ms(cls, value: float) -> float:
        if round(value * 1000) != value * 1000:
            raise ValueError("must be a whole number of milliseconds")
        return value


class CelerySettings(Section):
    """Beat and workers."""

    schedules: ScheduleSettings
    high_priority_max_concurrency: Annotated[int, between(10, 1_000)] = 100
    low_priority_concurrency: Annotated[int, between(1, 128)] = 2
    visibility_timeout_secs: Annotated[int, between(10, 86_400)] = 60

    @property
    def task_budget_secs(self) -> float:
        """How long a task may take; what is left to the timeout is for the call it is just in."""
        return 0.75 * self.visibility_timeout_secs


class DatabaseSettings(Section):
    """MariaDB."""

    host: str = "127.0.0.1"
    port: Annotated[int, between(1, 65_535)] = 3306
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")] = "3t"
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,32}$")] = "3t_app"
    migrate_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,32}$")] = "3t_migrate"
    research_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")] = "3t_research"
    research_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,32}$")] = "3t_research"
    connect_timeout_secs: Annotated[int, between(1, 60)] = 5


class RedisSettings(Section):
    """Redis: broker and cache."""

    host: str = "127.0.0.1"
    port: Annotated[int, between(1, 65_535)] = 6379
    db: Annotated[int, between(0, 15)] = 0
    timeout_secs: Annotated[float, between(0.1, 60)] = 5.0
    max_connections: Annotated[int, between(1, 10_000)] = 100


class ObservabilitySettings(Section):
    """Traces, logs and metrics."""

    sampling_rate: Annotated[float, between(0, 1)] = 0.01
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, between(0, 65_535)] | None = None
    metrics_targets: str = ""
    state_interval_secs: Annotated[float, between(1, 300)] = 5.0


class DemoSettings(Section):
    """The pages of `make demo`; those of containers are published by docker-compose.yml."""

    flower_port: Annotated[int, between(1, 65_535)] = 15_555
    prometheus_port: Annotated[int, between(1, 65_535)] = 19_090


class PaperExchangeSettings(Section):
    """The local exchange of paper mode."""

    url: Url = "http://127.0.0.1:18000"
