r"""Permutation entropy, static and sliding (Bandt & Pompe 2002; Unakafova & Keller 2013).

A window of ``w`` samples holds ``N = w - (d-1) tau`` ordinal patterns: the order of the ``d``
values ``x[t], x[t+tau], ..., x[t+(d-1)tau]``, ties broken by order of appearance. With ``c_i`` the
count of pattern ``i``, ``H = - sum p ln p = (N ln N - sum c_i ln c_i) / N`` nats, divided by
``ln d!`` to lie in [0, 1].

Sliding by one sample moves one pattern in and one out. The pattern number follows from the one
``tau`` samples before by a table: drop the oldest of its values, insert the new one at its rank.
That takes ``d - 1`` comparisons, whatever the window. ``sum c ln c`` is kept as a fixed-point
integer, so that it returns to the same value on every path: a sliding value has the bits of a fresh
calculation over its window. The table of ``c ln c`` is rounded from decimal logarithms, not from
the machine's library, so that two machines agree as well.

References
----------
C. Bandt, B. Pompe, "Permutation entropy: a natural complexity measure for time series", Phys. Rev.
Lett. 88, 174102 (2002). V. Unakafova, K. Keller, "Efficiently measuring complexity on the basis of
real-world data", Entropy 15, 4392 (2013).
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.providence._jit import jit
from shared.providence.rules import MAX_ORDER, MAX_WINDOW, MIN_ORDER

FloatArray = NDArray[np.float64]

_LOG_BITS: Final = 96
_FRACTION_BITS: Final = 42
"""N ln N < 2^21 for every window up to MAX_WINDOW, so that the sums stay below 2^63."""


@lru_cache(maxsize=8)
def _xlogx_table(size: int) -> NDArray[np.int64]:
    """``round(c ln c * 2**42)`` for c = 0 ... size."""
    logarithm = [0] * (size + 1)  # ln c in units of 2**-96; only primes are calculated
    divisor = list(range(size + 1))
    for c in range(2, size + 1):
        if divisor[c] == c:
            logarithm[c] = _fixed_log(c)
            for multiple in range(c * c, size + 1, c):
                divisor[multiple] = c
        else:
            logarithm[c] = logarithm[divisor[c]] + logarithm[c // divisor[c]]
    shift = _LOG_BITS - _FRACTION_BITS
    half = 1 << (shift - 1)
    table = np.array([(c * ln + half) >> shift for c, ln in enumerate(logarithm)], dtype=np.int64)
    table.flags.writeable = False
    return table


def _fixed_log(value: int) -> int:
    with localcontext() as context:
        context.prec = 50
        return int((Decimal(value).ln() * (1 << _LOG_BITS)).to_integral_value())


@lru_cache(maxsize=8)
def _log_factorial(order: int) -> float:
    """``ln d!``, correctly rounded."""
    with localcontext() as context:
        context.prec = 34
        return float(Decimal(math.factorial(order)).ln())


@lru_cache(maxsize=8)
def _transitions(order: int) -> NDArray[np.int16]:
    """Next pattern, [d!, d]: row = pattern, column = how many of its last d-1 values are > the new.

    A pattern is numbered by the ranks of its values in time order.
    """
    numbers = {ranks: number for number, ranks in enumerate(permutations(range(order)))}
    table = np.empty((len(numbers), order), dtype=np.int16)
    for ranks, number in numbers.items():
        kept = [rank - (rank > ranks[0]) for rank in ranks[1:]]
        for greater in range(order):
            new = order - 1 - greater
            moved = (*(rank + (rank >= new) for rank in kept), new)
            table[number, greater] = numbers[moved]
    table.flags.writeable = False
    return table


def _check(order: int, delay: int, window: int | None) -> None:
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise ValueError(f"order is {order}; allowed is {MIN_ORDER} to {MAX_ORDER}")
    if delay < 1:
        raise ValueError(f"delay is {delay}; allowed is 1 or more samples")
    shortest = (order - 1) * delay + 1
    if window is not None and not shortest <= window <= MAX_WINDOW:
        raise ValueError(
            f"window is {window}; allowed is {shortest} to {MAX_WINDOW} samples for "
            f"order {order} and delay {delay}"
        )


def _series(x: ArrayLike) -> FloatArray:
    series = np.ascontiguousarray(x, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"the series has {series.ndim} dimensions; allowed is 1")
    return series


def _refuse_nan(series: FloatArray, ok: NDArray[np.bool_] | None = None) -> None:
    wrong = ~np.isfinite(series) if ok is None else ok & ~np.isfinite(series)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"sample {at} is {series[at]}; allowed are finite numbers")


@jit
def _advance(
    x: FloatArray,
    ok: NDArray[np.bool_],
    order: int,
    delay: int,
    window: int,
    transitions: NDArray[np.int16],
    xlogx: NDArray[np.int64],
    scale: float,
    ages: NDArray[np.int64],
    totals: NDArray[np.int64],
    counts: NDArray[np.int64],
    prices: FloatArray,
    codes: NDArray[np.int16],
    out: FloatArray,
) -> None:
    """Push ``x[T, S]`` through S columns of state; ``out[t, s]`` is NaN until a window is full.

    ``ages`` counts samples since the last gap and indexes the rings ``prices`` and ``codes``, whose
    lengths are powers of two.
    """
    span = (order - 1) * delay
    patterns = window - span
    price_mask = prices.shape[1] - 1
    code_mask = codes.shape[1] - 1
    for s in range(x.shape[1]):
        age = ages[s]
        total = totals[s]
        for t in range(x.shape[0]):
            out[t, s] = np.nan
            value = x[t, s]
            if not ok[t, s]:
                age = np.int64(0)
                total = np.int64(0)
                counts[s, :] = 0
                continue
            prices[s, age & price_mask] = value
            if age >= span:
                code = np.int64(0)
                if age >= span + delay:
                    code = np.int64(codes[s, (age - delay) & code_mask])
                    greater = 0
                    for back in range(delay, span + 1, delay):
                        greater += prices[s, (age - back) & price_mask] > value
                    code = np.int64(transitions[code, greater])
                else:  # the first tau patterns: insert their d values into a rising pattern
                    for last in range(age - span, age + 1, delay):
                        greater = 0
                        for first in range(age - span, last, delay):
                            newer = prices[s, last & price_mask]
                            greater += prices[s, first & price_mask] > newer
                        code = np.int64(transitions[code, greater])
                if age >= window:
                    gone = codes[s, (age - patterns) & code_mask]
                    count = counts[s, gone] - 1
                    counts[s, gone] = count
                    total += xlogx[count] - xlogx[count + 1]
                codes[s, age & code_mask] = code
                count = counts[s, code] + 1
                counts[s, code] = count
                total += xlogx[count] - xlogx[count - 1]
                if age >= window - 1:
                    entropy = (xlogx[patterns] - total) / scale
                    out[t, s] = min(1.0, entropy)
            age += 1
        ages[s] = age
        totals[s] = total


def _ring(length: int) -> int:
    """Smallest power of two that holds ``length`` samples."""
    return 1 << (length - 1).bit_length()


class SlidingEntropy:
    """Normalised permutation entropy of the last ``window`` samples of S columns, kept up to date.

    A sample costs O(d) per column. The values have the bits of a fresh calculation over the window,
    however the state came about, so that a restarted process agrees with one that never stopped.

    Parameters
    ----------
    order: embedding dimension d, 3 to 6.
    delay: tau in samples, >= 1.
    window: w in samples, (d-1) tau + 1 to 100,000.
    columns: S, >= 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, order: int, delay: int, window: int, columns: int) -> None:
        _check(order, delay, window)
        if columns < 0:
            raise ValueError(f"columns is {columns}; allowed is 0 or more")
        self.order, self.delay, self.window, self.columns = order, delay, window, columns
        patterns = window - (order - 1) * delay
        self._transitions = _transitions(order)
        self._xlogx = _xlogx_table(patterns)
        self._scale = float(patterns << _FRACTION_BITS) * _log_factorial(order)
        self._ages = np.zeros(columns, dtype=np.int64)
        self._totals = np.zeros(columns, dtype=np.int64)
        self._counts = np.zeros((columns, math.factorial(order)), dtype=np.int64)
        self._prices = np.zeros((columns, _ring((order - 1) * delay + 1)))
        self._codes = np.zeros((columns, _ring(max(patterns, delay) + 1)), dtype=np.int16)

    def push(self, prices: ArrayLike, ok: ArrayLike) -> FloatArray:
        """Take one sample per column; return H[S], NaN until a window is full and gapless.

        A sample that is not ok, or not a finite number, is a gap: the window starts afresh.
        """
        row = np.asarray(prices, dtype=np.float64).reshape(1, -1)
        entropy: FloatArray = self.push_many(row, np.asarray(ok, dtype=np.bool_).reshape(1, -1))[0]
        return entropy

    def push_many(self, prices: ArrayLike, ok: ArrayLike) -> FloatArray:
        """Take T samples per column, ``prices[T, S]`` and ``ok[T, S]``; return H[T, S]."""
        x = np.ascontiguousarray(prices, dtype=np.float64)
        good = np.asarray(ok, dtype=np.bool_) & np.isfinite(x)
        if x.ndim != 2 or x.shape[1] != self.columns or good.shape != x.shape:
            raise ValueError(
                f"samples have shape {x.shape}, ok {np.shape(ok)}; allowed is (T, {self.columns})"
            )
        if not x.flags.writeable:
            x = x.copy()
        out = np.empty_like(x)
        _advance(
            x,
            good,
            self.order,
            self.delay,
            self.window,
            self._transitions,
            self._xlogx,
            self._scale,
            self._ages,
            self._totals,
            self._counts,
            self._prices,
            self._codes,
            out,
        )
        return out


def sliding_entropy(
    x: ArrayLike, order: int, delay: int, window: int, ok: ArrayLike | None = None
) -> FloatArray:
    """Entropy of every window of a series.

    Parameters
    ----------
    x: T samples.
    order, delay, window: as in :class:`SlidingEntropy`.
    ok: T flags, optional; windows that hold a sample without it have no value.

    Returns
    -------
    H[T] in [0, 1]; ``H[t]`` is of ``x[t-window+1 : t+1]``, NaN where that is short or has a gap.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a sample that is ok is NaN or infinite.

    >>> sliding_entropy([4, 7, 9, 10, 6, 11, 3], order=3, delay=1, window=7)[-1].round(4)
    np.float64(0.5888)
    """
    series = _series(x)
    good = np.ones(series.shape, np.bool_) if ok is None else np.asarray(ok, dtype=np.bool_)
    if good.shape != series.shape:
        raise ValueError(f"ok has shape {good.shape}; allowed is {series.shape}")
    _refuse_nan(series, good)
    state = SlidingEntropy(order, delay, window, 1)
    return state.push_many(series.reshape(-1, 1), good.reshape(-1, 1))[:, 0]


def permutation_entropy(x: ArrayLike, order: int, delay: int = 1) -> float:
    """Permutation entropy of a whole series, divided by ``ln d!``: 0 (one pattern) to 1.

    Parameters
    ----------
    x: at least ``(order - 1) * delay + 1`` finite numbers, at most 100,000.
    order: embedding dimension d, 3 to 6.
    delay: tau in samples, >= 1.

    Raises
    ------
    ValueError
        If a parameter is out of range, the series is too short, or a sample is NaN or infinite.

    >>> round(permutation_entropy([4, 7, 9, 10, 6, 11, 3], order=3), 4)
    0.5888
    """
    series = _series(x)
    _check(order, delay, series.size)
    return float(sliding_entropy(series, order, delay, series.size)[-1])
