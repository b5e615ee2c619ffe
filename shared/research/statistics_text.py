"""What each statistic of a report is called there, its unit, and what it says in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

NO_BREAK: Final = "\u00a0"
Row = tuple[str, str, str]
"""Name, value and meaning, as a page shows them."""


class Statistic(NamedTuple):
    """``shown`` gives the value with its unit."""

    name: str
    shown: Callable[[float], str]
    meaning: str


def _usd(value: float) -> str:
    return f"{value:,.2f} USD"


def _percent(value: float) -> str:
    return f"{100.0 * value:+,.2f} %"


def _share(value: float) -> str:
    return f"{100.0 * value:,.2f} %"


def _ratio(value: float) -> str:
    return f"{value:,.2f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _times(value: float) -> str:
    return f"{value:,.2f} ×"


def _bps(value: float) -> str:
    return f"{value:+,.2f} bps a day"


def _days(value: float) -> str:
    return f"{value:,.2f} days"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


_SHARPE: Final = "mean hourly return over its deviation, per year; no risk-free rate"
_DEFLATED: Final = (
    "probability that the training Sharpe is more than the luck of so many trials; 0.95 is the bar"
)
_OVERFITTING: Final = "how often the best half was in the lower half later; 0.5 is a mere draw"

STATISTICS: Final[Mapping[str, Statistic]] = {
    "start_usd": Statistic("Start balance", _usd, ""),
    "end_usd": Statistic("End value", _usd, "positions at the last price"),
    "net_return": Statistic("Net return", _percent, "after fees, slippage and funding"),
    "max_drawdown": Statistic("Largest drawdown", _share, "fall from the highest value so far"),
    "sharpe": Statistic("Sharpe ratio", _ratio, _SHARPE),
    "sharpe_error": Statistic("Its standard error", _ratio, "within twice this of 0: chance"),
    "volatility": Statistic("Volatility", _share, "of hourly returns, per year"),
    "days": Statistic("Length", _days, "first tick to last"),
    "exposure": Statistic("Mean exposure", _share, "gross position over equity"),
    "turnover_per_day": Statistic("Turnover per day", _times, "traded, in units of the equity"),
    "buy_and_hold_return": Statistic(
        "Buy and hold", _percent, "equal parts bought at the start, held at no cost"
    ),
    "orders": Statistic("Orders filled", _count, "of the account"),
    "traded_usd": Statistic("Traded", _usd, "notional of these orders"),
    "costs_usd": Statistic("Fees and slippage", _usd, "of the account"),
    "ticks": Statistic("Ticks", _count, "samples of the prices"),
    "run_bars": Statistic("Run-bars", _count, "ticks lived through by all runs together"),
    "seconds": Statistic("Time taken", _seconds, "of the computer"),
    "runs_born": Statistic("Runs born", _count, "virtual strategies, in all"),
    "runs_living": Statistic("Runs alive", _count, "at the last tick"),
    "account_fees_usd": Statistic("Fees", _usd, "of the account"),
    "account_slippage_usd": Statistic("Slippage", _usd, "of the account, against the mid"),
    "account_funding_usd": Statistic("Funding received", _usd, "negative: paid"),
    "orders_expired": Statistic("Orders expired", _count, "no price at the tick of the fill"),
    "account_epochs": Statistic("Epochs ended", _count, "take profits and drawdown resets"),
    "virtual_fills": Statistic("Virtual fills", _count, "of all runs"),
    "virtual_fees_usd": Statistic("Virtual fees", _usd, "of all runs, each with its own balance"),
    "runs_traded": Statistic("Runs that traded", _count, "ended ones and those alive"),
    "mean_log_growth_of_runs": Statistic(
        "Mean log-growth of a run", _percent, "ln(end / start) over its life, after costs"
    ),
    "folds": Statistic("Folds", _count, "test windows, each with a search of its own before it"),
    "trials": Statistic("Trials", _count, "of all folds"),
    "given_up_early": Statistic("Given up early", _count, "hopeless on the way"),
    "failed": Statistic("Failed", _count, "trials that could not be done"),
    "out_of_sample_return": Statistic(
        "Chosen, out of sample", _percent, "the choices through their test windows, after costs"
    ),
    "out_of_sample_drawdown": Statistic("Its largest drawdown", _share, ""),
    "out_of_sample_sharpe": Statistic("Its Sharpe ratio", _ratio, "per year"),
    "out_of_sample_sharpe_error": Statistic("Its standard error", _ratio, ""),
    "out_of_sample_probabilistic_sharpe": Statistic(
        "Probability above 0", _ratio, "that the true Sharpe ratio is positive"
    ),
    "out_of_sample_turnover_per_day": Statistic("Its turnover per day", _times, "of the equity"),
    "out_of_sample_orders": Statistic("Its orders", _count, ""),
    "out_of_sample_costs": Statistic("Its costs", _share, "of the start balance"),
    "present_return": Statistic(
        "Present configuration", _percent, "through the same test windows, after costs"
    ),
    "present_sharpe": Statistic("Its Sharpe ratio", _ratio, "per year"),
    "present_drawdown": Statistic("Its largest drawdown", _share, ""),
    "growth_in_training_bps_per_day": Statistic(
        "Growth in training", _bps, "mean of the choices; chosen by this, so it flatters"
    ),
    "growth_out_of_sample_bps_per_day": Statistic(
        "Growth out of sample", _bps, "mean of the same choices in their tests"
    ),
    "overfitting_probability": Statistic("Probability of overfitting", _ratio, _OVERFITTING),
    "chosen_trial": Statistic("Chosen trial", _count, "its number; -1: none"),
    "train_growth_bps_per_day": Statistic("Growth in training", _bps, ""),
    "test_growth_bps_per_day": Statistic("Growth in the test", _bps, ""),
    "train_sharpe": Statistic("Sharpe in training", _ratio, "per year; chosen among many"),
    "test_sharpe": Statistic("Sharpe in the test", _ratio, "per year"),
    "deflated_sharpe": Statistic("Deflated Sharpe", _ratio, _DEFLATED),
    "loss_probability": Statistic("Probability of loss", _ratio, "of the best half, later"),
    "rank_in_test": Statistic("Rank in the test", _share, "of the other trials that it beat"),
}


def rows(stats: Mapping[str, float | int | str]) -> list[Row]:
    """Of a table: what is no statistic of a report (a hash, a name) stands as it is."""
    return [_row(name, value) for name, value in stats.items()]


def _row(name: str, value: float | int | str) -> Row:
    known = STATISTICS.get(name)
    if known is None or isinstance(value, str):
        return name.replace("_", " "), str(value), ""
    shown = known.shown(value).replace(" ", NO_BREAK) if math.isfinite(value) else "–"
    return known.name, shown, known.meaning
