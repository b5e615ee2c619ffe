"""The twin of a recorded window: journal, account, and the gap by cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.providence.run_state import Records
from shared.providence.step import FILL_DTYPE, Fills
from shared.research.account import AccountRules
from shared.research.twin.account import Step, Window, follow
from shared.research.twin.gap import Gap, LivedPaths, lived_paths, split
from shared.research.twin.journal import JournalCheck, LivedSums, compare, exchange
from shared.research.twin.paths import Path
from shared.research.twin.recorded import Recorded
from shared.research.twin.replay import Piece, Progress, Replay


@dataclass(frozen=True, slots=True)
class TwinRules:
    """The configuration's planner, and the period of reconciliation in ms (a tick at least)."""

    account: AccountRules
    every_ms: int


@dataclass(frozen=True, slots=True)
class Twin:
    """A window lived and replayed. ``equity`` are USD at the ticks of ``window``."""

    recorded: Recorded
    window: Window
    check: JournalCheck
    replayed: Path
    lived: LivedPaths
    gap: Gap
    equity_replayed: NDArray[np.float64]
    equity_lived: NDArray[np.float64]


def twin_of(recorded: Recorded, rules: TwinRules, progress: Progress | None = None) -> Twin:
    """Replay a recorded window and take the gap apart."""
    window = Window.of(recorded)
    records = recorded.lives.births.copy()
    replay = Replay(recorded, records, recorded.lives.shard_ids, rules.every_ms)
    fills: list[Fills] = [np.empty(0, dtype=FILL_DTYPE)]
    pieces: list[Piece] = []
    for piece in replay.pieces():
        fills.append(piece.fills)
        if piece.block.tick_ms[-1] >= recorded.from_ms:
            pieces.append(piece)
        if progress is not None:
            progress(len(piece.block.tick_ms))
    check = compare(recorded.lives, recorded.fills, np.concatenate(fills), records)
    steps = [Step(piece.block, piece.due, piece.sums) for piece in pieces]
    replayed = follow(recorded, window, rules.account, steps)
    on_lived = replayed
    if not check.equal:
        exchanged = _on_lived_journal(recorded, window, check, pieces)
        on_lived = follow(recorded, window, rules.account, exchanged)
    lived = lived_paths(recorded.account, window.tick_ms, window.mark)
    flows = _transfers(recorded, window)
    start = recorded.account.start_usd
    return Twin(
        recorded,
        window,
        check,
        replayed,
        lived,
        split(replayed, on_lived, lived),
        start + flows + replayed.total.sum(axis=1),
        start + flows + (lived.ours.total + lived.by_hand.total).sum(axis=1),
    )


def _transfers(recorded: Recorded, window: Window) -> NDArray[np.float64]:
    received = np.zeros(len(window.tick_ms))
    for flow in recorded.account.transfers:
        received[window.tick_ms >= flow.time_ms] += flow.usd
    return received


def _on_lived_journal(
    recorded: Recorded, window: Window, check: JournalCheck, pieces: list[Piece]
) -> Iterator[Step]:
    """The steps with the sums of the recorded journal: only runs that differ are exchanged."""
    lives = recorded.lives
    chosen = np.isin(lives.births["run_id"], np.array(check.differing, dtype=np.int64))
    births: Records = lives.births[chosen].copy()
    columns = np.array([recorded.columns[int(p)] for p in births["product_id"]], dtype=np.int32)
    symbols = len(recorded.markets)
    lived = LivedSums(births, lives.ended_ms[chosen], recorded.fills, columns, symbols)
    alone = replace(recorded, ended_before={})
    replay = Replay(alone, births.copy(), lives.shard_ids[chosen], 1)
    replayed = {
        int(tick): sums
        for piece in replay.pieces()
        for tick, sums in zip(piece.block.tick_ms[piece.due], piece.sums, strict=True)
    }
    versions = {row.tick_ms: row.config_version for row in recorded.rows}
    for piece in pieces:
        sums = piece.sums.copy()
        for place, tick in enumerate(piece.block.tick_ms[piece.due].tolist()):
            row = int(np.searchsorted(window.tick_ms, tick))
            rules = recorded.configs[versions[tick]].rules
            now = lived.at(tick, window.mark[row], window.index[row], rules)
            sums[place] = exchange(sums[place], replayed[tick], now)
        yield Step(piece.block, piece.due, sums)
