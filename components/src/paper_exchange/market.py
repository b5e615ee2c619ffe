"""The live market of one coin: quotes, oracle, mark, tape, candles, funding premium."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from paper_exchange.book import Level, Quote, coin_key, depth, mid_price, mix, quote_around
from paper_exchange.book import to_price as units_to_price
from paper_exchange.book import to_size as lots_to_size
from paper_exchange.candles import CandleSeries
from paper_exchange.decimals import ZERO, snap_down, wire
from paper_exchange.universe import Asset

ORACLE_PERIOD_MS = 3_000
MARK_EMA_SECS = 150.0
BASIS_AMPLITUDE = 7e-4
BASIS_PERIOD_MS = 7 * 3_600_000
TRADE_PROBABILITY = 0.1
TAPE_LENGTH = 200
HASH_BYTES = 32


class Market:
    """One coin's market, moved by `update` with the fair price of each step."""

    def __init__(self, asset: Asset, seed: int, fair_px: float, now_ms: int) -> None:
        self.asset = asset
        self.seed = seed
        self.key = coin_key(asset.name)
        self.fair_px = fair_px
        self.quote: Quote = quote_around(fair_px, asset)
        self.last_units = self.quote.bid
        self.time_ms = now_ms
        self.oracle_px = self._oracle_at(now_ms)
        self._gap_ema = self._mid_float() - self.oracle_px
        self.mark: Decimal = self._mark()
        self.candles = CandleSeries()
        self.tape: deque[dict[str, Any]] = deque(maxlen=TAPE_LENGTH)
        self.consumed: dict[tuple[bool, int], int] = {}
        self.premium_sum = 0.0
        self.premium_count = 0
        self.open_interest = round(asset.depth_usd * 900 / fair_px)

    # --- prices ---------------------------------------------------------------------------

    def update(self, now_ms: int, fair_px: float) -> list[dict[str, Any]]:
        """Move to the fair price of a step; returns the trades printed on the tape.

        Depth that orders consumed is back with every step. Several prices may come for one time
        (a replay that passes an extreme); the tape prints with the first.
        """
        elapsed_secs = max(0, now_ms - self.time_ms) / 1000
        is_new_time = now_ms != self.time_ms
        oracle_due = now_ms // ORACLE_PERIOD_MS > self.time_ms // ORACLE_PERIOD_MS
        self.consumed.clear()
        if fair_px != self.fair_px:
            self.fair_px = fair_px
            self.quote = quote_around(fair_px, self.asset)
        self.time_ms = now_ms
        if oracle_due:
            self.oracle_px = self._oracle_at(now_ms)
            self._sample_premium()
        weight = 1 - math.exp(-elapsed_secs / MARK_EMA_SECS)
        self._gap_ema += weight * (self._mid_float() - self.oracle_px - self._gap_ema)
        self.mark = self._mark()
        return self._print_trades(now_ms) if is_new_time else []

    def basis_at(self, now_ms: int) -> float:
        """How far, as a fraction, the price stands above the oracle: a slow wave per coin."""
        phase = (now_ms % BASIS_PERIOD_MS) / BASIS_PERIOD_MS + (self.key % 1000) / 1000
        return BASIS_AMPLITUDE * math.sin(2 * math.pi * phase)

    def _oracle_at(self, now_ms: int) -> float:
        fair_oracle = self.fair_px * (1 - self.basis_at(now_ms))
        return float(self.price(self.round_units(fair_oracle)))

    def _mid_float(self) -> float:
        return (self.quote.bid + self.quote.ask) / 2 / self.asset.price_scale

    def round_units(self, price: float) -> int:
        """The nearest valid price not above ``price`` rounded to a unit."""
        return snap_down(max(1, round(price * self.asset.price_scale)), self.asset.price_scale)

    def _mark(self) -> Decimal:
        """Median of oracle + EMA(mid - oracle), median(bid, ask, last) and the external price."""
        scale = self.asset.price_scale
        book = sorted((self.quote.bid, self.quote.ask, self.last_units))[1] / scale
        estimates = sorted((self.oracle_px + self._gap_ema, book, self.oracle_px))
        return self.price(self.round_units(estimates[1]))

    @property
    def mid(self) -> Decimal:
        return mid_price(self.quote, self.asset)

    @property
    def oracle(self) -> Decimal:
        return self.price(self.round_units(self.oracle_px))

    def price(self, units: int) -> Decimal:
        return units_to_price(units, self.asset)

    def size(self, lots: int) -> Decimal:
        return lots_to_size(lots, self.asset)

    def units(self, price: Decimal) -> int:
        """Whole units of a valid price."""
        return int(price.scaleb(self.asset.price_decimals))

    def lots(self, size: Decimal) -> int:
        """Whole lots of a valid size."""
        return int(size.scaleb(self.asset.sz_decimals))

    # --- depth ----------------------------------------------------------------------------

    def levels(self, is_ask: bool) -> Iterator[Level]:
        """Synthetic levels of one side, best first, less what orders took in this step."""
        for level in depth(self.asset, self.quote, is_ask, self.seed):
            taken = self.consumed.get((is_ask, level.px), 0)
            if taken < level.size:
                yield Level(level.px, level.size - taken, level.n_orders) if taken else level

    def consume(self, is_ask: bool, px: int, lots: int) -> None:
        key = (is_ask, px)
        self.consumed[key] = self.consumed.get(key, 0) + lots

    # --- tape -----------------------------------------------------------------------------

    def _print_trades(self, now_ms: int) -> list[dict[str, Any]]:
        draw = mix(self.seed, self.key, now_ms)
        if (draw & 0xFFFF) / 65_536 >= TRADE_PROBABILITY:
            return []
        is_buy = bool(draw >> 16 & 1)
        best = next(self.levels(is_buy), None)
        if best is None:
            return []
        lots = max(1, best.size * (1 + (draw >> 20) % 100) // 400)
        users = [synthetic_address(mix(draw, 1)), synthetic_address(mix(draw, 2))]
        return [self.print_trade(is_buy, best.px, lots, now_ms, draw >> 14, ZERO_HASH, users)]

    def print_trade(
        self, is_buy: bool, px: int, lots: int, now_ms: int, tid: int, tx: str, users: list[str]
    ) -> dict[str, Any]:
        """Put a trade on the tape; ``users`` are buyer and seller."""
        self.last_units = px
        self.candles.add_trade(float(self.size(lots)))
        trade = {
            "coin": self.asset.name,
            "side": "B" if is_buy else "A",
            "px": wire(self.price(px)),
            "sz": wire(self.size(lots)),
            "time": now_ms,
            "hash": tx,
            "tid": tid,
            "users": users,
        }
        self.tape.append(trade)
        return trade

    # --- funding --------------------------------------------------------------------------

    def _sample_premium(self) -> None:
        scale = self.asset.price_scale
        bid, ask = self.quote.bid / scale, self.quote.ask / scale
        oracle = self.oracle_px
        self.premium_sum += (max(bid - oracle, 0.0) - max(oracle - ask, 0.0)) / oracle
        self.premium_count += 1

    @property
    def premium(self) -> Decimal:
        """Average premium of the running hour, as a fraction with ten decimals."""
        if self.premium_count == 0:
            return ZERO
        return Decimal(f"{self.premium_sum / self.premium_count:.10f}")

    def start_funding_hour(self) -> None:
        self.premium_sum, self.premium_count = 0.0, 0


ZERO_HASH = "0x" + "00" * HASH_BYTES


def synthetic_address(number: int) -> str:
    """An address of a trader who exists only on the tape."""
    return f"0x{mix(number):016x}{mix(number, 1):016x}{number & 0xFFFFFFFF:08x}"
