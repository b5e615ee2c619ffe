"""Whose money is it? Splits what the account did over the runs that asked for it: pure.

Per symbol there is a book: what each run holds of the account's position, and the cash that its
part of the fills, fees and funding has cost or brought. What no run asked for belongs to the house:
trades by hand, exits that a person or the venue made, what rounding, thresholds and limits left
over, and what was held before the book began.

After a fill that reconciliation asked for, each run holds what it asked for: its weighted
direction times the notional per unit of weight that the plan used, as far as the account got
there. What a run gave or took counts as traded at the price of the fill; what two runs pass to
each other moves no money in or out of the account. So for every fill, and whatever the weights,

    Σ over runs and house of Δheld = size, of Δcash = −size × price − fee,

and for any price Σ (cash + held × price) is the account's profit and loss on that symbol.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HOUSE: Final = 0
"""Id of the house; runs have ids from 1 on."""

SHARE_DTYPE: Final = np.dtype(
    [
        ("run_id", "<i8"),
        ("held", "<f8"),  # coins, signed
        ("cash", "<f8"),  # USD received, with fees and funding
        ("fees", "<f8"),  # USD paid
        ("funding", "<f8"),  # USD received
        ("fills", "<i4"),  # fills it took part in
    ]
)
Shares = NDArray[np.void]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """One symbol: a row for the house first, then runs in rising order of id."""

    shares: Shares

    @property
    def position(self) -> float:
        """The account's position as the book has it, coins."""
        return math.fsum(self.shares["held"].tolist())

    @property
    def cash(self) -> float:
        """USD that the account has received for the symbol."""
        return math.fsum(self.shares["cash"].tolist())

    def pnl(self, price: float) -> Floats:
        """Profit and loss of every row at a price, USD."""
        value: Floats = self.shares["cash"] + self.shares["held"] * price
        return value


@dataclass(frozen=True, slots=True)
class AccountFill:
    """One execution: signed size and the position before it in coins, price and fee in USD."""

    size: float
    price: float
    fee: float
    start_position: float


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What the runs asked for when the order was planned.

    ``run_ids`` in rising order with their ``sizes`` (coins, signed); ``target`` is the position
    that was planned, after clamps and rounding.
    """

    run_ids: NDArray[np.int64]
    sizes: Floats
    target: float


@dataclass(frozen=True, slots=True)
class Split:
    """What one event gave to the runs together and to the house, USD; ``runs`` took part."""

    runs_usd: float
    house_usd: float
    runs: int


def empty_book() -> Book:
    """A book of a symbol that was never traded."""
    return Book(np.zeros(1, dtype=SHARE_DTYPE))


def asked_sizes(weights: Floats, usd_per_weight: float, price: float, scale: float) -> Floats:
    """Coins that runs of these weighted directions ask for.

    ``usd_per_weight`` is balance × ``risk_pos_percentage`` × cohort factor / ``desired_run_count``,
    ``scale`` what inversion, bans and caps left of the sum.
    """
    sizes: Floats = weights * (usd_per_weight * scale / price)
    return sizes


def apply_fill(book: Book, fill: AccountFill, asked: Asked | None) -> tuple[Book, Split]:
    """Book one fill; without ``asked`` (by hand, by the venue) it is the house's own.

    A position that the book does not know of, such as one from before it began, is taken over by
    the house at the price of this fill. Raises ``ValueError`` for numbers that are not finite.
    """
    _require_finite(fill.size, fill.price, fill.fee, fill.start_position)
    shares = _with_runs(book.shares, asked)
    _adopt(shares, fill.start_position - math.fsum(shares["held"].tolist()), fill.price)
    end = fill.start_position + fill.size
    held = shares["held"].copy()
    if asked is not None:
        _rebalance(held, shares["run_id"], asked, fill.start_position, end)
    held[0] = end - math.fsum(held[1:].tolist())
    traded = held - shares["held"]
    fees = _fee_parts(np.abs(traded), fill.fee)
    cash = -traded * fill.price - fees
    # the house takes what rounding leaves, so that the parts add up to the whole
    cash[0] = (-fill.size * fill.price - fill.fee) - math.fsum(cash[1:].tolist())
    shares["held"] = held
    shares["cash"] += cash
    shares["fees"] += fees
    shares["fills"] += traded != 0
    return Book(shares), _split(cash, traded != 0)


def apply_late_fill(book: Book, fill: AccountFill, next_price: float) -> tuple[Book, Split]:
    """Book a fill that became known after a later one, at ``next_price``, had been booked.

    With that one the house took the missing position over at its price; what is left is the
    difference to what was paid, and the fee.
    """
    _require_finite(fill.size, fill.price, fill.fee, next_price)
    shares = book.shares.copy()
    shares["cash"][0] += fill.size * (next_price - fill.price) - fill.fee
    shares["fees"][0] += fill.fee
    shares["fills"][0] += 1
    return Book(shares), Split(0.0, -fill.size * fill.price - fill.fee, 0)


def apply_funding(book: Book, usd: float, size: float) -> tuple[Book, Split]:
    """Book a funding payment (positive: received) on a position of ``size`` coins.

    Runs take part by what they hold; a run that holds the other side gets the other sign.
    """
    _require_finite(usd, size)
    shares = book.shares.copy()
    parts: Floats = np.zeros(len(shares))
    if size != 0:
        parts[1:] = shares["held"][1:] * (usd / size)
    parts[0] = usd - math.fsum(parts[1:].tolist())
    shares["cash"] += parts
    shares["funding"] += parts
    return Book(shares), _split(parts, parts != 0)


def retire(book: Book, living: NDArray[np.int64]) -> tuple[Book, Shares]:
    """Take out the runs that hold nothing and do not live any more; returns book and those."""
    shares = book.shares
    gone = (shares["held"] == 0) & ~np.isin(shares["run_id"], living)
    gone[0] = False
    return Book(shares[~gone]), shares[gone]


def _rebalance(
    held: Floats, run_ids: NDArray[np.int64], asked: Asked, start: float, end: float
) -> None:
    """Set what the runs hold after a fill that took the account from ``start`` to ``end``."""
    reached = _reached(end, asked.target)
    if reached is None:  # still on the way out of the old position: everyone holds less of it
        held[1:] *= end / start if start != 0 and 0 <= end / start <= 1 else 1.0
        return
    held[1:] = 0.0
    held[np.searchsorted(run_ids, asked.run_ids)] = asked.sizes * reached


def _reached(end: float, target: float) -> float | None:
    """Share of the target that is there (at most 1); None while the position is another."""
    if target == 0:
        return 1.0 if end == 0 else None
    share = end / target
    return None if share < 0 else min(share, 1.0)


def _with_runs(shares: Shares, asked: Asked | None) -> Shares:
    """A copy with a row for every run that asks for something."""
    if asked is None:
        return shares.copy()
    if len(asked.run_ids) and int(asked.run_ids.min()) <= HOUSE:
        raise ValueError(f"run id {asked.run_ids.min()} is not of a run; allowed is 1 or more")
    _require_finite(asked.target, *asked.sizes.tolist())
    ids = np.union1d(shares["run_id"], asked.run_ids)
    wider = np.zeros(len(ids), dtype=SHARE_DTYPE)
    wider["run_id"] = ids
    wider[np.searchsorted(ids, shares["run_id"])] = shares
    return wider


def _adopt(shares: Shares, unexplained: float, price: float) -> None:
    """Give the house a position that appeared without a fill, bought at ``price``."""
    if abs(unexplained) > 1e-12:
        shares["held"][0] += unexplained
        shares["cash"][0] -= unexplained * price


def _fee_parts(traded: Floats, fee: float) -> Floats:
    total = math.fsum(traded.tolist())
    parts: Floats = np.zeros(len(traded)) if total == 0 else traded * (fee / total)
    parts[0] = fee - math.fsum(parts[1:].tolist())
    return parts


def _split(parts: Floats, took_part: NDArray[np.bool_]) -> Split:
    runs = int(np.count_nonzero(took_part[1:]))
    return Split(math.fsum(parts[1:].tolist()), float(parts[0]), runs)


def _require_finite(*numbers: Any) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"amounts must be finite numbers, found {numbers[:5]}")
