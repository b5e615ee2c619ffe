"""Paper exchange: a local venue that speaks the HyperLiquid protocol.

The core (prices, book, matching, margin, ledger, canonical actions, nonces) is pure: no I/O, no
clock, random numbers passed in. The edges (app, ws, store, __main__) bring time, sockets and disk.
It shares no code with the platform's own exchange client on purpose: a venue with the client's
bugs would prove nothing.
"""
