"""A universe of one's own: a JSON file with dexes in the shape of the venue's ``meta``."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from paper_exchange.decimals import PERP_PRICE_DECIMALS
from paper_exchange.universe import (
    DEFAULT_TABLES,
    HIP3_BASE,
    HIP3_STRIDE,
    SINGLE_TIER_TABLES,
    Asset,
    Dex,
    MarginTable,
    MarginTier,
    Universe,
    single_tier_table,
)

Leverage = Annotated[int, Field(ge=1, le=1000)]


class UniverseError(ValueError):
    """A universe file that cannot be used; the message names the file and the field."""


class _Entry(BaseModel):
    """The venue's own names; keys that only the venue needs are let through."""

    model_config = ConfigDict(alias_generator=to_camel, allow_inf_nan=False)


class _Tier(_Entry):
    lower_bound: Decimal = Field(ge=0)
    max_leverage: Leverage


class _Table(_Entry):
    description: str = ""
    margin_tiers: tuple[_Tier, ...] = Field(min_length=1)


class _Market(_Entry):
    name: str = Field(min_length=1)
    sz_decimals: int = Field(ge=0, le=PERP_PRICE_DECIMALS)
    max_leverage: Leverage
    margin_table_id: int = Field(ge=1)
    reference_px: float = Field(gt=0)
    daily_vol: float = Field(0.04, ge=0, le=10)
    spread_bps: float = Field(1.0, gt=0, le=1000)
    depth_usd: float = Field(15_000, gt=0)
    only_isolated: bool = False
    margin_mode: Literal["noCross", "strictIsolated"] | None = None
    growth_mode: str | None = None
    is_delisted: bool = False


class _Dex(_Entry):
    name: str
    full_name: str | None = None
    margin_tables: tuple[tuple[int, _Table], ...] = ()
    universe: tuple[_Market, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _coins_are_named_once(self) -> Self:
        seen: set[str] = set()
        for coin in (market.name for market in self.universe):
            if self.name and not coin.startswith(f"{self.name}:"):
                raise ValueError(
                    f"coin {coin!r} of dex {self.name!r} must be named {self.name}:SYMBOL"
                )
            if coin in seen:
                raise ValueError(f"coin {coin!r} is there twice")
            seen.add(coin)
        return self

    @model_validator(mode="after")
    def _margin_tables_are_there(self) -> Self:
        known = {table_id for table_id, _ in self.margin_tables} or {
            table.table_id for table in DEFAULT_TABLES
        }
        for market in self.universe:
            table_id = market.margin_table_id
            if table_id >= SINGLE_TIER_TABLES and table_id not in known:
                raise ValueError(
                    f"{market.name}: marginTableId {table_id} is not among marginTables"
                )
        return self


class _File(_Entry):
    dexes: tuple[_Dex, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _first_dex_has_no_name(self) -> Self:
        if self.dexes[0].name:
            raise ValueError('the first dex must have the empty name ""')
        return self


def load_universe(path: Path) -> Universe:
    """Read a universe file.

    JSON: ``{"dexes": [{"name", "fullName"?, "marginTables"?, "universe": [...]}]}`` in the shape
    of ``meta``; each entry adds ``referencePx`` and may add ``dailyVol``, ``spreadBps``,
    ``depthUsd``. The first dex has the empty name.

    Raises:
        UniverseError: naming the file, the field and what is allowed.
    """
    try:
        content = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UniverseError(f"{path}: cannot read the universe file: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UniverseError(f"{path}: {place + ': ' if place else ''}{message}") from error
    return Universe(tuple(_dex(place, entry) for place, entry in enumerate(content.dexes)))


def _dex(position: int, entry: _Dex) -> Dex:
    given = tuple(
        MarginTable(
            table_id,
            table.description,
            tuple(MarginTier(tier.lower_bound, tier.max_leverage) for tier in table.margin_tiers),
        )
        for table_id, table in entry.margin_tables
    )
    tables = {table.table_id: table for table in given or DEFAULT_TABLES}
    base = 0 if position == 0 else HIP3_BASE + HIP3_STRIDE * position
    assets = tuple(
        _asset(base + index, entry.name, market, tables)
        for index, market in enumerate(entry.universe)
    )
    full_name = entry.name.upper() if entry.full_name is None else entry.full_name
    return Dex(entry.name, full_name, assets, tuple(tables.values()))


def _asset(asset_id: int, dex: str, market: _Market, tables: dict[int, MarginTable]) -> Asset:
    table = tables.get(market.margin_table_id) or single_tier_table(market.margin_table_id)
    return Asset(
        name=market.name,
        asset_id=asset_id,
        dex=dex,
        sz_decimals=market.sz_decimals,
        max_leverage=market.max_leverage,
        margin_table=table,
        reference_px=market.reference_px,
        daily_vol=market.daily_vol,
        spread_bps=market.spread_bps,
        depth_usd=market.depth_usd,
        only_isolated=market.only_isolated,
        margin_mode=market.margin_mode,
        growth_mode=market.growth_mode,
        is_delisted=market.is_delisted,
    )
