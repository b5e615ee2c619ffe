"""What can be set: typed, frozen settings from ``config.yml`` and ``secrets.yml``.

Both files are read once, at the entry point of a process, and checked as a whole: every fault
is reported in one message with its path and what is allowed. ``T3__section__key=value`` in the
environment overrides a key; the value is read as YAML. Importing this module reads nothing. The
keys themselves are in ``shared.config_sections`` and ``shared.config_secrets``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, SecretStr, ValidationError, model_validator

from shared import config_search
from shared.config_faults import ConfigError, faults_of, in_file, read_yaml
from shared.config_search import ResearchSettings
from shared.config_secrets import Secrets
from shared.config_sections import (
    AlertSettings,
    CelerySettings,
    ClonalSettings,
    DatabaseSettings,
    DemoSettings,
    ExchangesSettings,
    GatewaySettings,
    MarketDataSettings,
    ObservabilitySettings,
    ObserverSettings,
    PaperExchangeSettings,
    PerformanceSettings,
    ProvidenceSettings,
    PurgeSettings,
    ReconciliationSettings,
    RecorderSettings,
    RedisSettings,
    RiskSettings,
    SamplerSettings,
    Section,
    TakeProfitSettings,
)
from shared.providence.rules import CloneRules, ParameterSpace, Rules

__all__ = ["Config", "ConfigError", "Secrets", "Settings", "Venue", "load_secrets", "load_settings"]

ENV_PREFIX = "T3__"
VENUE_WEIGHT_PER_MINUTE = 1_200
"""Request weight that HyperLiquid grants an address per minute."""

LIVE_ACKNOWLEDGEMENT = "I trade real money at my own risk"


@dataclass(frozen=True, slots=True)
class Venue:
    """Where orders and reads go; ``network`` decides the signature's source."""

    rest_url: str
    ws_url: str
    network: Literal["mainnet", "testnet"]


class Settings(Section):
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
    demo: DemoSettings = DemoSettings()
    research: ResearchSettings = ResearchSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.mode == "live" and self.live_acknowledgement != LIVE_ACKNOWLEDGEMENT:
            raise ValueError(
                f"live_acknowledgement: live mode needs exactly {LIVE_ACKNOWLEDGEMENT!r}"
            )
        if self.price_sampler.warm_history and self.mode != "paper":
            raise ValueError("price_sampler.warm_history: allowed in paper mode only")
        budget = self.exchanges.hyperliquid.rate_budget_per_minute
        if budget > VENUE_WEIGHT_PER_MINUTE and self.mode != "paper":
            raise ValueError(
                f"exchanges.hyperliquid.rate_budget_per_minute: at most {VENUE_WEIGHT_PER_MINUTE} "
                f"outside paper mode, found {budget}"
            )
        self.check_population()
        for fault in config_search.faults(self):
            raise ValueError(fault)
        return self

    def check_population(self) -> None:
        """Raises ``ValueError`` if the keys of the population do not go together."""
        for rules, section, prefix in (
            (self.rules, ProvidenceSettings, "providence"),
            (self.parameter_space, ProvidenceSettings, "providence"),
            (self.clone_rules, ClonalSettings, "providence.clonal"),
        ):
            try:
                rules()
            except ValueError as error:
                raise ValueError(in_file(str(error), section, prefix)) from None

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


def load_settings(
    path: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read ``config.yml`` (``T3_CONFIG`` or the working directory) with its overrides.

    Raises ``ConfigError`` with every fault: path, what is wrong, what is allowed.
    """
    environ = os.environ if environ is None else environ
    file = Path(path or environ.get("T3_CONFIG", "config.yml"))
    content = read_yaml(file)
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            _override(content, name, text)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise faults_of(file, error, Settings, show=True) from None


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
        secrets = Secrets.model_validate(read_yaml(file))
    except ValidationError as error:
        raise faults_of(file, error, Secrets, show=False) from None
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
