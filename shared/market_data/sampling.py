"""From quotes to samples: what was known of every product at a tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.market_data.quotes import Quote
from shared.market_data.tick_inputs import empty_samples


@dataclass(frozen=True, slots=True)
class Context:
    """What changes slowly beside the prices, by symbol; absent means unknown."""

    funding_index: Mapping[str, float]
    """USD received per unit held long since the index began; a symbol without funding yet has 0."""
    volatility: Mapping[str, float]
    """Per square root of an hour."""


def sample(
    tick_ms: int,
    products: Mapping[str, int],
    quotes: Mapping[str, Quote],
    context: Context,
    max_age_ms: int,
) -> NDArray[np.void]:
    """Samples of all ``products`` (symbol to id) at ``tick_ms`` from their newest quotes.

    A quote counts if it was received at most ``max_age_ms`` before the tick and not more than
    that after it; otherwise the product is not ok and has no price.
    """
    samples = empty_samples(products.values())
    symbols = {product_id: symbol for symbol, product_id in products.items()}
    known = []
    for product_id in samples["product_id"].tolist():
        symbol = symbols[product_id]
        quote = quotes.get(symbol)
        fresh = quote is not None and abs(tick_ms - quote.received_ms) <= max_age_ms
        known.append(
            (
                fresh,
                float(quote.mid) if fresh and quote is not None else np.nan,
                float(quote.mark) if fresh and quote is not None else np.nan,
                context.funding_index.get(symbol, 0.0),
                context.volatility.get(symbol, np.nan),
            )
        )
    columns = ("ok", "mid", "mark", "funding_index", "volatility")
    for name, values in zip(columns, zip(*known, strict=True), strict=False):
        samples[name] = values
    return samples


def replay_quotes(quotes: Iterable[Quote], ticks: Iterable[int]) -> dict[int, dict[str, Quote]]:
    """For each tick (rising), the newest quote of each symbol received at or before it."""
    ordered = sorted(quotes, key=lambda quote: quote.received_ms)
    found: dict[int, dict[str, Quote]] = {}
    newest: dict[str, Quote] = {}
    position = 0
    for tick_ms in ticks:
        while position < len(ordered) and ordered[position].received_ms <= tick_ms:
            newest[ordered[position].symbol] = ordered[position]
            position += 1
        found[tick_ms] = dict(newest)
    return found
