"""Backtests on recorded prices, through the same step, supervisor and planner as live."""
