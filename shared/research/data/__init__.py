"""Candles, ticks and funding into the recorder's archive: from files, or from the venue."""
