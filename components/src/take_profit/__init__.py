"""Epochs of the account: take profit and drawdown reset, seen from the stream of balances.

``python -m take_profit``
"""
