"""What was ordered, and what stands in the way."""

from __future__ import annotations

from panels import BAD, GOOD, WARN, Panels, number, quantile, rate, rows, series

TITLE = "3T execution and risk"
QUESTION = "Is what was decided also done?"
PANELS: Panels = (
    number(
        "Gateway",
        "Whether it can trade.",
        "short",
        "min(t3_gateway_condition_met)",
        steps=((None, BAD), (1, GOOD)),
        words={"0": "not ready", "1": "ready"},
    ),
    number(
        "In doubt",
        "Age of the oldest order that nobody answered for.",
        "s",
        "max(t3_unknown_order_age_seconds)",
        steps=((None, GOOD), (1, WARN), (60, BAD)),
        decimals=0,
    ),
    number(
        "Positions known",
        "Symbols on which a quorum agrees.",
        "percentunit",
        "avg(t3_position_known)",
        steps=((None, BAD), (1, GOOD)),
        decimals=0,
    ),
    number(
        "Venue",
        "The circuit breaker that all processes share.",
        "short",
        "max(t3_venue_breaker_state)",
        steps=((None, GOOD), (1, WARN), (2, BAD)),
        words={"0": "answers", "1": "on trial", "2": "left alone"},
    ),
    number(
        "Request budget left",
        "Share of the bucket.",
        "percentunit",
        "min(t3_venue_budget_left_ratio)",
        steps=((None, BAD), (0.1, WARN), (0.3, GOOD)),
        decimals=0,
    ),
    number(
        "Halted symbols",
        "They open no position until a person resumes them.",
        "short",
        "sum(t3_symbol_halted)",
        steps=((None, GOOD), (1, BAD)),
    ),
    series(
        "Time of orders",
        "From request to resolved order; dots lead to traces.",
        "s",
        (quantile(0.5, "t3_order_seconds", "origin"), "{{origin}} p50"),
        (quantile(0.95, "t3_order_seconds", "origin"), "{{origin}} p95"),
        exemplars=True,
    ),
    series(
        "Orders",
        "That reached a state, per minute.",
        "short",
        (f"60 * {rate('t3_orders_total', 'state')}", "{{state}}"),
    ),
    series(
        "Distance to target",
        "By symbol; smaller ones than minimum_trade_threshold wait.",
        "currencyUSD",
        ("t3_reconciliation_gap_usd", "{{symbol}}"),
        ("t3_minimum_trade_usd", "threshold"),
    ),
    series(
        "Decisions",
        "Of reconciliation, per minute.",
        "short",
        (f"60 * {rate('t3_reconciliation_decisions_total', 'decision')}", "{{decision}}"),
    ),
    series(
        "Votes on positions",
        "Per minute, by voter.",
        "short",
        (f"60 * {rate('t3_quorum_votes_total', 'voter, vote')}", "{{voter}} {{vote}}"),
    ),
    series("Open orders", "By state.", "short", ("t3_open_orders", "{{state}}"), stacked=True),
    series(
        "Orders refused by risk",
        "Per minute, by rule.",
        "short",
        (f"60 * {rate('t3_risk_blocks_total', 'rule')}", "{{rule}}"),
        empty="none was refused",
    ),
    series(
        "Time of venue calls",
        "95th percentile; dots lead to traces.",
        "s",
        (quantile(0.95, "t3_venue_call_seconds", "call"), "{{call}}"),
        exemplars=True,
    ),
    series(
        "Venue errors",
        "Per minute, by class.",
        "short",
        (f"60 * {rate('t3_venue_errors_total', 'error_class')}", "{{error_class}}"),
        empty="no call has failed",
    ),
    series(
        "Wait for the request budget",
        "99th percentile by priority.",
        "s",
        (quantile(0.99, "t3_venue_budget_wait_seconds", "priority"), "{{priority}}"),
    ),
    series(
        "Actions left",
        "What the venue still takes from the account before it must trade more.",
        "short",
        ("min(t3_venue_actions_left)", "actions"),
        ("0.1 * max(t3_venue_actions_cap)", "kept for exits"),
        empty="the venue was not asked yet",
    ),
    series(
        "What the gateway needs",
        "1 where it has it; below, it takes no order.",
        "short",
        ("min by (condition) (t3_gateway_condition_met)", "{{condition}}"),
    ),
    rows(
        "Newest intents",
        "make why ORDER=intent_id explains one.",
        "SELECT FROM_UNIXTIME(created_ms / 1000) AS at, symbol, side, size, state, filled_size, "
        "avg_price, fee_usd, origin, reason, intent_id FROM order_execution_log "
        "ORDER BY id DESC LIMIT 20",
        empty="no order yet",
    ),
    rows(
        "Newest decisions",
        "Why there was an order, or none.",
        "SELECT FROM_UNIXTIME(at_ms / 1000) AS at, symbol, decision, ROUND(gap_usd, 2) AS gap_usd, "
        "JSON_VALUE(detail, '$.reason') AS reason, JSON_VALUE(detail, '$.trace_id') AS trace_id "
        "FROM reconciliation_log ORDER BY id DESC LIMIT 20",
        traces="trace_id",
    ),
)
