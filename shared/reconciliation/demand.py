"""What the runs ask for, from the sums that their shards have committed.

Every shard has to be there and recent: a missing share of the population could be the half
that points the other way. Only a shard that has no active run may be old.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from shared.observation import Known, Observation, Unknown
from shared.providence import aggregate
from shared.providence.sizing import CohortSums, cohort_factor
from shared.reconciliation.target import Demand

_FIELDS = aggregate.SUMS_DTYPE.names or ()
_FIELD_SET = frozenset(_FIELDS)
_COUNTS = frozenset(
    name for name in _FIELDS if np.issubdtype(aggregate.SUMS_DTYPE[name], np.integer)
)
_values = itemgetter(*_FIELDS)


@dataclass(frozen=True, slots=True)
class ShardSums:
    """Sums of one shard as of ``sums_tick`` (ms; 0: never committed), as stored."""

    shard_id: int
    sums_tick: int
    sums: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class DemandRules:
    """Settings of the cohort factor, and the largest age of a shard's sums in ms."""

    kelly_threshold: float
    probationary_multiplier: float
    max_reward_ratio: float
    max_age_ms: int


@dataclass(frozen=True, slots=True)
class EndedRuns:
    """Results of a product's ended runs: of the open epoch, and of the epochs before it."""

    current: CohortSums
    history: CohortSums


def overdue(shards: Sequence[ShardSums], now_ms: int, max_age_ms: int) -> list[ShardSums]:
    """Shards whose sums are too old, or in the future, to speak for their runs."""
    return [shard for shard in shards if abs(now_ms - shard.sums_tick) > max_age_ms]


def demands(
    shards: Sequence[ShardSums],
    without_runs: Collection[int],
    ended: Mapping[int, EndedRuns],
    products: Mapping[str, int],
    symbols: Collection[str],
    rules: DemandRules,
    now_ms: int,
) -> dict[str, Observation[Demand]]:
    """The demand on every symbol of ``symbols``, or why it is not known.

    ``without_runs`` are the shards that have no active run at the moment, ``ended`` the results of
    ended runs by product id: they count in the cohorts beside the living, whose results alone would
    be those of the survivors. ``products`` maps every symbol the venue has ever listed to its
    product id.
    """
    old = [s for s in overdue(shards, now_ms, rules.max_age_ms) if s.shard_id not in without_runs]
    if not shards:
        return dict.fromkeys(symbols, Unknown("no shard of runs exists"))
    if old:
        named = ", ".join(str(s.shard_id) for s in old[:5])
        reason = (
            f"{len(old)} of {len(shards)} shards have no sums of the last "
            f"{rules.max_age_ms} ms (shard {named}{', …' if len(old) > 5 else ''})"
        )
        return dict.fromkeys(symbols, Unknown(reason))
    product_ids = sorted(products.values())
    try:
        merged = aggregate.from_json(_added_up(shards, product_ids), product_ids)
    except ValueError as error:
        return dict.fromkeys(symbols, Unknown(f"the runs' sums cannot be read: {error}"))
    for product_id, results in ended.items():
        _add_ended(merged[product_ids.index(product_id)], results)
    current = [s.sums_tick for s in shards if s.shard_id not in without_runs]
    as_of_ms = min(current, default=max(s.sums_tick for s in shards))
    columns = {product_id: column for column, product_id in enumerate(product_ids)}
    found: dict[str, Observation[Demand]] = {}
    for symbol in symbols:
        if symbol not in products:
            found[symbol] = Unknown("the venue has never listed it")
            continue
        try:
            wanted = demand_of(merged[columns[products[symbol]]], rules)
        except ValueError as error:
            found[symbol] = Unknown(f"the runs' sums make no sense: {error}")
        else:
            found[symbol] = Known(wanted, as_of_ms)
    return found


def _added_up(
    shards: Sequence[ShardSums], product_ids: Sequence[int]
) -> dict[str, dict[str, int | float]]:
    """Sums of all shards by product, in the stored form.

    Added in the order of the shards, so with the bits of ``aggregate.merge``, but a shard at a
    time instead of a number at a time; counts stay exact up to 2**53. Raises ``ValueError`` for
    a row with other fields or of another product.
    """
    columns = {str(product_id): column for column, product_id in enumerate(product_ids)}
    total = np.zeros((len(product_ids), len(_FIELDS)))
    for shard in shards:
        if not shard.sums:
            continue
        if not all(row.keys() == _FIELD_SET for row in shard.sums.values()):
            raise ValueError(f"the sums of shard {shard.shard_id} have other fields")
        unlisted = shard.sums.keys() - columns.keys()
        if unlisted:
            raise ValueError(f"shard {shard.shard_id} has runs on unlisted {sorted(unlisted)}")
        rows = [columns[product] for product in shard.sums]
        total[rows] += np.array([_values(row) for row in shard.sums.values()], dtype=float)
    return {
        product: {
            name: int(value) if name in _COUNTS else value
            for name, value in zip(_FIELDS, total[column].tolist(), strict=True)
        }
        for product, column in columns.items()
    }


def _add_ended(row: Any, results: EndedRuns) -> None:
    for cohort, sums in (("current", results.current), ("history", results.history)):
        row[f"{cohort}_runs"] += sums.runs
        row[f"{cohort}_wins"] += sums.wins
        row[f"{cohort}_sum_win"] += sums.sum_win
        row[f"{cohort}_sum_loss"] += sums.sum_loss


def demand_of(row: Any, rules: DemandRules) -> Demand:
    """The demand that one symbol's sums (a row of ``aggregate.SUMS_DTYPE``) stand for.

    Raises ``ValueError`` for sums that no runs can have.
    """
    current, history = aggregate.cohorts(row)
    factor = cohort_factor(
        current,
        history,
        rules.kelly_threshold,
        rules.probationary_multiplier,
        rules.max_reward_ratio,
    )
    return Demand(
        weighted_direction=float(row["weighted_direction"]),
        factor=factor,
        active_runs=int(row["active"]),
        qualifying_runs=int(row["qualifying"]),
    )
