"""The journal's rows: what a step returns and a ledger replays; without the compiler."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FILL_DTYPE: Final = np.dtype(
    [
        ("run_id", "<i8"),
        ("fill_seq", "<i4"),  # 1, 2, ... per run
        ("tick", "<i8"),  # ms
        ("product_id", "<i4"),
        ("size", "<f8"),  # signed, base coin
        ("price", "<f8"),  # slippage included
        ("fee", "<f8"),  # USD, > 0 paid
        ("funding_index", "<f8"),  # of the symbol at this tick
        ("reason", "u1"),  # codes.Reason
    ]
)
Fills = NDArray[np.void]
