"""Which markets exist: perpetuals per dex, margin tables, one spot pair."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from paper_exchange.decimals import PERP_PRICE_DECIMALS, SPOT_PRICE_DECIMALS, wire

HIP3_BASE = 100_000
HIP3_STRIDE = 10_000
SPOT_BASE = 10_000
SINGLE_TIER_TABLES = 50
SPOT_PAIR = "PURR/USDC"
NO_CROSS_MODES = ("noCross", "strictIsolated")


@dataclass(frozen=True, slots=True)
class MarginTier:
    """From ``lower_bound_usd`` of notional upwards, at most ``max_leverage``."""

    lower_bound_usd: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class MarginTable:
    """Tiers in rising order; ids below 50 are single-tier with leverage = id."""

    table_id: int
    description: str
    tiers: tuple[MarginTier, ...]

    def payload(self) -> list[Any]:
        tiers = [
            {"lowerBound": wire(t.lower_bound_usd), "maxLeverage": t.max_leverage}
            for t in self.tiers
        ]
        return [self.table_id, {"description": self.description, "marginTiers": tiers}]


@dataclass(frozen=True)
class Asset:
    """A market: trading rules (as on HyperLiquid) and the parameters of its simulated market.

    ``daily_vol`` is the standard deviation of a day's log return, ``spread_bps`` the width of the
    quoted spread, ``depth_usd`` the notional resting at the best price.
    """

    name: str
    asset_id: int
    dex: str
    sz_decimals: int
    max_leverage: int
    margin_table: MarginTable
    reference_px: float
    daily_vol: float
    spread_bps: float
    depth_usd: float
    only_isolated: bool = False
    margin_mode: str | None = None
    growth_mode: str | None = None
    is_spot: bool = False
    is_delisted: bool = False

    @property
    def price_decimals(self) -> int:
        base = SPOT_PRICE_DECIMALS if self.is_spot else PERP_PRICE_DECIMALS
        return base - self.sz_decimals

    @property
    def price_scale(self) -> int:
        """Price units per dollar: the finest tick is 1 / price_scale."""
        return int(10**self.price_decimals)

    @property
    def allows_cross(self) -> bool:
        return not self.only_isolated and self.margin_mode not in NO_CROSS_MODES

    def payload(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "szDecimals": self.sz_decimals,
            "name": self.name,
            "maxLeverage": self.max_leverage,
            "marginTableId": self.margin_table.table_id,
        }
        if self.only_isolated:
            entry["onlyIsolated"] = True
        if self.margin_mode is not None:
            entry["marginMode"] = self.margin_mode
        if self.growth_mode is not None:
            entry["growthMode"] = self.growth_mode
        if self.is_delisted:
            entry["isDelisted"] = True
        return entry


@dataclass(frozen=True)
class Dex:
    """One perpetual dex; the first has the empty name and holds the plain coins."""

    name: str
    full_name: str
    assets: tuple[Asset, ...]
    tables: tuple[MarginTable, ...]

    def meta(self) -> dict[str, Any]:
        return {
            "universe": [asset.payload() for asset in self.assets],
            "marginTables": [t.payload() for t in self.tables],
            "collateralToken": 0,
        }


@dataclass(frozen=True)
class Universe:
    """Every market of the venue, with look-ups by asset id and by coin."""

    dexes: tuple[Dex, ...]

    @cached_property
    def assets(self) -> tuple[Asset, ...]:
        """Perpetuals of all dexes."""
        return tuple(asset for dex in self.dexes for asset in dex.assets)

    @cached_property
    def spot(self) -> Asset:
        """The one spot pair: quoted, not tradable; clients need it to start."""
        table = single_tier_table(1)
        return Asset(SPOT_PAIR, SPOT_BASE, "spot", 0, 1, table, 0.2, 0.06, 8.0, 5_000, is_spot=True)

    @cached_property
    def markets(self) -> tuple[Asset, ...]:
        """Everything that has a price."""
        return (*self.assets, self.spot)

    @cached_property
    def by_id(self) -> dict[int, Asset]:
        return {asset.asset_id: asset for asset in self.assets}

    @cached_property
    def by_coin(self) -> dict[str, Asset]:
        return {asset.name: asset for asset in self.assets}

    def dex(self, name: str) -> Dex | None:
        return next((dex for dex in self.dexes if dex.name == name), None)


def _table(table_id: int, description: str, *tiers: tuple[str, int]) -> MarginTable:
    return MarginTable(table_id, description, tuple(MarginTier(Decimal(b), x) for b, x in tiers))


DEFAULT_TABLES = (
    _table(50, "", ("0", 50)),
    _table(51, "tiered 10x", ("0", 10), ("3000000", 5)),
    _table(52, "tiered 10x (2)", ("0", 10), ("20000000", 5)),
    _table(53, "tiered 20x", ("0", 20), ("40000000", 10)),
    _table(54, "tiered 20x (2)", ("0", 20), ("70000000", 10)),
    _table(55, "tiered 25x", ("0", 25), ("100000000", 15)),
    _table(56, "tiered 40x", ("0", 40), ("150000000", 20)),
)

# name, szDecimals, maxLeverage, marginTableId, price, daily vol, spread bps, depth USD
_DEFAULT_PERPS: tuple[tuple[str, int, int, int, float, float, float, float], ...] = (
    ("BTC", 5, 40, 56, 83_757.0, 0.026, 0.10, 60_000),
    ("ETH", 4, 25, 55, 2_803.5, 0.036, 0.25, 45_000),
    ("SOL", 2, 20, 54, 127.41, 0.045, 0.60, 30_000),
    ("HYPE", 2, 10, 52, 31.24, 0.055, 1.20, 20_000),
    ("XRP", 0, 20, 53, 1.9873, 0.042, 0.80, 25_000),
    ("DOGE", 0, 10, 52, 0.13812, 0.050, 1.20, 15_000),
    ("AVAX", 2, 10, 52, 13.642, 0.048, 1.20, 12_000),
    ("LINK", 1, 10, 52, 12.317, 0.048, 1.20, 12_000),
)


def default_universe() -> Universe:
    """BTC to LINK with HyperLiquid's rules, and the builder dex ``xyz`` with one symbol."""
    tables = {t.table_id: t for t in DEFAULT_TABLES}
    perps = tuple(
        Asset(name, index, "", decimals, leverage, tables[table], px, vol, spread, depth)
        for index, (name, decimals, leverage, table, px, vol, spread, depth) in enumerate(
            _DEFAULT_PERPS
        )
    )
    xyz = Asset(
        name="xyz:XYZ100",
        asset_id=HIP3_BASE + HIP3_STRIDE,
        dex="xyz",
        sz_decimals=4,
        max_leverage=25,
        margin_table=single_tier_table(25),
        reference_px=24_657.0,
        daily_vol=0.012,
        spread_bps=0.8,
        depth_usd=20_000,
        only_isolated=True,
        margin_mode="noCross",
        growth_mode="enabled",
    )
    first = Dex("", "", perps, DEFAULT_TABLES)
    return Universe((first, Dex("xyz", "XYZ", (xyz,), DEFAULT_TABLES[:1])))


def single_tier_table(leverage: int) -> MarginTable:
    """The implicit table of an id below 50."""
    return _table(leverage, "", ("0", leverage))
