"""The paper exchange's own past prices, with which a demo starts its sample series."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from shared.exchange.decoding import as_list, as_mapping, require
from shared.exchange.errors import DecodeError
from shared.exchange_manager import ExchangeManager


def read_paper_history(
    manager: ExchangeManager, interval_ms: int, count: int
) -> dict[int, dict[str, float]]:
    """The last ``count`` ticks that the venue remembers: {tick: {symbol: USD per coin}}.

    Raises ``DecodeError`` if the reply is not a series of consecutive ticks.
    """
    path = "paperHistory"
    reply = as_mapping(manager.info(path, coins=None, spacingMs=interval_ms, count=count), path)
    ticks = [
        _tick(time_ms, interval_ms, f"{path}.times")
        for time_ms in as_list(require(reply, "times", path), f"{path}.times")
    ]
    if any(later - earlier != interval_ms for earlier, later in pairwise(ticks)):
        raise DecodeError(f"{path}.times", "the times are not one tick apart")
    history: dict[int, dict[str, float]] = {tick: {} for tick in ticks}
    prices = as_mapping(require(reply, "prices", path), f"{path}.prices")
    for symbol, series in prices.items():
        values = as_list(series, f"{path}.prices.{symbol}")
        if len(values) != len(ticks):
            raise DecodeError(
                f"{path}.prices.{symbol}", f"{len(values)} prices for {len(ticks)} times"
            )
        for tick, value in zip(ticks, values, strict=True):
            history[tick][symbol] = _price(value, symbol)
    return history


def _tick(value: object, interval_ms: int, path: str) -> int:
    if not isinstance(value, int) or value % interval_ms:
        raise DecodeError(path, f"{value!r} is not a multiple of {interval_ms} ms")
    return value


def _price(value: object, symbol: str) -> float:
    path = f"paperHistory.prices.{symbol}"
    if not isinstance(value, str):
        raise DecodeError(path, f"expected a decimal string, got {value!r}")
    try:
        price = Decimal(value)
    except ArithmeticError as error:
        raise DecodeError(path, f"{value!r} is not a number") from error
    if not price.is_finite() or price <= 0:
        raise DecodeError(path, f"{value!r} is not a price")
    return float(price)
