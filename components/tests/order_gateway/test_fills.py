"""Fills as the gateway reads them, and the round trips that it makes of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from order_gateway.fills import read_window
from shared.exchange.payloads import Fill
from shared.exchange_manager import ExchangeManager


class Listed:
    """An account whose fills are these."""

    def __init__(self, *fills: Fill) -> None:
        self._fills = list(fills)

    def fills(self, start_ms: int) -> list[Fill]:
        return [fill for fill in self._fills if fill.time_ms >= start_ms]


def sold(tid: int, size: str, start: str, **changed: Any) -> Fill:
    values: dict[str, Any] = {
        "symbol": "BTC",
        "price": Decimal(60_000),
        "size": Decimal(size),
        "side": "sell",
        "time_ms": 1_000,
        "start_position": Decimal(start),
        "direction": "Close Long",
        "closed_pnl": Decimal(-1),
        "oid": 7,
        "crossed": True,
        "fee": Decimal("0.1"),
        "fee_token": "USDC",
        "tid": tid,
        "cloid": None,
    }
    return Fill(**{**values, **changed})


def test_parts_of_one_order_come_in_the_order_their_positions_tell() -> None:
    """Trade ids are hashes: by them the close of this trip would come before its beginning."""
    parts = sold(9, "1", "3"), sold(5, "1", "2"), sold(1, "1", "1")
    earlier = sold(8, "2", "5", time_ms=999)
    for arrived in ((*parts, earlier), (earlier, *reversed(parts))):
        window = read_window(cast("ExchangeManager", Listed(*arrived)), 0)
        assert [fill.tid for fill in window.fills] == [8, 9, 5, 1]
        assert window.complete
