"""What a person asks for, and the prices and the plan that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.config import Settings
from shared.research.engine import BacktestPlan, plan_of
from shared.research.errors import ResearchError
from shared.research.funding_files import FundingRates
from shared.research.markets import KNOWN, MarketSpec, spec_of
from shared.research.price_files import PricePoints, joined
from shared.research.sources import Gathered, Wanted, gather
from shared.research.tick_series import Series, TickSeries
from shared.research.times import utc

Strategy = Literal["providence", "sma", "rsi"]
CANDLE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Request:
    """One backtest. What is None is as ``config.yml`` or the files say."""

    data: tuple[str, ...]
    """As :mod:`shared.research.sources` names them; funding files are told by their columns."""
    strategy: Strategy = "providence"
    symbols: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    interval_ms: int | None = None
    repair: bool = False
    runs: int | None = None
    seed: int = 0
    balance_usd: float = 10_000.0
    supervise_secs: float | None = None
    rebalance_secs: float | None = None
    fee_bps: float | None = None
    slippage_bps: float | None = None
    free_of_costs: bool = False
    latency_secs: float = 0.0
    fast: int = 20
    slow: int = 100
    rsi_window: int = 14
    rsi_low: float = 30.0
    rsi_high: float = 70.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ResearchError(f"seed is {self.seed}; allowed is 0 or more")
        if self.interval_ms is not None and self.interval_ms < 1:
            raise ResearchError(
                f"the interval is {self.interval_ms / 1000:g} s; allowed is 0.001 or more"
            )
        if self.from_ms is not None and self.to_ms is not None and self.to_ms < self.from_ms:
            raise ResearchError(
                f"the end, {utc(self.to_ms)}, lies before the start, {utc(self.from_ms)}"
            )


@dataclass(frozen=True, slots=True)
class Inputs:
    """Prices, funding and plan of one backtest; ``prices`` is empty for stored ticks."""

    prices: tuple[PricePoints, ...]
    funding: dict[str, FundingRates]
    series: Series
    plan: BacktestPlan

    @property
    def markets(self) -> tuple[MarketSpec, ...]:
        return self.plan.markets


def load(request: Request, settings: Settings) -> Inputs:
    """Read and check everything a request names.

    Raises
    ------
    ResearchError
        With one sentence on what is wrong, where, and what is allowed.
    """
    named = (*request.symbols, *settings.reconciliation_engine.symbols, *KNOWN)
    wanted = Wanted(
        request.symbols,
        tuple(dict.fromkeys(named)),
        request.from_ms,
        request.to_ms,
        request.repair,
    )
    found = gather(request.data, wanted, settings)
    columns = _columns(found, request.symbols)
    series = found.stored or series_of(
        columns,
        found.funding,
        request.interval_ms or _interval_ms(columns, settings),
        settings,
        request.from_ms,
        request.to_ms,
    )
    if request.interval_ms not in (None, series.interval_ms):
        raise ResearchError(
            f"stored ticks are {series.interval_ms / 1000:g} s apart; that is the interval"
        )
    markets = [found.markets.get(symbol) or spec_of(symbol) for symbol in series.symbols]
    plan = plan_for(request, settings, markets, series.interval_ms)
    return Inputs(columns, found.funding, series, plan)


def series_of(
    prices: tuple[PricePoints, ...],
    funding: dict[str, FundingRates],
    interval_ms: int,
    settings: Settings,
    from_ms: int | None,
    to_ms: int | None,
) -> TickSeries:
    """The ticks from ``from_ms`` to ``to_ms``, as the sampler would have known them.

    Raises
    ------
    ResearchError
        As :class:`TickSeries`, and without prices: samples as stored are one series as they are.
    """
    if not prices:
        raise ResearchError("mariadb:ticks cannot be cut anew; name mariadb:candles_1m or files")
    return TickSeries(
        prices,
        interval_ms,
        funding=funding,
        max_tick_age_ms=round(settings.price_sampler.max_price_age_secs * 1000),
        volatility_ms=volatility_ms(settings),
        from_ms=from_ms,
        to_ms=to_ms,
    )


def volatility_ms(settings: Settings) -> int:
    """Span of the trailing volatility."""
    return settings.market_data.memory_candles * CANDLE_MS


def plan_for(
    request: Request, settings: Settings, markets: Sequence[MarketSpec], interval_ms: int
) -> BacktestPlan:
    """The plan of a request on these markets."""
    return plan_of(
        settings,
        markets,
        interval_ms,
        runs=request.runs,
        seed=request.seed,
        balance_usd=request.balance_usd,
        supervise_secs=request.supervise_secs,
        rebalance_secs=request.rebalance_secs,
        fee_bps=request.fee_bps,
        slippage_bps=request.slippage_bps,
        free_of_costs=request.free_of_costs,
        latency_secs=request.latency_secs,
    )


def _columns(found: Gathered, symbols: tuple[str, ...]) -> tuple[PricePoints, ...]:
    known = found.prices.keys() if found.stored is None else set(found.stored.symbols)
    missing = [symbol for symbol in symbols if symbol not in known]
    if missing or not known:
        raise ResearchError(f"no price file of {', '.join(missing) or 'any symbol'} was given")
    return tuple(joined(found.prices[symbol]) for symbol in sorted(found.prices))


def _interval_ms(prices: tuple[PricePoints, ...], settings: Settings) -> int:
    spacings = {points.spacing_ms for points in prices if points.spacing_ms is not None}
    if not spacings:
        return settings.interval_ms
    if len(spacings) > 1:
        named = ", ".join(f"{p.path.name}: {(p.spacing_ms or 0) / 1000:g} s" for p in prices)
        raise ResearchError(f"candles differ in length ({named}); give an interval in seconds")
    return spacings.pop()
