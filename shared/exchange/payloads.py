"""HyperLiquid replies as typed values.

Every parser takes decoded JSON and returns frozen values; a field that is missing, of the
wrong type or not a finite number is a ``DecodeError`` that names it, never a default: an
absent number read as zero is how a position gets forgotten. Prices and sizes are ``Decimal``
exactly as the venue prints them; times are integer milliseconds UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.exchange.decoding import (
    as_list,
    as_mapping,
    bool_field,
    decimal_field,
    flag,
    int_field,
    optional_decimal,
    positive_decimal,
    require,
    str_field,
)
from shared.exchange.errors import DecodeError
from shared.exchange.precision import Side

_SIDES: Mapping[str, Side] = {"B": "buy", "A": "sell"}


@dataclass(frozen=True, slots=True)
class PositionSnapshot:
    """One perpetual position; ``size`` is signed, in coins, and never zero."""

    symbol: str
    size: Decimal
    entry_price: Decimal
    unrealised: Decimal
    margin_used: Decimal
    notional: Decimal
    leverage: int
    isolated: bool
    liquidation_price: Decimal | None


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """A complete ``clearinghouseState`` reply of one dex. A coin that is absent is flat.

    USD amounts; ``venue_ms`` is the venue's time of the state.
    """

    dex: str
    positions: Mapping[str, PositionSnapshot]
    account_value: Decimal
    withdrawable: Decimal
    margin_used: Decimal
    total_notional: Decimal
    maintenance_margin: Decimal
    venue_ms: int


@dataclass(frozen=True, slots=True)
class BookLevel:
    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """Order book, best level first on both sides; a side may be empty."""

    symbol: str
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    venue_ms: int

    @property
    def mid(self) -> Decimal | None:
        """Middle of best bid and ask, None while a side is empty."""
        if not self.bids or not self.asks:
            return None
        return (self.bids[0].price + self.asks[0].price) / 2


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution; ``(tid, time_ms, symbol)`` identifies it. Negative fees are rebates."""

    symbol: str
    price: Decimal
    size: Decimal
    side: Side
    time_ms: int
    start_position: Decimal
    direction: str
    closed_pnl: Decimal
    oid: int
    crossed: bool
    fee: Decimal
    fee_token: str
    tid: int
    cloid: str | None


@dataclass(frozen=True, slots=True)
class Asset:
    """One entry of the venue's universe; ``index`` is the asset number that orders carry."""

    symbol: str
    index: int
    size_decimals: int
    max_leverage: int
    only_isolated: bool
    delisted: bool


@dataclass(frozen=True, slots=True)
class AssetContext:
    """Live figures of one asset. ``mid`` is None while a side of the book is empty."""

    asset: Asset
    mark: Decimal
    oracle: Decimal
    mid: Decimal | None
    funding_rate: Decimal


@dataclass(frozen=True, slots=True)
class FundingRate:
    """Hourly funding: longs pay ``rate`` × oracle notional to shorts."""

    symbol: str
    rate: Decimal
    time_ms: int


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """What ``orderStatus`` says. ``remaining`` is stale while an order fills in parts."""

    symbol: str
    oid: int
    cloid: str | None
    status: str
    side: Side
    limit_price: Decimal
    original_size: Decimal
    remaining: Decimal
    reduce_only: bool
    placed_ms: int
    status_ms: int


@dataclass(frozen=True, slots=True)
class ExchangeStatus:
    """The venue's clock and whatever it announces about itself."""

    venue_ms: int
    special_statuses: str | None


def _side(raw: Mapping[str, object], path: str) -> Side:
    value = require(raw, "side", path)
    if not isinstance(value, str) or value not in _SIDES:
        raise DecodeError(f"{path}.side", f"expected 'B' or 'A', got {value!r}")
    return _SIDES[value]


def _cloid(raw: Mapping[str, object], path: str) -> str | None:
    """The client's order id; absent or null for orders placed without one."""
    if raw.get("cloid") is None:
        return None
    return str_field(raw, "cloid", path)


def parse_account(raw: object, dex: str = "") -> AccountSnapshot:
    """``clearinghouseState`` of one dex (``""`` is the venue's own)."""
    path = "clearinghouseState"
    state = as_mapping(raw, path)
    summary_path = f"{path}.marginSummary"
    summary = as_mapping(require(state, "marginSummary", path), summary_path)
    positions: dict[str, PositionSnapshot] = {}
    entries = as_list(require(state, "assetPositions", path), f"{path}.assetPositions")
    for number, entry in enumerate(entries):
        position = _parse_position(entry, f"{path}.assetPositions[{number}]")
        if position.symbol in positions:
            raise DecodeError(path, f"{position.symbol} is reported twice")
        if position.size != 0:
            positions[position.symbol] = position
    return AccountSnapshot(
        dex=dex,
        positions=positions,
        account_value=decimal_field(summary, "accountValue", summary_path),
        withdrawable=decimal_field(state, "withdrawable", path),
        margin_used=decimal_field(summary, "totalMarginUsed", summary_path),
        total_notional=decimal_field(summary, "totalNtlPos", summary_path),
        maintenance_margin=decimal_field(state, "crossMaintenanceMarginUsed", path),
        venue_ms=int_field(state, "time", path),
    )


def _parse_position(raw: object, path: str) -> PositionSnapshot:
    path = f"{path}.position"
    position = as_mapping(require(as_mapping(raw, path), "position", path), path)
    leverage_path = f"{path}.leverage"
    leverage = as_mapping(require(position, "leverage", path), leverage_path)
    kind = str_field(leverage, "type", leverage_path)
    if kind not in ("cross", "isolated"):
        raise DecodeError(f"{leverage_path}.type", f"expected cross or isolated, got {kind!r}")
    return PositionSnapshot(
        symbol=str_field(position, "coin", path),
        size=decimal_field(position, "szi", path),
        entry_price=positive_decimal(position, "entryPx", path),
        unrealised=decimal_field(position, "unrealizedPnl", path),
        margin_used=decimal_field(position, "marginUsed", path),
        notional=decimal_field(position, "positionValue", path),
        leverage=int_field(leverage, "value", leverage_path),
        isolated=kind == "isolated",
        liquidation_price=optional_decimal(position, "liquidationPx", path),
    )


def parse_book(raw: object) -> Book:
    """``l2Book``; the venue answers null for a coin it does not know."""
    book = as_mapping(raw, "l2Book")
    levels = as_list(require(book, "levels", "l2Book"), "l2Book.levels")
    if len(levels) != 2:
        raise DecodeError("l2Book.levels", f"expected bids and asks, got {len(levels)} sides")
    return Book(
        symbol=str_field(book, "coin", "l2Book"),
        bids=_parse_levels(levels[0], "l2Book.bids"),
        asks=_parse_levels(levels[1], "l2Book.asks"),
        venue_ms=int_field(book, "time", "l2Book"),
    )


def _parse_levels(raw: object, path: str) -> tuple[BookLevel, ...]:
    return tuple(
        BookLevel(
            price=positive_decimal(as_mapping(level, path), "px", path),
            size=positive_decimal(as_mapping(level, path), "sz", path),
        )
        for level in as_list(raw, path)
    )


def is_spot(coin: str) -> bool:
    """Whether a coin's name is that of a spot pair: ``@107``, or ``PURR/USDC``."""
    return coin.startswith("@") or "/" in coin


def parse_fills(raw: object) -> tuple[Fill, ...]:
    """``userFills`` and ``userFillsByTime``, in the venue's order."""
    return tuple(
        parse_fill(entry, f"fills[{number}]") for number, entry in enumerate(as_list(raw, "fills"))
    )


def parse_fill(raw: object, path: str = "fill") -> Fill:
    """One fill, as REST and the ``userFills`` channel send it."""
    fill = as_mapping(raw, path)
    return Fill(
        symbol=str_field(fill, "coin", path),
        price=positive_decimal(fill, "px", path),
        size=positive_decimal(fill, "sz", path),
        side=_side(fill, path),
        time_ms=int_field(fill, "time", path),
        start_position=decimal_field(fill, "startPosition", path),
        direction=str_field(fill, "dir", path),
        closed_pnl=decimal_field(fill, "closedPnl", path),
        oid=int_field(fill, "oid", path),
        crossed=bool_field(fill, "crossed", path),
        fee=decimal_field(fill, "fee", path),
        fee_token=str_field(fill, "feeToken", path),
        tid=int_field(fill, "tid", path),
        cloid=_cloid(fill, path),
    )


def parse_mids(raw: object) -> dict[str, Decimal]:
    """``allMids``: symbol to mid. Values are any finite decimals; judging them is not ours."""
    mids = as_mapping(raw, "allMids")
    return {symbol: decimal_field(mids, symbol, "allMids") for symbol in mids}


def parse_meta(raw: object, first_index: int = 0) -> tuple[Asset, ...]:
    """``meta``: the universe in order; ``first_index`` is not 0 for builder-deployed dexes."""
    universe = require(as_mapping(raw, "meta"), "universe", "meta")
    return tuple(
        parse_asset(entry, first_index + number, f"meta.universe[{number}]")
        for number, entry in enumerate(as_list(universe, "meta.universe"))
    )


def parse_asset(raw: object, index: int, path: str) -> Asset:
    """One entry of a universe whose place in the venue's numbering is ``index``."""
    asset = as_mapping(raw, path)
    return Asset(
        symbol=str_field(asset, "name", path),
        index=index,
        size_decimals=int_field(asset, "szDecimals", path),
        max_leverage=int_field(asset, "maxLeverage", path),
        only_isolated=flag(asset, "onlyIsolated", path),
        delisted=flag(asset, "isDelisted", path),
    )


def parse_contexts(raw: object, first_index: int = 0) -> tuple[AssetContext, ...]:
    """``metaAndAssetCtxs``: one context per asset of the universe, in the same order."""
    pair = as_list(raw, "metaAndAssetCtxs")
    if len(pair) != 2:
        raise DecodeError("metaAndAssetCtxs", f"expected [meta, contexts], got {len(pair)} items")
    assets = parse_meta(pair[0], first_index)
    contexts = as_list(pair[1], "metaAndAssetCtxs[1]")
    if len(contexts) != len(assets):
        raise DecodeError("metaAndAssetCtxs", f"{len(assets)} assets but {len(contexts)} contexts")
    return tuple(
        parse_context(asset, context, f"metaAndAssetCtxs[1][{asset.symbol}]")
        for asset, context in zip(assets, contexts, strict=True)
    )


def parse_context(asset: Asset, raw: object, path: str = "ctx") -> AssetContext:
    """One asset context, as ``metaAndAssetCtxs`` and ``activeAssetCtx`` send it."""
    context = as_mapping(raw, path)
    return AssetContext(
        asset=asset,
        mark=decimal_field(context, "markPx", path),
        oracle=decimal_field(context, "oraclePx", path),
        mid=optional_decimal(context, "midPx", path),
        funding_rate=decimal_field(context, "funding", path),
    )


def parse_funding_history(raw: object) -> tuple[FundingRate, ...]:
    """``fundingHistory``, oldest first as the venue sends it."""
    return tuple(
        _parse_funding(as_mapping(entry, "fundingHistory"), f"fundingHistory[{number}]")
        for number, entry in enumerate(as_list(raw, "fundingHistory"))
    )


def _parse_funding(entry: Mapping[str, object], path: str) -> FundingRate:
    return FundingRate(
        symbol=str_field(entry, "coin", path),
        rate=decimal_field(entry, "fundingRate", path),
        time_ms=int_field(entry, "time", path),
    )


def parse_order_status(raw: object) -> OrderStatus | None:
    """``orderStatus``; None means ``unknownOid``, which right after a send proves nothing."""
    reply = as_mapping(raw, "orderStatus")
    status = str_field(reply, "status", "orderStatus")
    if status == "unknownOid":
        return None
    if status != "order":
        raise DecodeError("orderStatus.status", f"expected order or unknownOid, got {status!r}")
    path = "orderStatus.order"
    outer = as_mapping(require(reply, "order", "orderStatus"), path)
    order = as_mapping(require(outer, "order", path), f"{path}.order")
    return OrderStatus(
        symbol=str_field(order, "coin", path),
        oid=int_field(order, "oid", path),
        cloid=_cloid(order, path),
        status=str_field(outer, "status", path),
        side=_side(order, path),
        limit_price=decimal_field(order, "limitPx", path),
        original_size=decimal_field(order, "origSz", path),
        remaining=decimal_field(order, "sz", path),
        reduce_only=flag(order, "reduceOnly", path),
        placed_ms=int_field(order, "timestamp", path),
        status_ms=int_field(outer, "statusTimestamp", path),
    )


def parse_exchange_status(raw: object) -> ExchangeStatus:
    """``exchangeStatus``: the venue's clock, and null or a text about special conditions."""
    reply = as_mapping(raw, "exchangeStatus")
    special = require(reply, "specialStatuses", "exchangeStatus")
    return ExchangeStatus(
        venue_ms=int_field(reply, "time", "exchangeStatus"),
        special_statuses=None if special is None else str(special),
    )


def parse_account_mode(raw: object) -> str:
    """``userAbstraction``: how the account keeps its balances, a bare JSON string."""
    if not isinstance(raw, str) or not raw:
        raise DecodeError("userAbstraction", f"expected a text, got {raw!r}")
    return raw


def merge_accounts(snapshots: Iterable[AccountSnapshot]) -> AccountSnapshot:
    """One view over several dexes read one after the other: sums, and the oldest venue time.

    A symbol belongs to exactly one dex, so the same symbol twice is a ``DecodeError``.
    """
    parts = list(snapshots)
    if not parts:
        raise ValueError("merge_accounts needs at least one snapshot")
    positions: dict[str, PositionSnapshot] = {}
    for part in parts:
        twice = positions.keys() & part.positions.keys()
        if twice:
            raise DecodeError("clearinghouseState", f"{sorted(twice)} reported by two dexes")
        positions.update(part.positions)
    return AccountSnapshot(
        dex=",".join(part.dex for part in parts),
        positions=positions,
        account_value=sum((p.account_value for p in parts), Decimal(0)),
        withdrawable=sum((p.withdrawable for p in parts), Decimal(0)),
        margin_used=sum((p.margin_used for p in parts), Decimal(0)),
        total_notional=sum((p.total_notional for p in parts), Decimal(0)),
        maintenance_margin=sum((p.maintenance_margin for p in parts), Decimal(0)),
        venue_ms=min(p.venue_ms for p in parts),
    )
