"""Entropy to direction.

With ``s = H - theta`` and a dead band ``epsilon >= 0``:

============ ======================================================================
``direct``   +1 if s > epsilon, -1 if s < -epsilon, else 0
``inverse``  the negative of ``direct``
``breakout`` in an ordered market (s < -epsilon) the sign of the price change over
             the look-back of m samples, else 0
``swing``    the negative of ``breakout``
============ ======================================================================

A value that is needed but not known (NaN) keeps what is held.
"""

from __future__ import annotations

from shared.providence.codes import Interpretation
from shared.providence.kernel import direction_of


def direction(
    interpretation: Interpretation,
    entropy: float,
    theta: float,
    dead_band: float,
    *,
    price: float,
    past: float,
    held: int = 0,
) -> int:
    """Direction -1, 0 or +1 to hold from the next sample on.

    Parameters
    ----------
    entropy, theta, dead_band: normalised entropy, 0 to 1; entropy NaN while unknown.
    price, past: price now and m samples ago, USD; NaN while unknown.
    held: direction held now, returned where the inputs do not suffice.

    >>> direction(Interpretation.BREAKOUT, 0.4, 0.6, 0.05, price=101.0, past=100.0)
    1
    >>> direction(Interpretation.SWING, 0.4, 0.6, 0.05, price=101.0, past=100.0)
    -1
    >>> direction(Interpretation.DIRECT, float("nan"), 0.6, 0.05, price=1.0, past=1.0, held=-1)
    -1
    """
    return int(
        direction_of(
            int(interpretation),
            float(entropy),
            float(theta),
            float(dead_band),
            float(price),
            float(past),
            int(held),
        )
    )
