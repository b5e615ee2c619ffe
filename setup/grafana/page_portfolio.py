"""What is held, and how it goes."""

from __future__ import annotations

from panels import BAD, GOOD, WARN, Panels, number, rows, series

TITLE = "3T portfolio"
QUESTION = "What does the account hold, and how does it go?"
EXPORTERS = "needs the exporters of the container deployment"

PANELS: Panels = (
    number(
        "Account value",
        "As last read from the venue.",
        "currencyUSD",
        "t3_account_value_usd",
        decimals=2,
    ),
    number(
        "Change today",
        "Since the start of the UTC day, transfers left out.",
        "percentunit",
        "-t3_daily_loss_ratio",
        steps=((None, BAD), (0, GOOD)),
        decimals=3,
    ),
    number(
        "Margin in use",
        "Share of the account value.",
        "percentunit",
        "t3_account_margin_used_usd / t3_account_value_usd",
        steps=((None, GOOD), (0.5, WARN), (0.8, BAD)),
        decimals=1,
    ),
    number(
        "Kill switch",
        "Set by a day's loss, by a person, or by a broken invariant.",
        "short",
        "t3_kill_switch_engaged",
        steps=((None, GOOD), (1, BAD)),
        words={"0": "off", "1": "SET"},
    ),
    number(
        "Off target",
        "Sum of the distances between position and target.",
        "currencyUSD",
        "sum(abs(t3_reconciliation_gap_usd))",
        decimals=0,
    ),
    number(
        "Rolling Sharpe ratio",
        "Annualised, over the window of config.yml.",
        "none",
        "max(t3_rolling_sharpe_ratio)",
        steps=((None, BAD), (0, GOOD)),
        empty="too few samples yet",
        decimals=2,
    ),
    series(
        "Account value",
        "As read from the venue.",
        "currencyUSD",
        ("t3_account_value_usd", "value"),
        span=24,
    ),
    series(
        "Positions",
        "By quorum; a gap is a time in which the position was not known.",
        "currencyUSD",
        ("t3_position_usd", "{{symbol}}"),
    ),
    series(
        "Targets",
        "What the runs ask for, within all limits.",
        "currencyUSD",
        ("t3_target_usd", "{{symbol}}"),
    ),
    rows(
        "Open positions",
        "As the platform itself read them last.",
        "SELECT symbol, size, entry_price, unrealised_usd, margin_used_usd, "
        "FROM_UNIXTIME(venue_ms / 1000) AS read_at FROM positions WHERE voter = 'local' "
        "ORDER BY symbol",
        empty="no position is open",
        span=12,
    ),
    rows(
        "Whose money it is",
        "Fills, fees and funding split between the runs that asked for them and the house.",
        "SELECT symbol, kind, SUM(account_usd) AS account_usd, SUM(runs_usd) AS runs_usd, "
        "SUM(house_usd) AS house_usd, COUNT(*) AS events FROM attribution "
        "GROUP BY symbol, kind ORDER BY symbol, kind",
        empty="nothing was attributed yet",
        span=12,
    ),
)
