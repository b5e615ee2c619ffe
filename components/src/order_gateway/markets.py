"""Which symbols may be traded, under which filters, and with which leverage and margin mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from order_gateway.errors import InvalidOrder
from shared.exchange.decoding import as_mapping, int_field, require, str_field
from shared.exchange.payloads import Asset
from shared.exchange.precision import OrderFilters
from shared.exchange_manager import ExchangeManager


@dataclass(frozen=True, slots=True)
class Market:
    """One tradable perpetual."""

    asset: Asset
    filters: OrderFilters
    leverage: int

    @property
    def is_cross(self) -> bool:
        """Margin mode: cross wherever the venue allows it."""
        return not self.asset.only_isolated


class Markets:
    """The venue's universe as orders need it; empty until it is loaded."""

    def __init__(self, leverage: int) -> None:
        self._leverage = leverage
        self._markets: Mapping[str, Market] = {}

    def load(self, assets: Mapping[str, Asset]) -> None:
        """Take over the venue's list."""
        self._markets = {
            symbol: Market(
                asset, OrderFilters(asset.size_decimals), min(self._leverage, asset.max_leverage)
            )
            for symbol, asset in assets.items()
        }

    def require(self, symbol: str, *, leaving: bool = False) -> Market:
        """The market of ``symbol``; an unknown or builder-dex one is refused.

        So is a delisted one, except for those who are ``leaving``: whether an exit or a cancel is
        still taken there is the venue's to say.
        """
        market = self._markets.get(symbol)
        if market is None:
            raise InvalidOrder("symbol", symbol, "a perpetual that the venue lists")
        if market.asset.delisted and not leaving:
            raise InvalidOrder("symbol", symbol, "a perpetual that is not delisted; exits may pass")
        if ":" in symbol:
            raise InvalidOrder("symbol", symbol, "builder dexes are off: cloids are unproven there")
        return market

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._markets


@dataclass(frozen=True, slots=True)
class LeverageSetting:
    """Leverage and margin mode as the venue has them for one symbol."""

    leverage: int
    is_cross: bool


def read_leverage(manager: ExchangeManager, symbol: str) -> LeverageSetting:
    """Ask the venue (``activeAssetData``, weight 20)."""
    path = "activeAssetData"
    reply = as_mapping(manager.info(path, user=manager.wallet, coin=symbol), path)
    leverage = as_mapping(require(reply, "leverage", path), f"{path}.leverage")
    return LeverageSetting(
        leverage=int_field(leverage, "value", f"{path}.leverage"),
        is_cross=str_field(leverage, "type", f"{path}.leverage") == "cross",
    )
