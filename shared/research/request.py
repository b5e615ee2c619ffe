"""What a person asks for, and the prices and the plan that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.config import Settings
from shared.research.engine import BacktestPlan, plan_of
from shared.research.errors import ResearchError
from shared.research.funding_files import FundingRates, is_funding, load_funding
from shared.research.markets import KNOWN, MarketSpec, find_files, spec_of
from shared.research.price_files import PricePoints, joined, load_prices
from shared.research.tick_series import TickSeries

Strategy = Literal["providence", "sma", "rsi"]
CANDLE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Request:
    """One backtest. What is None is as ``config.yml`` or the files say."""

    data: tuple[str, ...]
    """Files, folders or ``SYMBOL=path``; funding files are told by their columns."""
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


@dataclass(frozen=True, slots=True)
class Inputs:
    """Prices, funding and plan of one backtest."""

    prices: tuple[PricePoints, ...]
    funding: dict[str, FundingRates]
    series: TickSeries
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
    prices: dict[str, list[PricePoints]] = {}
    funding: dict[str, FundingRates] = {}
    for symbol, path in find_files(request.data, dict.fromkeys(named)):
        if request.symbols and symbol not in request.symbols:
            continue
        if is_funding(path):
            funding[symbol] = _only(funding, symbol, path)
        else:
            prices.setdefault(symbol, []).append(load_prices(symbol, path, repair=request.repair))
    missing = [s for s in request.symbols or () if s not in prices]
    if missing or not prices:
        raise ResearchError(f"no price file of {', '.join(missing) or 'any symbol'} was given")
    columns = tuple(joined(prices[symbol]) for symbol in sorted(prices))
    interval_ms = request.interval_ms or _interval_ms(columns, settings)
    series = series_of(columns, funding, interval_ms, settings, request.from_ms, request.to_ms)
    markets = [spec_of(points.symbol) for points in columns]
    return Inputs(columns, funding, series, plan_for(request, settings, markets, interval_ms))


def series_of(
    prices: tuple[PricePoints, ...],
    funding: dict[str, FundingRates],
    interval_ms: int,
    settings: Settings,
    from_ms: int | None,
    to_ms: int | None,
) -> TickSeries:
    """The ticks from ``from_ms`` to ``to_ms``, as the sampler would have known them."""
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


def _only(known: dict[str, FundingRates], symbol: str, path: Path) -> FundingRates:
    if symbol in known:
        raise ResearchError(
            f"{path}: {known[symbol].path.name} holds funding of {symbol} too; give one file"
        )
    return load_funding(symbol, path)


def _interval_ms(prices: tuple[PricePoints, ...], settings: Settings) -> int:
    spacings = {points.spacing_ms for points in prices if points.spacing_ms is not None}
    if not spacings:
        return settings.interval_ms
    if len(spacings) > 1:
        named = ", ".join(f"{p.path.name}: {(p.spacing_ms or 0) / 1000:g} s" for p in prices)
        raise ResearchError(f"candles differ in length ({named}); give an interval in seconds")
    return spacings.pop()
