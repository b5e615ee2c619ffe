"""Tradable products: what the venue lists, under ids of our own that never change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.mysql import insert

from shared.exchange.payloads import Asset
from shared.storage.tables import exchanges, instruments, products

EXCHANGE = "hyperliquid"
QUOTE = "USDC"


@dataclass(frozen=True, slots=True)
class Product:
    """A perpetual as 3T knows it; ``active`` while the venue lists it."""

    id: int
    symbol: str
    asset_index: int
    sz_decimals: int
    max_leverage: int
    only_isolated: bool
    active: bool


class ProductStore:
    """The ``exchanges``, ``instruments`` and ``products`` tables, in the caller's transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def sync(self, assets: Iterable[Asset]) -> Mapping[str, Product]:
        """Bring the tables in line with the venue's universe; returns all products.

        Known symbols keep their ids; what the venue no longer lists becomes inactive.
        """
        listed = list(assets)
        exchange_id = self._exchange_id()
        instrument_ids = self._instrument_ids(listed)
        known = self.all()
        for asset in listed:
            values = {
                "asset_index": asset.index,
                "sz_decimals": asset.size_decimals,
                "max_leverage": asset.max_leverage,
                "only_isolated": asset.only_isolated,
                "active": not asset.delisted,
            }
            product = known.get(asset.symbol)
            if product is not None and all(getattr(product, k) == v for k, v in values.items()):
                continue
            statement = insert(products).values(
                exchange_id=exchange_id,
                instrument_id=instrument_ids[asset.symbol],
                symbol=asset.symbol,
                **values,
            )
            self._conn.execute(statement.on_duplicate_key_update(**values))
        gone = known.keys() - {asset.symbol for asset in listed}
        if gone:
            self._conn.execute(
                update(products).where(products.c.symbol.in_(gone)).values(active=False)
            )
        return self.all()

    def all(self) -> Mapping[str, Product]:
        """Every product by symbol, active or not."""
        rows = self._conn.execute(select(products).order_by(products.c.id))
        return {
            row.symbol: Product(
                id=row.id,
                symbol=row.symbol,
                asset_index=row.asset_index,
                sz_decimals=row.sz_decimals,
                max_leverage=row.max_leverage,
                only_isolated=bool(row.only_isolated),
                active=bool(row.active),
            )
            for row in rows
        }

    def _exchange_id(self) -> int:
        statement = insert(exchanges).values(name=EXCHANGE)
        self._conn.execute(statement.on_duplicate_key_update(name=EXCHANGE))
        query = select(exchanges.c.id).where(exchanges.c.name == EXCHANGE)
        return int(self._conn.execute(query).scalar_one())

    def _instrument_ids(self, listed: list[Asset]) -> Mapping[str, int]:
        query = select(instruments.c.symbol, instruments.c.id)
        known = {row.symbol for row in self._conn.execute(query)}
        for asset in listed:
            if asset.symbol in known:
                continue
            base = asset.symbol.rpartition(":")[2]
            statement = insert(instruments).values(
                symbol=asset.symbol, base=base, quote=QUOTE, kind="perpetual"
            )
            self._conn.execute(statement.on_duplicate_key_update(base=base))
        return {row.symbol: row.id for row in self._conn.execute(query)}
