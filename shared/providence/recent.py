"""Recent entropy of every cell and symbol, sorted once, as quantiles are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.providence.kernel import FloatArray
from shared.providence.rules import Cell, ParameterSpace

RecentEntropy = Mapping[tuple[Cell, int], FloatArray]
"""(cell, product id) -> recent normalised entropy values, NaN allowed and ignored."""

Rows = NDArray[np.int64]


class SortedEntropy:
    """Quantiles of recent entropy for many runs at once.

    A row stands for a cell of ``space`` and one of ``product_ids``: ``row(cell place, product
    place)``. ``ready[cell, product]`` tells where there are enough values to draw a threshold.
    """

    def __init__(
        self, recent: RecentEntropy, space: ParameterSpace, product_ids: Sequence[int]
    ) -> None:
        keys = [(cell, product_id) for cell in space.cells for product_id in product_ids]
        found = [np.asarray(recent.get(key, ()), dtype=np.float64) for key in keys]
        values = np.full((len(keys), max(map(len, found), default=0)), np.nan)
        for row, known in enumerate(found):
            values[row, : len(known)] = known
        values[~np.isfinite(values)] = np.nan
        values.sort(axis=1)  # NaN goes to the end
        self._values = values
        self._counts = np.isfinite(values).sum(axis=1)
        self.product_ids = tuple(product_ids)
        self._order = np.argsort(np.asarray(product_ids, dtype=np.int64))
        self._ids = np.asarray(product_ids, dtype=np.int64)[self._order]
        enough = self._counts >= space.theta_min_samples
        self.ready: NDArray[np.bool_] = enough.reshape(len(space.cells), len(product_ids))

    def products(self, product_ids: NDArray[np.integer]) -> Rows:
        """Place of each product among those given."""
        places: Rows = self._order[np.searchsorted(self._ids, product_ids)]
        return places

    def theta(self, cells: Rows, products: Rows, quantile: FloatArray) -> FloatArray:
        """Entropy at a quantile (0 to 1) of each run's row, which must be ready."""
        row = cells * len(self.product_ids) + products
        place = quantile * (self._counts[row] - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, self._counts[row] - 1)
        start, end = self._values[row, low], self._values[row, high]
        theta: FloatArray = np.clip(start + (place - low) * (end - start), 0.0, 1.0)
        return theta

    def quantile(self, cells: Rows, products: Rows, theta: FloatArray) -> FloatArray:
        """Quantile (0 to 1) of each threshold in its row, which must be ready."""
        row = cells * len(self.product_ids) + products
        count = self._counts[row]
        values = self._values[row]
        low = (values <= theta[:, None]).sum(axis=1) - 1
        inside = np.clip(low, 0, np.maximum(count - 2, 0))
        take = np.arange(len(row))
        start = values[take, inside]
        step = values[take, np.minimum(inside + 1, count - 1)] - start
        part = np.divide(theta - start, step, out=np.zeros(len(row)), where=step > 0.0)
        place = np.where(low < 0, 0.0, np.where(low >= count - 1, count - 1, inside + part))
        quantile: FloatArray = np.clip(place / np.maximum(count - 1, 1), 0.0, 1.0)
        return quantile
