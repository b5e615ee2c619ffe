"""Who lives, and who makes money."""

from __future__ import annotations

from panels import BAD, GOOD, RATE, Panels, number, rows, series

TITLE = "3T Providence population"
QUESTION = "Which runs live, and which earn?"
PANELS: Panels = (
    number("Active runs", "All of them.", "short", "sum(t3_active_runs)"),
    number("Desired runs", "Of config.yml.", "short", "t3_desired_runs"),
    number(
        "Clones",
        "Share of the active runs that have a parent.",
        "percentunit",
        'sum(t3_active_runs{generations!="0"}) / sum(t3_active_runs)',
        decimals=1,
    ),
    number(
        "Mean growth",
        "Live PnL / start balance of the active runs that have traded.",
        "percentunit",
        "t3_population_mean_growth_ratio",
        steps=((None, BAD), (0, GOOD)),
        empty="no run has traded yet",
        decimals=3,
    ),
    number("Epochs", "Taken profits and drawdown resets so far.", "short", "t3_epochs"),
    number(
        "Cross-run entropy",
        "Permutation entropy of the epochs' mean log-growth: near 1 is noise.",
        "none",
        "t3_cross_run_entropy_ratio",
        empty="too few epochs yet",
        decimals=3,
    ),
    series(
        "Active runs by interpretation",
        "How they read their signal.",
        "short",
        ("sum by (interpretation) (t3_active_runs)", "{{interpretation}}"),
        stacked=True,
    ),
    series(
        "Active runs by generation",
        "0: drawn afresh; others are clones of clones.",
        "short",
        ("sum by (generations) (t3_active_runs)", "generation {{generations}}"),
        stacked=True,
    ),
    series(
        "Growth of runs",
        "Quantiles of live PnL / start balance over a sample of the active runs.",
        "percentunit",
        ("t3_run_growth_ratio", "quantile {{quantile}}"),
    ),
    series(
        "Runs that count",
        "Active runs in profit, by symbol: what the target is made of.",
        "short",
        ("t3_qualifying_runs", "{{symbol}}"),
    ),
    series(
        "Weighted direction",
        "Σ w·d over the runs that count; its sign is the target's.",
        "short",
        ("t3_weighted_direction", "{{symbol}}"),
    ),
    series(
        "Iterations and virtual fills",
        "Runs stepped and trades of runs, per second.",
        "cps",
        (f"sum(rate(t3_iterations_total[{RATE}]))", "iterations"),
        (f"sum(rate(t3_run_fills_total[{RATE}]))", "fills"),
    ),
    rows(
        "Best runs",
        "Of those alive, by live PnL as of their last checkpoint.",
        "SELECT id, symbol, interpretation, generation, parent_id, "
        "ROUND(live_pnl, 2) AS live_pnl_usd, fill_count, FROM_UNIXTIME(spawn_tick / 1000) AS born "
        "FROM runs WHERE status = 'active' ORDER BY live_pnl DESC LIMIT 20",
        span=12,
    ),
    rows(
        "Why runs ended",
        "By reason, with what they made.",
        "SELECT exit_reason, COUNT(*) AS runs, ROUND(AVG(live_pnl), 2) AS mean_pnl_usd "
        "FROM runs WHERE status = 'completed' GROUP BY exit_reason ORDER BY runs DESC",
        empty="no run has ended yet",
        span=12,
    ),
)
