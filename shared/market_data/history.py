"""The paper exchange's own past prices, with which a demo starts its sample series."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from shared.exchange.decoding import as_list, as_mapping, int_field, require
from shared.exchange.errors import DecodeError
from shared.exchange_manager import ExchangeManager


def read_paper_history(
    manager: ExchangeManager, interval_ms: int, last_tick: int, count: int
) -> dict[int, dict[str, float]]:
    """The last ``count`` prices of every coin, ``interval_ms`` apart, laid on ticks.

    The newest lies on ``last_tick``, the others before it without a gap. Returns
    {tick: {symbol: USD per coin}}; raises ``DecodeError`` if the reply is not such a series.
    """
    path = "paperHistory"
    reply = as_mapping(manager.info(path, coins=None, spacingMs=interval_ms, count=count), path)
    if int_field(reply, "spacingMs", path) != interval_ms:
        raise DecodeError(f"{path}.spacingMs", f"expected {interval_ms}")
    times = as_list(require(reply, "times", path), f"{path}.times")
    if not times:
        raise DecodeError(f"{path}.times", "empty")
    for earlier, later in pairwise(times):
        if not isinstance(earlier, int) or not isinstance(later, int):
            raise DecodeError(f"{path}.times", "expected integers")
        if later - earlier != interval_ms:
            raise DecodeError(f"{path}.times", f"{earlier} and {later} are not one tick apart")
    first_tick = last_tick - (len(times) - 1) * interval_ms
    history: dict[int, dict[str, float]] = {
        first_tick + row * interval_ms: {} for row in range(len(times))
    }
    prices = as_mapping(require(reply, "prices", path), f"{path}.prices")
    for symbol, series in prices.items():
        values = as_list(series, f"{path}.prices.{symbol}")
        if len(values) != len(times):
            raise DecodeError(
                f"{path}.prices.{symbol}", f"{len(values)} prices for {len(times)} times"
            )
        for row, value in enumerate(values):
            history[first_tick + row * interval_ms][symbol] = _price(value, symbol)
    return history


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
