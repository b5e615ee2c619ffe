"""Celery tasks of 3T and the use cases behind them."""
