"""Recent entropy of every cell and symbol, sorted once, as quantiles are drawn from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.providence._jit import jit
from shared.providence.births import Places, Recent
from shared.providence.kernel import FloatArray
from shared.providence.rules import ParameterSpace

__all__ = ["Recent", "SlidingRecent", "sorted_entropy"]


def sorted_entropy(
    entropy: FloatArray, space: ParameterSpace, product_ids: Sequence[int]
) -> Recent:
    """Recent normalised entropy as newborns draw from it.

    Parameters
    ----------
    entropy: [N, C, S], a row per tick, the cells of ``space`` and a column per product; NaN and
        infinite values are unknown and left out.
    """
    count, cells, columns = entropy.shape
    values = np.ascontiguousarray(entropy.reshape(count, cells * columns).T)
    values[~np.isfinite(values)] = np.nan
    values.sort(axis=1)  # NaN goes to the end
    counts = np.isfinite(values).sum(axis=1)
    ready = (counts >= space.theta_min_samples).reshape(cells, columns)
    return Recent(values, counts, ready, np.asarray(product_ids, dtype=np.int64))


class SlidingRecent:
    """:func:`sorted_entropy` of a window that slides: the same numbers, merged, not sorted anew."""

    def __init__(self, space: ParameterSpace, product_ids: Sequence[int]) -> None:
        self._space, self._product_ids = space, product_ids
        self._window: FloatArray = np.empty((0, len(space.cells), len(product_ids)))
        self._recent: Recent | None = None

    def slide(self, entropy: FloatArray, fresh: int) -> Recent:
        """Of ``entropy`` [N, C, S], whose last ``fresh`` rows the window before did not have."""
        old, before = self._recent, self._window
        self._window = entropy
        if old is None or len(before) != len(entropy) or not 0 < fresh < len(entropy):
            self._recent = sorted_entropy(entropy, self._space, self._product_ids)
            return self._recent
        values, counts = np.empty_like(old.values), np.empty_like(old.counts)
        rows = len(values)
        _merge(
            old.values,
            old.counts,
            before[:fresh].reshape(fresh, rows),
            entropy[len(entropy) - fresh :].reshape(fresh, rows),
            values,
            counts,
        )
        ready = (counts >= self._space.theta_min_samples).reshape(old.ready.shape)
        self._recent = Recent(values, counts, ready, old.product_ids)
        return self._recent


@jit
def _known(values: FloatArray) -> FloatArray:
    """The finite ones, rising, and infinity behind them; there are few."""
    found = np.full(values.size + 1, np.inf)
    count = 0
    for value in values:
        if not np.isfinite(value):
            continue
        place = count
        while place > 0 and found[place - 1] > value:
            found[place] = found[place - 1]
            place -= 1
        found[place] = value
        count += 1
    return found


@jit
def _merge(
    old: FloatArray,
    old_counts: Places,
    gone: FloatArray,
    come: FloatArray,
    values: FloatArray,
    counts: Places,
) -> None:
    """Each row of ``old`` without its column of ``gone`` and with that of ``come``, sorted."""
    for row in range(old.shape[0]):
        leaving, entering = _known(gone[:, row]), _known(come[:, row])
        left, entered, count = 0, 0, 0
        for i in range(old_counts[row]):
            value = old[row, i]
            if leaving[left] == value:
                left += 1
                continue
            while entering[entered] < value:
                values[row, count] = entering[entered]
                entered, count = entered + 1, count + 1
            values[row, count] = value
            count += 1
        while entering[entered] < np.inf:
            values[row, count] = entering[entered]
            entered, count = entered + 1, count + 1
        values[row, count:] = np.nan
        counts[row] = count
