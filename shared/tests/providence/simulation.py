"""Whole populations over made-up prices, one independent population per symbol."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.providence.codes import Status
from shared.providence.ledger import log_growth
from shared.providence.market import Samples
from shared.providence.recent import sorted_entropy
from shared.providence.rules import CloneRules, ParameterSpace, Rules
from shared.providence.run_state import Records, new_records
from shared.providence.step import Grid, TickMarket, step
from shared.providence.supervision import Candidates, conceive
from shared.tests.providence.samples import bind_all, count_symbols, markets

REMEMBERED_TICKS = 300


def _refill(
    rng: Generator,
    slots: Records,
    space: ParameterSpace,
    clone_rules: CloneRules,
    recent: NDArray[Any],
    symbol: int,
    now_ms: int,
) -> None:
    """Replace the ended runs of one symbol's population in place."""
    ended = slots["status"] == Status.COMPLETED
    product_id = symbol + 1
    active = slots[~ended]
    slots[ended] = conceive(
        rng,
        int(ended.sum()),
        space,
        clone_rules,
        count_symbols(active),
        lambda: Candidates.of(active),
        sorted_entropy(recent[:, :, None], space, [product_id]),
        {product_id: 5.0},
        desired=len(slots),
        spawn_tick=now_ms,
    )


def slot_growth(
    rng: Generator,
    samples: Samples,
    space: ParameterSpace,
    rules: Rules,
    clone_rules: CloneRules,
    *,
    runs: int,
    every: int,
) -> NDArray[np.float64]:
    """Mean over the slots of each symbol's population of the log-growth of all runs they held."""
    symbols = samples.price.shape[1]
    seen: list[TickMarket] = list(markets(Grid.of(space), samples))
    entropy = np.stack([market.entropy for market in seen])
    records = new_records(symbols * runs)
    records["status"] = Status.COMPLETED
    records["start_balance"] = records["equity"] = space.start_balance
    slots = records.reshape(symbols, runs)
    total = np.zeros(symbols)
    binding = None
    for t in range(REMEMBERED_TICKS, len(seen)):
        if (t - REMEMBERED_TICKS) % every == 0:
            ended = slots["status"] == Status.COMPLETED
            total += np.where(ended, log_growth(slots), 0.0).sum(axis=1)
            for symbol in np.flatnonzero(ended.any(axis=1)):
                recent = entropy[t - REMEMBERED_TICKS : t, :, symbol]
                now_ms = seen[t - 1].tick_ms
                _refill(rng, slots[symbol], space, clone_rules, recent, int(symbol), now_ms)
            binding = bind_all(records, space, symbols)
        assert binding is not None
        step(records, binding, seen[t], rules)
    growth: NDArray[np.float64] = (total + log_growth(slots).sum(axis=1)) / runs
    return growth
