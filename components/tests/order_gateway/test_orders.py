"""Orders from request to fill, on real servers and the paper exchange."""

from __future__ import annotations

from typing import Any


def test_market_order_is_filled_and_journaled(gateway: Any, venue: Any) -> None:
    before = venue.position("BTC")
    body = gateway.planned("BTC", "buy", "0.01")
    reply = gateway.post("/execute_order", body)
    assert reply.status_code == 200, reply.text
    order = reply.json()
    assert order["state"] == "FILLED", gateway.log()
    assert order["filled_size"] == "0.01"
    assert abs(float(order["avg_price"]) / venue.mid("BTC") - 1) < 0.01
    assert venue.position("BTC") - before == 0.01
    assert venue.orders_with(order["cloid"]) == [order["oid"]]
