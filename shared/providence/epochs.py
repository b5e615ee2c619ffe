"""Heights (epochs) and what cohorts have grown by.

A take-profit event gives every active run without one the next height, with effect from a named
tick; the runs trade on. A drawdown reset asks every active run to exit, without a height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.providence.codes import Status
from shared.providence.entropy import permutation_entropy
from shared.providence.run_state import Records


def assign_height(records: Records, height: int, at_tick: int) -> int:
    """Give every active run without a height this one, counting from ``at_tick`` (ms), in place.

    Returns the number of runs that got it.

    Raises
    ------
    ValueError
        If ``height`` is not 1 or more.
    """
    if height < 1:
        raise ValueError(f"height is {height}; allowed is 1 or more")
    chosen = (records["status"] == Status.ACTIVE) & (records["height"] == 0)
    records["height"][chosen] = height
    records["height_at_tick"][chosen] = at_tick
    return int(chosen.sum())


def request_exit(records: Records, at_tick: int) -> int:
    """Ask every active run to exit at ``at_tick`` (ms) or at the tick it already has, in place.

    Returns the number of runs newly asked.

    Raises
    ------
    ValueError
        If ``at_tick`` is not 1 or more (0 means no exit).
    """
    if at_tick < 1:
        raise ValueError(f"at_tick is {at_tick}; allowed is 1 or more")
    chosen = (records["status"] == Status.ACTIVE) & (records["exit_at_tick"] == 0)
    records["exit_at_tick"][chosen] = at_tick
    return int(chosen.sum())


def cross_run_entropy(growths: Sequence[float], order: int = 3, delay: int = 1) -> float:
    """Permutation entropy of the epochs' mean log-growths in height order, 0 to 1.

    NaN while there are fewer epochs than one pattern needs. Low: the epochs follow a pattern, for
    instance each better than the one before; near 1: no order between them.

    Raises
    ------
    ValueError
        If a growth is not a finite number, or order or delay is out of range.
    """
    if len(growths) < (order - 1) * delay + 1:
        return math.nan
    return permutation_entropy(growths, order, delay)
