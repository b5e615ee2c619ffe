"""What can be set: typed, frozen settings from ``config.yml`` and ``secrets.yml``.

Both files are read once, at the entry point of a process, and checked as a whole: every fault
is reported in one message with its path and what is allowed. ``T3__section__key=value`` in the
environment overrides a key; the value is read as YAML. Importing this module reads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.providence.rules import CloneRules, ParameterSpace, Rules

ENV_PREFIX = "T3__"
LIVE_ACKNOWLEDGEMENT = "I trade real money at my own risk"


class ConfigError(ValueError):
    """The configuration or the secrets are unusable; the message names every fault."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _between(low: float, high: float) -> Any:
    return Field(ge=low, le=high)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the first number ({pair[0]}) must not exceed the second ({pair[1]})")
    return pair


Symbols = tuple[Annotated[str, Field(pattern=r"^([a-z0-9]+:)?[A-Za-z0-9]{1,20}$")], ...]
Range = tuple[float, float]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(:\d+)?$")]
Period = Annotated[float, _between(0.2, 86_400)]


class HyperliquidSettings(_Section):
    """How the venue is reached."""

    proxy: str | None = None
    origin: str | None = None
    poll_interval: Annotated[float, _between(0.2, 60)] = 2.0
    poll_batch_size: Annotated[int, _between(1, 1_000)] = 50
    timeout_secs: Annotated[float, _between(1, 60)] = 10.0
    dexes: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")], ...] = ()
    stream_watchdog_secs: Annotated[float, _between(1, 300)] = 15.0
    stream_cross_check_secs: Annotated[float, _between(0.2, 60)] = 5.0
    boot_stagger_secs: Annotated[float, _between(0, 60)] = 1.0
    max_price_jump: Annotated[float, _between(0.01, 1)] = 0.5
    rate_budget_per_minute: Annotated[int, _between(1, 1_200)] = 1_100
    breaker_failures: Annotated[int, _between(1, 1_000)] = 5
    breaker_reset_secs: Annotated[float, _between(1, 3_600)] = 30.0


class ExchangesSettings(_Section):
    """The venues; there is one."""

    hyperliquid: HyperliquidSettings = HyperliquidSettings()


class EntropySettings(_Section):
    """Grid of permutation-entropy cells: every order with every delay and window."""

    orders: tuple[Annotated[int, _between(3, 6)], ...]
    delays: tuple[Annotated[int, _between(1, 100)], ...]
    windows: tuple[Annotated[int, _between(10, 10_000)], ...]

    @field_validator("orders", "delays", "windows")
    @classmethod
    def _rising(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or list(values) != sorted(set(values)):
            raise ValueError("must be a rising list of at least one whole number")
        return values


class SizingSettings(_Section):
    """Kelly sizing of a run."""

    base_fraction: Annotated[float, Field(gt=0, le=10)]
    probation_fraction: Annotated[float, _between(0, 10)]
    kelly_multiplier: Range
    max_fraction: Annotated[float, _between(0, 50)]
    max_reward_ratio: Annotated[float, _between(0.1, 100)]
    min_trades: Annotated[int, _between(1, 1_000)]


class CostSettings(_Section):
    """Costs of a virtual fill."""

    taker_fee_bps: Annotated[float, _between(0, 100)]
    slippage_bps: Annotated[float, _between(0, 100)]


class ExitSettings(_Section):
    """What ends a run."""

    max_duration_secs: Range
    max_drawdown: Range
    take_profit: Range
    judge_after_trades: Annotated[int, _between(1, 100_000)]


class ClonalSettings(_Section):
    """How vacancies are filled."""

    clonal_fraction: Annotated[float, _between(0, 1)]
    min_parent_age_secs: Annotated[float, _between(0, 1e8)]
    min_trades: Annotated[int, _between(0, 10_000)]
    mutation_scale: Annotated[float, _between(0, 1)]
    integer_step_probability: Annotated[float, _between(0, 1)]
    flip_probability: Annotated[float, _between(0, 1)]
    shrinkage: Annotated[float, _between(0, 10_000)]


class ProvidenceSettings(_Section):
    """The population of virtual strategies."""

    desired_run_count: Annotated[int, _between(0, 10_000_000)]
    iteration_jitter_seconds: Annotated[float, _between(0, 60)] = 1.0
    iteration_batch_size: Annotated[int, _between(1, 500)] = 100
    db_checkpoint_iterations: Annotated[int, _between(1, 10_000)] = 60
    resend_after_seconds: Annotated[float, _between(1, 600)] = 30.0
    spawn_batch: Annotated[int, _between(1, 100_000)] = 2_000
    start_balance: Annotated[float, _between(1, 1e9)] = 10_000.0
    max_symbol_share: Annotated[float, _between(0.01, 1)] = 0.34
    entropy: EntropySettings
    lookbacks: tuple[Annotated[int, _between(1, 10_000)], ...]
    interpretations: dict[Literal["direct", "inverse", "breakout", "swing"], float]
    theta_quantile: Range
    theta_min_samples: Annotated[int, _between(1, 1_000_000)] = 30
    dead_band: Range
    sizing: SizingSettings
    costs: CostSettings
    exits: ExitSettings
    clonal: ClonalSettings

    @property
    def longest_window(self) -> int:
        """Samples that the longest entropy window or look-back reaches into the past."""
        return max(*self.entropy.windows, *self.lookbacks) + 1


class ReconciliationSettings(_Section):
    """How the account follows the population."""

    rebalance_frequency: Period
    risk_pos_percentage: Annotated[float, _between(0, 10)]
    symbols: Symbols
    observer_nodes: tuple[Url, ...]
    order_gateway_url: Url
    minimum_trade_threshold: Annotated[float, _between(10, 1e9)]
    invert_decisions: bool = False
    can_go_long: bool = True
    can_go_short: bool = True
    live_pnl_threshold: Annotated[float, _between(-1e12, 1e12)] = 0.0
    kelly_threshold: Annotated[float, _between(0, 10)] = 1.0
    probationary_multiplier: Annotated[float, _between(0, 10)] = 0.5
    max_skew_secs: Annotated[float, _between(0.1, 600)] = 5.0
    max_snapshot_age_secs: Annotated[float, _between(0.1, 3_600)] = 10.0
    max_balance_age_secs: Annotated[float, _between(0.1, 3_600)] = 30.0
    max_price_age_secs: Annotated[float, _between(0.1, 3_600)] = 5.0
    max_sums_age_secs: Annotated[float, _between(0.1, 3_600)] = 60.0
    max_symbol_exposure: Annotated[float, _between(0, 50)] = 1.0
    max_total_exposure: Annotated[float, _between(0, 50)] = 3.0
    observer_timeout_secs: Annotated[float, _between(0.1, 60)] = 2.0
    gateway_timeout_secs: Annotated[float, _between(0.1, 60)] = 15.0

    @field_validator("symbols", "observer_nodes")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) != len(set(values)) or not values:
            raise ValueError("must name at least one, and each only once")
        return values


class GatewaySettings(_Section):
    """The order gateway."""

    host: str = "127.0.0.1"
    port: Annotated[int, _between(1, 65_535)] = 8002
    expires_after_secs: Annotated[float, _between(1, 120)] = 10.0
    evidence_margin_secs: Annotated[float, _between(1, 120)] = 5.0
    max_slippage_bps: Annotated[float, _between(1, 1_000)] = 50.0
    leverage: Annotated[int, _between(1, 50)] = 5
    resting_ttl_secs: Annotated[float, _between(1, 86_400)] = 3_600.0
    resolve_interval_secs: Annotated[float, _between(0.1, 60)] = 1.0
    max_body_bytes: Annotated[int, _between(256, 1_000_000)] = 16_384
    emergency_journal: Path = Path("logs/emergency_journal.jsonl")
    pause_on_external_fill: bool = True


class ObserverSettings(_Section):
    """An exchange observer."""

    host: str = "127.0.0.1"
    poll_interval_secs: Annotated[float, _between(0.2, 60)] = 1.0
    max_age_secs: Annotated[float, _between(0.5, 600)] = 10.0


class RiskSettings(_Section):
    """Limits that the gateway enforces on every order."""

    max_daily_loss: Annotated[float, _between(0.001, 1)]
    max_open_positions: Annotated[int, _between(1, 1_000)]
    max_symbol_notional: Annotated[float, _between(0, 50)]
    max_total_notional: Annotated[float, _between(0, 50)]
    max_margin_use: Annotated[float, _between(0.01, 1)]
    max_orders_per_minute: Annotated[int, _between(1, 10_000)]
    max_price_age_secs: Annotated[float, _between(0.1, 600)]
    max_price_deviation_bps: Annotated[float, _between(1, 5_000)]
    cool_down_secs: Annotated[float, _between(0, 86_400)]
    audit_trail: Path = Path("logs/audit_trail.jsonl")


class TakeProfitSettings(_Section):
    """Epochs of the account."""

    threshold: Annotated[float, _between(0.0001, 10)]
    drawdown_reset: Annotated[float, _between(0.0001, 1)]
    baseline_samples: Annotated[int, _between(1, 10_000)]


class MarketDataSettings(_Section):
    """Candles."""

    concurrency_limit: Annotated[int, _between(1, 50)] = 4
    timeframes: tuple[
        Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"], ...
    ] = ("1m", "1h")
    memory_candles: Annotated[int, _between(10, 5_000)] = 500


class SamplerSettings(_Section):
    """The price sampler."""

    max_price_age_secs: Annotated[float, _between(0.1, 600)] = 3.0
    warm_history: bool = False


class RecorderSettings(_Section):
    """The recorder of prices, candles, funding and fills."""

    enabled: bool = True
    path: Path = Path("data/archive")
    flush_secs: Annotated[float, _between(1, 60)] = 30.0


class PurgeSettings(_Section):
    """How long things stay."""

    tick_input_days: Annotated[int, _between(1, 3_650)] = 14
    run_fill_days: Annotated[int, _between(1, 3_650)] = 14
    reconciliation_log_days: Annotated[int, _between(1, 3_650)] = 30
    archive: Path = Path("artifacts/archive")


AlertName = Literal[
    "kill_switch",
    "symbol_halted",
    "unknown_order",
    "quorum_lost",
    "price_stale",
    "breaker_open",
    "decay",
    "reoptimisation",
    "daily_summary",
]


class AlertSettings(_Section):
    """What people are told, and when."""

    enabled: tuple[AlertName, ...]
    cooldown_secs: Annotated[float, _between(0, 604_800)] = 3_600.0
    quorum_lost_secs: Annotated[float, _between(0, 86_400)] = 60.0
    price_stale_secs: Annotated[float, _between(0, 86_400)] = 30.0
    unknown_order_secs: Annotated[float, _between(0, 86_400)] = 60.0
    timeout_secs: Annotated[float, _between(0.1, 60)] = 4.0
    keep_days: Annotated[int, _between(1, 3_650)] = 30


class PerformanceSettings(_Section):
    """The account's rolling Sharpe ratio."""

    sample_secs: Annotated[float, _between(1, 86_400)] = 3_600.0
    window_days: Annotated[float, _between(0.01, 365)] = 14.0
    min_samples: Annotated[int, _between(3, 10_000)] = 48
    decay_sharpe: Annotated[float, _between(-100, 100)] = 0.0
    summary_hour_utc: Annotated[int, _between(0, 23)] = 0


class ScheduleSettings(_Section):
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


class CelerySettings(_Section):
    """Beat and workers."""

    schedules: ScheduleSettings
    high_priority_max_concurrency: Annotated[int, _between(10, 1_000)] = 100
    low_priority_concurrency: Annotated[int, _between(1, 128)] = 2
    visibility_timeout_secs: Annotated[int, _between(10, 86_400)] = 60


class DatabaseSettings(_Section):
    """MariaDB."""

    host: str = "127.0.0.1"
    port: Annotated[int, _between(1, 65_535)] = 3306
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")] = "3t"
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,32}$")] = "3t_app"
    migrate_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,32}$")] = "3t_migrate"
    connect_timeout_secs: Annotated[int, _between(1, 60)] = 5


class RedisSettings(_Section):
    """Redis: broker and cache."""

    host: str = "127.0.0.1"
    port: Annotated[int, _between(1, 65_535)] = 6379
    db: Annotated[int, _between(0, 15)] = 0
    timeout_secs: Annotated[float, _between(0.1, 60)] = 5.0
    max_connections: Annotated[int, _between(1, 10_000)] = 100


class ObservabilitySettings(_Section):
    """Traces and logs."""

    sampling_rate: Annotated[float, _between(0, 1)] = 0.01
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class PaperExchangeSettings(_Section):
    """The local exchange of paper mode."""

    url: Url = "http://127.0.0.1:18000"


@dataclass(frozen=True, slots=True)
class Venue:
    """Where orders and reads go; ``network`` decides the signature's source."""

    rest_url: str
    ws_url: str
    network: Literal["mainnet", "testnet"]


class Settings(_Section):
    """The whole of ``config.yml``."""

    mode: Literal["paper", "testnet", "live"] = "paper"
    live_acknowledgement: str = ""
    exchanges: ExchangesSettings
    providence: ProvidenceSettings
    reconciliation_engine: ReconciliationSettings
    order_gateway: GatewaySettings = GatewaySettings()
    exchange_observer: ObserverSettings = ObserverSettings()
    risk: RiskSettings
    take_profit: TakeProfitSettings
    market_data: MarketDataSettings = MarketDataSettings()
    price_sampler: SamplerSettings = SamplerSettings()
    recorder: RecorderSettings = RecorderSettings()
    purge: PurgeSettings = PurgeSettings()
    alerts: AlertSettings
    performance: PerformanceSettings = PerformanceSettings()
    celery: CelerySettings
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    paper_exchange: PaperExchangeSettings = PaperExchangeSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.mode == "live" and self.live_acknowledgement != LIVE_ACKNOWLEDGEMENT:
            raise ValueError(
                f"live_acknowledgement: live mode needs exactly {LIVE_ACKNOWLEDGEMENT!r}"
            )
        if self.price_sampler.warm_history and self.mode != "paper":
            raise ValueError("price_sampler.warm_history: allowed in paper mode only")
        self.rules()
        self.parameter_space()
        self.clone_rules()
        return self

    @property
    def venue(self) -> Venue:
        """URLs and signing network of the configured mode."""
        if self.mode == "paper":
            url = self.paper_exchange.url
            return Venue(url, "ws" + url.removeprefix("http") + "/ws", "testnet")
        host = "api.hyperliquid.xyz" if self.mode == "live" else "api.hyperliquid-testnet.xyz"
        network: Literal["mainnet", "testnet"] = "mainnet" if self.mode == "live" else "testnet"
        return Venue(f"https://{host}", f"wss://{host}/ws", network)

    @property
    def interval_ms(self) -> int:
        """Length of a tick in ms."""
        return round(self.celery.schedules.providence_iteration_scheduler * 1000)

    def rules(self) -> Rules:
        """The kernel's rules, in the units of the kernel."""
        p = self.providence
        return Rules(
            taker_fee_rate=p.costs.taker_fee_bps / 10_000,
            slippage_rate=p.costs.slippage_bps / 10_000,
            base_fraction=p.sizing.base_fraction,
            probation_fraction=p.sizing.probation_fraction,
            max_fraction=p.sizing.max_fraction,
            max_reward_ratio=p.sizing.max_reward_ratio,
            min_trades=p.sizing.min_trades,
            judge_after_trades=p.exits.judge_after_trades,
            live_pnl_threshold=self.reconciliation_engine.live_pnl_threshold,
        )

    def parameter_space(self) -> ParameterSpace:
        """Ranges from which fresh runs are drawn."""
        p = self.providence
        return ParameterSpace(
            orders=p.entropy.orders,
            delays=p.entropy.delays,
            windows=p.entropy.windows,
            lookbacks=p.lookbacks,
            theta_quantile=p.theta_quantile,
            theta_min_samples=p.theta_min_samples,
            dead_band=p.dead_band,
            interpretations={str(name): share for name, share in p.interpretations.items()},
            kelly_multiplier=p.sizing.kelly_multiplier,
            max_duration_secs=p.exits.max_duration_secs,
            max_drawdown=p.exits.max_drawdown,
            take_profit=p.exits.take_profit,
            max_symbol_share=p.max_symbol_share,
            start_balance=p.start_balance,
        )

    def clone_rules(self) -> CloneRules:
        """How clones are chosen and mutated."""
        return CloneRules(**self.providence.clonal.model_dump())


class HyperliquidSecrets(_Section):
    """The account. ``privateKey`` is an agent's and reaches only the order gateway."""

    apiKey: SecretStr = SecretStr("")
    walletAddress: Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$")] = ""
    privateKey: SecretStr = SecretStr("")

    @field_validator("privateKey")
    @classmethod
    def _hex_key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not (text.startswith("0x") and len(text) == 66 and _is_hex(text[2:])):
            raise ValueError("must be 0x and 64 hex digits")
        return value


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


class ExchangesSecrets(_Section):
    """Secrets by venue."""

    hyperliquid: HyperliquidSecrets = HyperliquidSecrets()


class DatabaseSecrets(_Section):
    """Passwords of the database users."""

    app_password: SecretStr = SecretStr("")
    migrate_password: SecretStr = SecretStr("")
    reader_password: SecretStr = SecretStr("")
    root_password: SecretStr = SecretStr("")


class RedisSecrets(_Section):
    """Password of Redis; empty: none."""

    password: SecretStr = SecretStr("")


class GatewaySecrets(_Section):
    """Bearer token of the order gateway."""

    token: SecretStr = SecretStr("")

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value


class PaperExchangeSecrets(_Section):
    """Token of the paper exchange's admin routes."""

    admin_token: SecretStr = SecretStr("")


class FlowerSecrets(_Section):
    """Password of the user ``flower``."""

    password: SecretStr = SecretStr("")


class GrafanaSecrets(_Section):
    """Password of the user ``admin``."""

    admin_password: SecretStr = SecretStr("")


class AlertSecrets(_Section):
    """Apprise URLs of the channels; each holds a token."""

    urls: tuple[SecretStr, ...] = ()


class Secrets(_Section):
    """The whole of ``secrets.yml``; each process is given a file with what it needs only."""

    exchanges: ExchangesSecrets = ExchangesSecrets()
    database: DatabaseSecrets = DatabaseSecrets()
    redis: RedisSecrets = RedisSecrets()
    order_gateway: GatewaySecrets = GatewaySecrets()
    paper_exchange: PaperExchangeSecrets = PaperExchangeSecrets()
    alerts: AlertSecrets = AlertSecrets()
    flower: FlowerSecrets = FlowerSecrets()
    grafana: GrafanaSecrets = GrafanaSecrets()


def load_settings(
    path: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read ``config.yml`` (``T3_CONFIG`` or the working directory) with its overrides.

    Raises ``ConfigError`` with every fault: path, what is wrong, what is allowed.
    """
    environ = os.environ if environ is None else environ
    file = Path(path or environ.get("T3_CONFIG", "config.yml"))
    content = _read_yaml(file)
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            _override(content, name, text)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_faults(file, error)) from None


def load_secrets(
    path: Path | str | None = None,
    require: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Secrets:
    """Read ``secrets.yml`` (``T3_SECRETS`` or the working directory).

    ``require`` lists dotted paths that must not be empty, such as ``order_gateway.token``.
    Raises ``ConfigError`` that names each missing or malformed item, never its value.
    """
    environ = os.environ if environ is None else environ
    file = Path(path or environ.get("T3_SECRETS", "secrets.yml"))
    try:
        secrets = Secrets.model_validate(_read_yaml(file))
    except ValidationError as error:
        raise ConfigError(_faults(file, error)) from None
    missing = [item for item in require if not _plain(_at(secrets, item))]
    if missing:
        raise ConfigError(f"{file}: missing secrets: {', '.join(missing)}")
    return secrets


class Config:
    """The process-wide settings for code that asks by path: ``config.get("a.b")``."""

    _settings: ClassVar[Settings | None] = None

    @classmethod
    def settings(cls) -> Settings:
        """The settings, loaded at the first call."""
        if cls._settings is None:
            cls._settings = load_settings()
        return cls._settings

    @classmethod
    def get(cls, path: str) -> Any:
        """The value at a dotted path; ``KeyError`` names a path that does not exist."""
        return _at(cls.settings(), path)

    @classmethod
    def reset(cls) -> None:
        """Forget the loaded settings; the next call reads them anew."""
        cls._settings = None


config = Config


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError(f"{file}{line}: is not valid YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold a mapping of sections")
    return content


def _override(content: dict[str, Any], name: str, text: str) -> None:
    keys = name.removeprefix(ENV_PREFIX).split("__")
    section = content
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{name}: {key} is a value, not a section")
    try:
        section[keys[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{name}: is not valid YAML") from None


def _faults(file: Path, error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown key"
        lines.append(f"  {path}: {message}")
    return f"{file}: {len(lines)} fault(s)\n" + "\n".join(lines)


def _at(root: Any, path: str) -> Any:
    value = root
    for key in path.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, BaseModel) and key in type(value).model_fields:
            value = getattr(value, key)
        else:
            raise KeyError(f"config has no key {path!r}")
    return value


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
