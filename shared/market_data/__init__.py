"""Prices, samples, candles, funding and volatility: what every decision rests on."""
