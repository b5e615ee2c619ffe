"""Recent entropy of every cell and symbol, sorted once, as quantiles are drawn from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.providence.births import Recent
from shared.providence.kernel import FloatArray
from shared.providence.rules import ParameterSpace

__all__ = ["Recent", "sorted_entropy"]


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
