"""Every run that lived, from its birth through the stored ticks, by the kernel that live calls.

Nothing is decided here: which runs are born, what is asked of them and which configuration is in
force at a tick are inputs, as they were recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.market_data.tick_inputs import TickWindow
from shared.providence.aggregate import Sums
from shared.providence.binding import Binding, Grid, bind
from shared.providence.codes import Status
from shared.providence.market import MarketSeries, Samples, TickBlock, warm_up_samples
from shared.providence.run_state import Records
from shared.providence.shards import Bounds, step_block
from shared.providence.step import FILL_DTYPE, Fills
from shared.research.errors import ResearchError
from shared.research.twin.recorded import Recorded

BLOCK_TICKS = 4_096
FILL_ROWS = 1 << 20

Progress = Callable[[int], None]
"""Told ticks done since the last call."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive stored ticks under one configuration, after all runs were stepped through them.

    ``sums`` [D, S] are of the ticks that are due.
    """

    block: TickBlock
    due: NDArray[np.bool_]
    fills: Fills
    sums: Sums


def needs(births: Records) -> Grid:
    """Cells and look-backs that these runs look at."""
    cells = sorted(
        set(
            zip(
                births["order"].tolist(),
                births["delay"].tolist(),
                births["window"].tolist(),
                strict=True,
            )
        )
    )
    return Grid(tuple(cells), tuple(sorted(set(births["lookback"].tolist()))))


def reach_ms(births: Records, interval_ms: int) -> int:
    """How far before a tick its market can depend on stored ticks."""
    return (warm_up_samples(needs(births)) + 1) * interval_ms


class Replay:
    """The population of a recorded window. ``records`` is stepped as pieces are taken."""

    def __init__(
        self, recorded: Recorded, records: Records, shard_ids: NDArray[np.int64], every_ms: int
    ) -> None:
        self.records = records
        self._recorded = recorded
        self._every_ms = every_ms
        self._grid = needs(records)
        starts = np.flatnonzero(np.diff(shard_ids, prepend=-1))
        self._bounds = Bounds(starts, np.append(starts[1:], len(records)))
        self._buffer: Fills = np.empty(0, dtype=FILL_DTYPE)

    def pieces(self) -> Iterator[Piece]:
        """All stored ticks after the oldest birth, in order."""
        for block, versions in self._blocks():
            for first, end in self._cuts(block.tick_ms, versions):
                yield self._step(block.cut(first, end), versions[first])

    def _blocks(self) -> Iterator[tuple[TickBlock, list[str]]]:
        """Markets of stored ticks, each with the version that was in force."""
        recorded, step_ms = self._recorded, self._recorded.interval_ms
        rows = recorded.rows
        if not rows:
            return
        series = MarketSeries(self._grid, len(recorded.product_ids), step_ms)
        oldest = int(self.records["spawn_tick"].min())
        first, at = rows[0].tick_ms, 0
        while first <= rows[-1].tick_ms:
            last = min(first + (BLOCK_TICKS - 1) * step_ms, rows[-1].tick_ms)
            end = at
            while end < len(rows) and rows[end].tick_ms <= last:
                end += 1
            window = TickWindow.from_rows(step_ms, first, last, rows[at:end], recorded.product_ids)
            block = series.push_block(
                Samples(
                    window.tick_ms,
                    window.mid.copy(),
                    window.ok,
                    window.funding_index.copy(),
                    window.volatility.copy(),
                )
            )
            stored = np.array([v != "" for v in window.config_version]) & (block.tick_ms > oldest)
            if stored.any():
                kept = _where(block, stored)
                versions = [v for v, s in zip(window.config_version, stored, strict=True) if s]
                yield kept, versions
            first, at = last + step_ms, end

    def _cuts(self, tick_ms: NDArray[np.int64], versions: list[str]) -> Iterator[tuple[int, int]]:
        """[first, end) ranges under one version, with nothing happening from outside within."""
        recorded = self._recorded
        breaks = {recorded.from_ms, *(tick for tick, _ in recorded.height_ticks)}
        breaks |= {flow.time_ms for flow in recorded.account.transfers}
        starts = set(np.searchsorted(tick_ms, sorted(breaks)).tolist())
        starts |= {k for k in range(1, len(versions)) if versions[k] != versions[k - 1]}
        most = max(1, FILL_ROWS // max(1, len(self.records)))
        first = 0
        for end in [*sorted(k for k in starts if 0 < k < len(tick_ms)), len(tick_ms)]:
            while first < end:
                yield first, min(first + most, end)
                first = min(first + most, end)

    def _step(self, block: TickBlock, version: str) -> Piece:
        recorded = self._recorded
        since = block.tick_ms - recorded.from_ms
        due = (since >= 0) & (since % self._every_ms == 0)
        self._close_epochs(int(block.tick_ms[0]))
        config = recorded.configs.get(version)
        if config is None:
            raise ResearchError(f"configuration version {version} is not stored")
        columns = {
            p: c
            for p, c in recorded.columns.items()
            if recorded.markets[c].symbol in config.symbols
        }
        binding: Binding = bind(self.records, self._grid, columns)
        fills, sums = step_block(
            self.records, self._bounds, binding, block, config.rules, due, self._room(block)
        )
        return Piece(block, due, fills.copy(), self._with_ended(block.tick_ms[due], sums))

    def _room(self, block: TickBlock) -> Fills:
        wanted = self._bounds.runs * len(block.tick_ms)
        if len(self._buffer) < wanted:
            self._buffer = np.empty(wanted, dtype=FILL_DTYPE)
        return self._buffer

    def _close_epochs(self, tick_ms: int) -> None:
        """Runs that ended without a height are of the epoch that closes, as their results are."""
        for effective, height in self._recorded.height_ticks:
            if effective <= tick_ms:
                records = self.records
                ended = (
                    (records["status"] == Status.COMPLETED)
                    & (records["height"] == 0)
                    & (records["tick"].astype(np.int64) < effective)
                )
                records["height"][ended] = height
                records["height_at_tick"][ended] = effective

    def _with_ended(self, tick_ms: NDArray[np.int64], sums: Sums) -> Sums:
        """Add the results of runs that had ended before the window, by the epochs at each tick."""
        heights = self._recorded.height_ticks
        closed = tick_ms >= heights[0][0] if heights else np.zeros(len(tick_ms), dtype=np.bool_)
        for product_id, before in self._recorded.ended_before.items():
            column = self._recorded.columns.get(product_id)
            if column is None:
                continue
            for field in ("runs", "wins", "sum_win", "sum_loss"):
                current, history = getattr(before.current, field), getattr(before.history, field)
                sums[f"current_{field}"][~closed, column] += current
                sums[f"history_{field}"][closed, column] += current
                sums[f"history_{field}"][:, column] += history
        return sums


def _where(block: TickBlock, stored: NDArray[np.bool_]) -> TickBlock:
    return TickBlock(
        block.tick_ms[stored],
        block.price[stored],
        block.ok[stored],
        block.funding_index[stored],
        block.volatility[stored],
        block.entropy[stored],
        block.past[stored],
    )
