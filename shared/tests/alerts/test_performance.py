"""Returns without deposits, the Sharpe ratio, and a day in words."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from shared.alerts.performance import Day, daily_summary, day_of, log_returns, sharpe_ratio

HOUR_MS = 3_600_000


def points(*values: float) -> list[tuple[int, float]]:
    return [(n * HOUR_MS, value) for n, value in enumerate(values)]


def test_a_deposit_is_no_profit_and_a_withdrawal_no_loss() -> None:
    transfers = [(HOUR_MS // 2, Decimal(1_000)), (2 * HOUR_MS, Decimal(-500))]
    found = log_returns(points(1_000, 2_010, 1_500), transfers, HOUR_MS)
    assert found.tolist() == pytest.approx([math.log(1.01), math.log(2_000 / 2_010)])


def test_an_outage_gives_no_return() -> None:
    series = [(0, 100.0), (HOUR_MS, 101.0), (5 * HOUR_MS, 150.0), (6 * HOUR_MS, 151.5)]
    assert log_returns(series, [], HOUR_MS).tolist() == pytest.approx([math.log(1.01)] * 2)


def test_sharpe_is_mean_over_deviation_of_a_year() -> None:
    returns = np.array([0.01, -0.005, 0.02, 0.0])
    expected = returns.mean() / returns.std(ddof=1) * math.sqrt(365)
    assert sharpe_ratio(returns, 86_400, 3) == pytest.approx(expected)


def test_no_sharpe_of_too_little_or_of_an_account_at_rest() -> None:
    assert sharpe_ratio(np.array([0.01, 0.02]), 3_600, 48) is None
    assert sharpe_ratio(np.zeros(100), 3_600, 48) is None


def test_the_day_before_in_utc() -> None:
    assert day_of(1_700_000_000_000) == ("2023-11-13", 1_699_833_600_000)


def test_a_day_says_what_was_earned_without_deposits() -> None:
    told = daily_summary(Day("2023-11-13", 1_000, 1_620, 600, 12, 5_000, 2.25, 1.234))
    assert told.subject == "2023-11-13"
    assert told.title == "2023-11-13: +20.00 USD (+2.00%)"
    assert "Deposits less withdrawals +600.00 USD" in told.body
    assert "12 fills, 5,000 USD traded" in told.body
    assert "Rolling Sharpe ratio 1.23" in told.body
