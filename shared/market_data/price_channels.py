"""What the frames of the price stream tell, by the channel that is configured.

- ``allMids``: the venue's mid of every coin.
- ``bbo``: (best bid + best ask) / 2, at every change of either. A book with one side empty says
  nothing.
- ``trades``: the price of the newest trade. Trades older than ``OLD_TRADE_MS``, as the venue sends
  them at a subscription, say nothing.

``bbo`` and ``trades`` speak only when something happens, so ``allMids`` is subscribed beside them:
its mid counts for a coin whose own channel has told nothing new for ``QUIET_MS``. Marks come from
``activeAssetCtx`` in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple, TypeAlias

import orjson

from shared.exchange.decoding import (
    as_list,
    as_mapping,
    int_field,
    positive_decimal,
    require,
    str_field,
)
from shared.exchange.errors import DecodeError
from shared.exchange.payloads import Asset, parse_context, parse_mids

PriceChannel: TypeAlias = Literal["allMids", "bbo", "trades"]

QUIET_MS = 1_000
OLD_TRADE_MS = 5_000


class Mids(NamedTuple):
    """Mids of ``allMids``, all of them; those in ``quiet`` may be used as prices."""

    mids: Mapping[str, Decimal]
    quiet: frozenset[str]


class Price(NamedTuple):
    """A price of ``bbo`` or ``trades``."""

    symbol: str
    price: Decimal


class Mark(NamedTuple):
    """A mark; ``mid`` only while no mid came by its own channel."""

    symbol: str
    mark: Decimal
    mid: Decimal | None


class VenueComplaint(NamedTuple):
    """What the venue said on its error channel."""

    text: str


News: TypeAlias = Mids | Price | Mark | VenueComplaint


@dataclass
class PriceChannels:
    """Reads the frames of one connection after the other; ``clear`` begins a new one."""

    channel: PriceChannel
    assets: Mapping[str, Asset]
    _told: dict[str, tuple[Decimal, int]] = field(default_factory=dict)
    _with_mid: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Forget what an earlier connection told."""
        self._told.clear()
        self._with_mid.clear()

    def subscriptions(self) -> list[dict[str, str]]:
        """What to subscribe to, in this order."""
        dexes = sorted({symbol.rpartition(":")[0] for symbol in self.assets})
        mids = [{"type": "allMids", **({"dex": dex} if dex else {})} for dex in dexes]
        kinds = (
            ["activeAssetCtx"] if self.channel == "allMids" else [self.channel, "activeAssetCtx"]
        )
        return mids + [{"type": kind, "coin": symbol} for kind in kinds for symbol in self.assets]

    def read(self, text: str | bytes, received_ms: int, offset_ms: int) -> News | None:
        """The news in a frame; None for frames without prices of ours.

        ``received_ms`` is our clock, ``offset_ms`` how far the venue's is ahead of it. Raises
        ``DecodeError`` or ``orjson.JSONDecodeError`` for what the venue never sends.
        """
        message = as_mapping(orjson.loads(text), "message")
        match message.get("channel"):
            case "allMids":
                return self._mids(require(message, "data", "allMids"), received_ms)
            case "activeAssetCtx":
                return self._mark(require(message, "data", "activeAssetCtx"))
            case "bbo":
                return self._bbo(require(message, "data", "bbo"), received_ms)
            case "trades":
                data = require(message, "data", "trades")
                return self._trade(data, received_ms, received_ms + offset_ms)
            case "error":
                return VenueComplaint(str(message.get("data"))[:200])
        return None

    def _mids(self, raw: object, received_ms: int) -> Mids:
        data = as_mapping(raw, "allMids.data")
        mids = parse_mids(require(data, "mids", "allMids"))
        ours = {symbol: mids[symbol] for symbol in self.assets if symbol in mids}
        self._with_mid |= ours.keys()
        return Mids(ours, frozenset(s for s in ours if self._is_quiet(s, received_ms)))

    def _is_quiet(self, symbol: str, now_ms: int) -> bool:
        told = self._told.get(symbol)
        return told is None or now_ms - told[1] > QUIET_MS

    def _mark(self, raw: object) -> Mark | None:
        data = as_mapping(raw, "activeAssetCtx.data")
        asset = self.assets.get(str_field(data, "coin", "activeAssetCtx"))
        if asset is None:
            return None
        context = parse_context(asset, require(data, "ctx", "activeAssetCtx"))
        # Contexts come less often than mids: once there are mids, only the mark is news.
        known = asset.symbol in self._with_mid or asset.symbol in self._told
        return Mark(asset.symbol, context.mark, None if known else context.mid)

    def _bbo(self, raw: object, received_ms: int) -> Price | None:
        data = as_mapping(raw, "bbo.data")
        symbol = str_field(data, "coin", "bbo")
        sides = as_list(require(data, "bbo", "bbo"), "bbo.bbo")
        if len(sides) != 2:
            raise DecodeError("bbo.bbo", f"expected bid and ask, got {len(sides)} entries")
        if symbol not in self.assets or None in sides:
            return None
        bid, ask = (positive_decimal(as_mapping(side, "bbo"), "px", "bbo") for side in sides)
        if bid > ask:
            raise DecodeError("bbo.bbo", f"the bid {bid} is above the ask {ask}")
        return self._tell(symbol, (bid + ask) / 2, received_ms)

    def _trade(self, raw: object, received_ms: int, venue_ms: int) -> Price | None:
        newest: tuple[int, int, str, Decimal] | None = None
        for entry in as_list(raw, "trades.data"):
            trade = as_mapping(entry, "trades")
            symbol = str_field(trade, "coin", "trades")
            at_ms = int_field(trade, "time", "trades")
            price = positive_decimal(trade, "px", "trades")
            candidate = (at_ms, int_field(trade, "tid", "trades"), symbol, price)
            if symbol in self.assets and (newest is None or candidate[:2] > newest[:2]):
                newest = candidate
        if newest is None or venue_ms - newest[0] > OLD_TRADE_MS:
            return None
        return self._tell(newest[2], newest[3], received_ms)

    def _tell(self, symbol: str, price: Decimal, received_ms: int) -> Price:
        # Only a new price is a sign of life: a channel that repeats itself may be frozen.
        told = self._told.get(symbol)
        if told is None or told[0] != price:
            self._told[symbol] = (price, received_ms)
        return Price(symbol, price)
