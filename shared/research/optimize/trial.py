"""One configuration over one window: what it earned, and whether it is worth going on with."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from shared.config import Settings
from shared.research.account import AccountBlock
from shared.research.engine import run_backtest
from shared.research.observers import EquityCurve, Observer
from shared.research.optimize.folds import HOUR_MS, Window
from shared.research.performance import DAY_MS, drawdown, performance
from shared.research.request import Inputs, Request, plan_for, series_of
from shared.research.tables import FloatArray

MOST_RETURNS: Final = 2_000
"""Returns kept of one window: hourly ones, or of more hours where there would be more."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is sought: growth up, drawdown and turnover down.

    Growth is ln(end / start) per day, drawdown a fraction from 0 to 1, turnover the traded notional
    per day over the mean equity.
    """

    growth: float
    drawdown: float
    turnover: float

    def values(self) -> list[float]:
        """In the order of :data:`DIRECTIONS`."""
        return [self.growth, self.drawdown, self.turnover]

    def dominates(self, other: Objectives) -> bool:
        """No worse in anything and better in something."""
        own = (-self.growth, self.drawdown, self.turnover)
        others = (-other.growth, other.drawdown, other.turnover)
        return all(a <= b for a, b in zip(own, others, strict=True)) and own != others


DIRECTIONS: Final = ("maximize", "minimize", "minimize")


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of one window. ``sharpe`` is per year, NaN without trades."""

    objectives: Objectives
    net_return: float
    sharpe: float
    sharpe_error: float
    orders: int
    days: float
    costs: float
    """Fees and slippage over the start balance."""
    period_hours: int
    returns: FloatArray
    """Simple returns of consecutive periods; the first starts at the window's first tick."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a study; the returns as little-endian float64 in base 64."""
        raw = np.ascontiguousarray(self.returns, dtype="<f8").tobytes()
        return {
            "objectives": self.objectives.values(),
            "net_return": self.net_return,
            "sharpe": _or_none(self.sharpe),
            "sharpe_error": _or_none(self.sharpe_error),
            "orders": self.orders,
            "days": self.days,
            "costs": self.costs,
            "period_hours": self.period_hours,
            "returns": base64.b64encode(raw).decode("ascii"),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What :meth:`to_json` gave."""
        returns = np.frombuffer(base64.b64decode(content["returns"]), dtype="<f8")
        return cls(
            Objectives(*content["objectives"]),
            content["net_return"],
            _or_nan(content["sharpe"]),
            _or_nan(content["sharpe_error"]),
            content["orders"],
            content["days"],
            content["costs"],
            content["period_hours"],
            returns.astype(np.float64),
        )


class GivenUp(Exception):
    """A trial is not worth finishing; ``look`` is the one at which that was seen, from 1."""

    def __init__(self, look: int) -> None:
        super().__init__(f"given up at look {look}")
        self.look = look


Judge = Callable[[int, Objectives], bool]
"""Told the number of the look and the figures so far; True: give up."""


def hopeless(
    own: Objectives, others: Sequence[Objectives], *, dominated_by: float, startup: int
) -> bool:
    """Whether a trial is to be given up, by the figures of ``others`` at the same look.

    Optuna's pruners know one objective only. This is their median rule for several: given up when
    at least the share ``dominated_by`` of those that got as far dominate it, and at least
    ``startup`` did. A trial that is the best in any one objective never is.
    """
    if len(others) < startup:
        return False
    better = sum(other.dominates(own) for other in others)
    return better >= dominated_by * len(others)


def evaluate(
    request: Request,
    settings: Settings,
    inputs: Inputs,
    window: Window,
    *,
    looks: int = 0,
    judge: Judge | None = None,
) -> Result:
    """Backtest ``settings`` over ``window``, with a fresh population and account.

    Nothing before the window is seen but the trailing volatility. With ``judge`` the figures are
    shown ``looks`` times, at equal distances, and

    Raises
    ------
    GivenUp
        when it says so.
    """
    interval_ms = inputs.series.interval_ms
    series = series_of(
        inputs.prices, inputs.funding, interval_ms, settings, window.from_ms, window.to_ms
    )
    plan = plan_for(request, settings, inputs.markets, interval_ms)
    curve = EquityCurve()
    observers: list[Observer] = [curve]
    if judge is not None and looks:
        start = plan.account.start_balance_usd
        observers.append(_Looks(curve, len(series), looks, start, judge))
    run_backtest(plan, series, observers)
    return _result(curve, plan.account.start_balance_usd, window)


class _Looks(Observer):
    """Shows the figures of a curve on the way."""

    def __init__(
        self, curve: EquityCurve, ticks: int, looks: int, start_usd: float, judge: Judge
    ) -> None:
        self._curve = curve
        self._at = [ticks * n // (looks + 1) for n in range(1, looks + 1)]
        self._start = start_usd
        self._judge = judge
        self._ticks = self._done = 0

    def account(self, block: AccountBlock) -> None:
        self._ticks += len(block.tick_ms)
        if self._done < len(self._at) and self._ticks >= self._at[self._done]:
            self._done += 1
            if self._judge(self._done, _objectives(self._curve, self._start)):
                raise GivenUp(self._done)


def _objectives(curve: EquityCurve, start_usd: float) -> Objectives:
    tick_ms, equity, _, _ = curve.arrays()
    days = max(float(tick_ms[-1] - tick_ms[0]) / DAY_MS, 1e-9)
    end = max(float(equity[-1]) / start_usd, 1e-9)
    return Objectives(
        growth=math.log(end) / days,
        drawdown=float(drawdown(equity, start_usd).max()),
        turnover=curve.traded_usd / max(float(equity.mean()), 1e-9) / days,
    )


def _result(curve: EquityCurve, start_usd: float, window: Window) -> Result:
    tick_ms, equity, gross, _ = curve.arrays()
    found = performance(tick_ms, equity, gross, curve.traded_usd, start_usd)
    period = period_hours(window)
    return Result(
        _objectives(curve, start_usd),
        found.net_return,
        found.sharpe,
        found.sharpe_error,
        curve.orders,
        found.days,
        curve.costs_usd / start_usd,
        period,
        _returns(tick_ms, equity, start_usd, window, period),
    )


def period_hours(window: Window) -> int:
    """Length of the periods whose returns are kept: a whole number of hours."""
    return max(1, math.ceil(window.hours / MOST_RETURNS))


def _returns(
    tick_ms: np.ndarray[Any, np.dtype[np.int64]],
    equity: FloatArray,
    start_usd: float,
    window: Window,
    period: int,
) -> FloatArray:
    """Of whole periods since the window's start, so that those of all trials stand side by side."""
    count = max(1, int(window.hours // period))
    ends = window.from_ms + np.arange(1, count + 1) * period * HOUR_MS
    row = np.searchsorted(tick_ms, ends, side="right") - 1
    values = np.concatenate(
        [[start_usd], np.where(row >= 0, equity[np.maximum(row, 0)], start_usd)]
    )
    values[-1] = equity[-1]
    values = np.maximum(values, 1e-9)
    returns: FloatArray = values[1:] / values[:-1] - 1.0
    return returns


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
