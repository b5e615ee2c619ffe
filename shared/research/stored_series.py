"""Samples of MariaDB's ``tick_inputs`` as a series: what the population saw, to the bit."""

from __future__ import annotations

import hashlib

import numpy as np

from shared.market_data.tick_inputs import TickWindow
from shared.providence.market import Samples
from shared.research.tick_series import BLOCK_TICKS


class StoredSeries:
    """Stored ticks of several symbols, one column each, in the order of ``symbols``.

    Price, funding index, volatility and freshness are those of the sampler. A tick without a row
    is unknown.

    Parameters
    ----------
    window: the ticks; its columns in order of product.
    symbols: name of each column of ``window``.
    """

    def __init__(self, window: TickWindow, symbols: tuple[str, ...]) -> None:
        order = sorted(range(len(symbols)), key=lambda column: symbols[column])
        self.symbols = tuple(symbols[column] for column in order)
        self.interval_ms = window.interval_ms
        self.first_ms, self.last_ms = int(window.tick_ms[0]), int(window.tick_ms[-1])
        self._samples = Samples(
            window.tick_ms.copy(),
            window.mid[:, order].copy(),
            window.ok[:, order].copy(),
            window.funding_index[:, order].copy(),
            window.volatility[:, order].copy(),
        )

    def __len__(self) -> int:
        return len(self._samples.tick_ms)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-len(self) // BLOCK_TICKS)

    @property
    def sha256(self) -> str:
        """Fingerprint of every number."""
        digest = hashlib.sha256()
        for part in self._samples:
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def samples(self, block: int) -> Samples:
        """Ticks of one block, 0 to ``blocks - 1``."""
        if not 0 <= block < self.blocks:
            raise IndexError(f"block {block} of {self.blocks}")
        part = slice(block * BLOCK_TICKS, (block + 1) * BLOCK_TICKS)
        whole = self._samples
        return Samples(
            whole.tick_ms[part],
            whole.price[part],
            whole.ok[part],
            whole.funding_index[part],
            whole.volatility[part],
        )
