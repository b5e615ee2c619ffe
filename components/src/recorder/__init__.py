"""The archive's only writer: prices, candles, funding rates, fills, and runs that ended long ago.

``python -m recorder``
"""
