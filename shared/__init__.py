"""What every 3T service shares: the pure core, the ports and the adapters behind them."""
