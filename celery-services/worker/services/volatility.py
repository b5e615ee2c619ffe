"""Volatility of each symbol, from one-minute candles or, while those are few, from samples."""

from __future__ import annotations

import numpy as np
import structlog
from sqlalchemy import Engine

from shared.config import Settings
from shared.database import UnitOfWork
from shared.market_data.candle import TIMEFRAME_MS
from shared.market_data.tick_inputs import TickInputStore
from shared.market_data.volatility import VolatilityEstimate, from_candles, from_samples
from shared.ports import Clock
from shared.storage.candles import CandleStore
from shared.storage.products import ProductStore
from shared.storage.volatility import VolatilityStore

log = structlog.get_logger(__name__)

MIN_BARS = 60
SAMPLE_SPAN_MS = 3_600_000


def update_volatility(
    settings: Settings, engine: Engine, store: VolatilityStore, clock: Clock
) -> dict[str, VolatilityEstimate]:
    """Estimate and publish every symbol's volatility; returns those that could be estimated."""
    found = {}
    for symbol in settings.reconciliation_engine.symbols:
        estimate = _from_bars(settings, engine, symbol, clock.now_ms()) or _from_ticks(
            settings, engine, symbol
        )
        if estimate is None:
            log.warning("volatility_unknown", symbol=symbol)
            continue
        store.save(symbol, estimate)
        found[symbol] = estimate
    return found


def _from_bars(
    settings: Settings, engine: Engine, symbol: str, now_ms: int
) -> VolatilityEstimate | None:
    timeframe = min(settings.market_data.timeframes, key=TIMEFRAME_MS.__getitem__)
    step = TIMEFRAME_MS[timeframe]
    from_ms = now_ms - settings.market_data.memory_candles * step
    with UnitOfWork(engine) as uow:
        candles = CandleStore(uow.conn)
        bars = candles.recent(symbol, timeframe, from_ms, now_ms)
        if len(bars) < MIN_BARS:
            bars = candles.bars(symbol, timeframe, from_ms, now_ms)
    return from_candles(bars, step) if len(bars) >= MIN_BARS else None


def _from_ticks(settings: Settings, engine: Engine, symbol: str) -> VolatilityEstimate | None:
    interval_ms = settings.interval_ms
    with UnitOfWork(engine) as uow:
        product = ProductStore(uow.conn).all().get(symbol)
        ticks = TickInputStore(uow.conn)
        newest = ticks.latest_tick(interval_ms)
        if product is None or newest is None:
            return None
        span = SAMPLE_SPAN_MS // interval_ms * interval_ms
        window = ticks.window(interval_ms, newest - span, newest, [product.id])
    prices = np.where(window.ok[:, 0], window.mid[:, 0], np.nan)
    return from_samples(window.tick_ms, prices)
