"""Fair prices of all coins, step by step, with the history behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paper_exchange.book import coin_key, mid_price, mix, quote_around
from paper_exchange.candles import KEPT_CANDLES, MINUTE_MS, Candle
from paper_exchange.decimals import wire
from paper_exchange.prices import (
    STEP_MS,
    STEPS_PER_BLOCK,
    FloatArray,
    GeneratedSource,
    PathParams,
    Turns,
    history_ending_at,
)
from paper_exchange.replay import Recording, ReplaySource
from paper_exchange.universe import Asset

HISTORY_MINUTES = 360
HISTORY_STEPS = HISTORY_MINUTES * MINUTE_MS // STEP_MS
COARSE_STEPS_PER_MINUTE = 12
SAMPLE_MS = 1_000
MAX_CATCH_UP_STEPS = 600
MEAN_TRADES_PER_MINUTE = 60
FINE_HISTORY_BLOCK = -1_000_000
COARSE_HISTORY_BLOCK = -2_000_000


class PriceSource(Protocol):
    """Where the fair prices of one coin come from."""

    def take(self, n_steps: int) -> tuple[FloatArray, Turns]:
        """The prices after the next ``n_steps`` steps of `STEP_MS`, and those passed within."""


def nothing_frozen() -> set[str]:
    """No coin stands still."""
    return set()


@dataclass(frozen=True)
class SavedPrices:
    """What a restart continues from.

    ``samples`` holds fair prices, shape (times, coins), one row per second in ``times_ms``;
    ``positions`` the data time (replay) or next block (generator) of each coin.
    """

    coins: tuple[str, ...]
    times_ms: NDArray[np.int64]
    samples: FloatArray
    positions: Mapping[str, float]
    candles: Mapping[str, list[Candle]]

    def last_price(self, coin: str) -> float | None:
        if coin not in self.coins or len(self.times_ms) == 0:
            return None
        return float(self.samples[-1, self.coins.index(coin)])


class Feed:
    """A ring of the last `HISTORY_STEPS` fair prices of every coin, and what comes next."""

    def __init__(
        self,
        assets: tuple[Asset, ...],
        seed: int,
        start_ms: int,
        recordings: Mapping[str, Recording],
        speed: float,
        saved: SavedPrices | None = None,
    ) -> None:
        self.assets = assets
        self.step = start_ms // STEP_MS
        self.frozen_now: Callable[[], set[str]] = nothing_frozen
        self._column = {asset.name: i for i, asset in enumerate(assets)}
        self._ring = np.empty((HISTORY_STEPS, len(assets)))
        self.sources: dict[str, PriceSource] = {}
        self.first_candles: dict[str, list[Candle]] = {}
        for asset in assets:
            self._start_coin(asset, seed, recordings.get(asset.name), speed, saved)
        if saved is not None:
            self._restore(saved)

    # --- start ----------------------------------------------------------------------------

    def _start_coin(
        self,
        asset: Asset,
        seed: int,
        recording: Recording | None,
        speed: float,
        saved: SavedPrices | None,
    ) -> None:
        coin = asset.name
        last = saved.last_price(coin) if saved is not None else None
        position = saved.positions.get(coin) if saved is not None else None
        params = PathParams.of(seed, coin, asset.reference_px, asset.daily_vol)
        price = asset.reference_px if last is None else last
        if recording is not None:
            replay = ReplaySource(recording, speed, position)
            self.sources[coin] = replay
            price = replay.price
        else:
            self.sources[coin] = GeneratedSource(params, price, int(position or 0))
        steps = np.arange(self.step - HISTORY_STEPS + 1, self.step + 1)
        fine = history_ending_at(
            params, price, HISTORY_MINUTES, STEPS_PER_BLOCK, FINE_HISTORY_BLOCK
        )
        self._ring[steps % HISTORY_STEPS, self._column[coin]] = fine
        old = saved.candles.get(coin) if saved is not None else None
        self.first_candles[coin] = old or self._candles(asset, params, steps * STEP_MS, fine)

    def _candles(
        self,
        asset: Asset,
        params: PathParams,
        times_ms: NDArray[np.int64],
        fine: FloatArray,
    ) -> list[Candle]:
        """Minute candles: of the fine history, before it of a coarser path that leads to it."""
        minutes = times_ms // MINUTE_MS
        starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
        first_minute = int(minutes[0])
        n_coarse = KEPT_CANDLES - len(starts) - 1
        coarse = history_ending_at(
            params, float(fine[0]), n_coarse, COARSE_STEPS_PER_MINUTE, COARSE_HISTORY_BLOCK
        ).reshape(n_coarse, COARSE_STEPS_PER_MINUTE)
        lows = [*coarse.min(axis=1).tolist(), *np.minimum.reduceat(fine, starts).tolist()]
        highs = [*coarse.max(axis=1).tolist(), *np.maximum.reduceat(fine, starts).tolist()]
        closes = [*coarse[:, -1].tolist(), *fine[starts[1:] - 1].tolist(), float(fine[-1])]
        previous, key = float(coarse[0, 0]), coin_key(asset.name)
        candles = []
        for i, (low, high, close) in enumerate(zip(lows, highs, closes, strict=True)):
            minute, first, previous = first_minute - n_coarse + i, previous, close
            draw = mix(params.seed, key, minute)
            trades = MEAN_TRADES_PER_MINUTE // 2 + draw % MEAN_TRADES_PER_MINUTE
            volume = trades * asset.depth_usd / 8 / previous
            candles.append(
                Candle(
                    minute * MINUTE_MS,
                    first,
                    max(first, high),
                    min(first, low),
                    previous,
                    round(volume, asset.sz_decimals),
                    trades,
                )
            )
        return candles

    def _restore(self, saved: SavedPrices) -> None:
        """Put the saved seconds back; the time the venue was down stands at the last price."""
        known = [coin for coin in saved.coins if coin in self._column]
        if len(saved.times_ms) == 0 or not known:
            return
        first = max(int(saved.times_ms[0]) // STEP_MS, self.step - HISTORY_STEPS + 1)
        steps = np.arange(first, self.step + 1)
        row = np.searchsorted(saved.times_ms, steps * STEP_MS, side="right") - 1
        for coin in known:
            values = saved.samples[np.maximum(row, 0), saved.coins.index(coin)]
            self._ring[steps % HISTORY_STEPS, self._column[coin]] = values

    # --- time -----------------------------------------------------------------------------

    @property
    def time_ms(self) -> int:
        return self.step * STEP_MS

    def price(self, coin: str) -> float:
        """The current fair price."""
        return float(self._ring[self.step % HISTORY_STEPS, self._column[coin]])

    def advance(self, now_ms: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Move to ``now_ms``; yields time and fair prices of every step on the way.

        A step's prices of all coins come last; before them, one by one, the highest and lowest
        price that a recording passed within the step.

        After a long sleep of the machine prices stand still for the time slept, then go on.
        """
        behind = now_ms // STEP_MS - self.step
        if behind > MAX_CATCH_UP_STEPS:
            self._hold(behind - MAX_CATCH_UP_STEPS)
            behind = MAX_CATCH_UP_STEPS
        if behind <= 0:
            return
        taken = [self.sources[asset.name].take(behind) for asset in self.assets]
        block = np.column_stack([prices for prices, _ in taken])
        turns = [(column, passed) for column, (_, passed) in enumerate(taken) if passed]
        for index, values in enumerate(block):
            held = self._ring[self.step % HISTORY_STEPS]
            frozen = self.frozen_now()
            for coin in frozen:
                values[self._column[coin]] = held[self._column[coin]]
            self.step += 1
            self._ring[self.step % HISTORY_STEPS] = values
            for column, passed in turns:
                coin = self.assets[column].name
                if coin not in frozen:
                    for price in passed.get(index, ()):
                        yield self.time_ms, {coin: price}
            yield self.time_ms, dict(zip(self._column, values.tolist(), strict=True))

    def _hold(self, n_steps: int) -> None:
        held = self._ring[self.step % HISTORY_STEPS].copy()
        for step in range(self.step + max(1, n_steps - HISTORY_STEPS + 1), self.step + n_steps + 1):
            self._ring[step % HISTORY_STEPS] = held
        self.step += n_steps

    def exhausted(self) -> list[str]:
        """Coins whose recording has ended."""
        return [
            coin
            for coin, source in self.sources.items()
            if isinstance(source, ReplaySource) and source.exhausted
        ]

    # --- history --------------------------------------------------------------------------

    def sample(self, step: int) -> FloatArray:
        """Fair prices of all coins at one step that is still in the ring."""
        prices: FloatArray = self._ring[step % HISTORY_STEPS].copy()
        return prices

    def samples_since(self, first_ms: int) -> Iterator[tuple[int, FloatArray]]:
        """Fair prices at every full second from ``first_ms`` to now."""
        oldest = (self.step - HISTORY_STEPS + 1) * STEP_MS
        second = -(-max(first_ms, oldest) // SAMPLE_MS) * SAMPLE_MS
        for time_ms in range(second, self.time_ms + 1, SAMPLE_MS):
            yield time_ms, self.sample(time_ms // STEP_MS)

    def mids(self, times_ms: list[int], coins: list[str]) -> dict[str, list[str]]:
        """Published mid prices of coins at past times."""
        by_name = {asset.name: asset for asset in self.assets}
        rows = np.array(times_ms, dtype=np.int64) // STEP_MS % HISTORY_STEPS
        return {
            coin: [
                wire(mid_price(quote_around(float(px), by_name[coin]), by_name[coin]))
                for px in self._ring[rows, self._column[coin]]
            ]
            for coin in coins
        }

    def history_times(self, spacing_ms: int, count: int, end_ms: int) -> list[int]:
        """The last ``count`` multiples of ``spacing_ms`` up to ``end_ms`` that are known."""
        last = min(end_ms, self.time_ms + STEP_MS - 1) // spacing_ms * spacing_ms
        oldest = (self.step - HISTORY_STEPS + 1) * STEP_MS
        first = max(last - (count - 1) * spacing_ms, -(-oldest // spacing_ms) * spacing_ms)
        return list(range(first, last + 1, spacing_ms))

    def positions(self) -> dict[str, float]:
        """What to save so that each source can be continued."""
        found: dict[str, float] = {}
        for coin, source in self.sources.items():
            if isinstance(source, ReplaySource):
                found[coin] = source.position_ms
            elif isinstance(source, GeneratedSource):
                found[coin] = float(source.position)
        return found
