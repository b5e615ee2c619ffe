"""The virtual order ledger: what a run holds, and its reconstruction from the journal.

Identity, at every mark: ``equity = start_balance + realised - fees + funding + unrealised``.
``realised`` is gross; ``fees`` are charged once per side, a reversal being two sides in one fill;
``funding`` is what was received, negative when paid. A trade runs from flat (or from a reversal) to
flat (or to the next reversal); its return is its PnL, net of its own fees and funding, over the
equity at entry.

Funding index: cumulative funding **received** per unit held long, in USD. A venue's positive hourly
rate is paid by longs, so each hour adds ``-rate x price`` (:func:`next_funding_index`), and a
position receives ``position x (index now - index at its last change)``.

The journal (fills in ``fill_seq`` order) and the index determine every ledger number but the equity
peak, which needs the marks between fills. Live code and replay book a fill with the same compiled
function, so that they agree to the bit.
"""

from __future__ import annotations

import numpy as np

from shared.providence import kernel
from shared.providence.kernel import FloatArray
from shared.providence.rules import RUIN
from shared.providence.run_state import (
    LEDGER_FIELDS,
    RUN_DTYPE,
    Records,
    native,
)
from shared.providence.step import FILL_DTYPE, Fills

__all__ = ["LEDGER_FIELDS", "accounting_gap", "log_growth", "next_funding_index", "replay"]


def next_funding_index(index: float, hourly_rate: float, price: float) -> float:
    """Index after one more hourly payment; ``hourly_rate`` as the venue states it (longs pay > 0).

    >>> next_funding_index(0.0, 0.0000125, 60_000.0)
    -0.75
    """
    return index - hourly_rate * price


def replay(
    fills: Fills, record_at_spawn: np.void | Records, price: float, funding_index: float
) -> np.void:
    """Rebuild one run's ledger from its journal.

    Parameters
    ----------
    fills: the run's ``FILL_DTYPE`` rows in ``fill_seq`` order, without a gap.
    record_at_spawn: its record before the first of them (or any later checkpoint that they follow).
    price, funding_index: the mark, usually ``last_price`` and ``last_funding_index`` of the record
        that is verified.

    Returns
    -------
    A copy of the record in which every field of ``LEDGER_FIELDS`` is rebuilt.

    Raises
    ------
    ValueError
        Naming the run and the first fill that belongs to another run, is empty or does not follow.
    """
    rows = np.ascontiguousarray(fills, dtype=FILL_DTYPE)
    record = np.zeros(1, dtype=RUN_DTYPE)
    record[0] = np.asarray(record_at_spawn).reshape(1)[0]
    own = native(record)
    bad = kernel.replay_fills(rows if rows.flags.writeable else rows.copy(), own[0])
    if bad >= 0:
        raise ValueError(
            f"run {record['run_id'][0]}: fill {bad} of the journal (run {rows[bad]['run_id']}, "
            f"sequence {rows[bad]['fill_seq']}, size {rows[bad]['size']}) does not follow "
            f"sequence {record['fill_seq'][0]}"
        )
    kernel.mark(own[0], float(price), float(funding_index))
    result: np.void = record[0]
    return result


def accounting_gap(record: np.void) -> float:
    """``equity`` minus the right-hand side of the identity, in USD; 0 for a sound record."""
    parts = (
        record["start_balance"]
        + record["realised"]
        - record["fees"]
        + record["funding"]
        + record["unrealised"]
    )
    return float(record["equity"] - parts)


def log_growth(records: Records) -> FloatArray:
    """``ln(equity / start_balance)`` per run, floored at ``ln RUIN``."""
    ratio = records["equity"] / records["start_balance"]
    growth: FloatArray = np.log(np.maximum(ratio, RUIN))
    return growth
