"""Optimisation that is judged out of sample."""
