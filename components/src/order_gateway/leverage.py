"""Sets and verifies leverage and margin mode of every traded symbol."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from order_gateway.errors import InvalidOrder, NotReady
from order_gateway.markets import LeverageSetting, Markets, read_leverage
from order_gateway.sender import ActionSender
from order_gateway.signing_desk import SigningDesk
from shared.exchange.errors import VenueError
from shared.exchange.signing import update_leverage_action
from shared.exchange_manager import ExchangeManager

log = structlog.get_logger(__name__)


class LeverageSetter:
    """Changes only what differs, and believes only what it reads back."""

    def __init__(
        self,
        *,
        manager: ExchangeManager,
        markets: Markets,
        desk: SigningDesk,
        sender: ActionSender,
    ) -> None:
        self._manager = manager
        self._markets = markets
        self._desk = desk
        self._sender = sender
        self._verified: set[str] = set()

    def require(self, symbol: str) -> None:
        """Raise ``NotReady`` unless the symbol's leverage and margin mode are verified."""
        if symbol in self._verified:
            return
        try:
            problem = self._ensure(symbol)
        except VenueError as error:
            raise NotReady(f"the leverage of {symbol} cannot be verified: {error}") from error
        if problem is not None:
            raise NotReady(f"the leverage of {symbol} is not as configured: {problem}")

    def ensure(self, symbols: Iterable[str]) -> dict[str, str]:
        """Make the venue's settings those of the configuration; returns symbol → problem.

        A symbol that the venue does not trade keeps nobody from trading the others: opening orders
        of its own are refused anyway.
        """
        problems = {}
        for symbol in symbols:
            try:
                problem = self._ensure(symbol)
            except InvalidOrder as error:
                log.error("symbol_not_traded", symbol=symbol, reason=str(error))  # noqa: TRY400
                continue
            if problem is not None:
                problems[symbol] = problem
        return problems

    def _ensure(self, symbol: str) -> str | None:
        market = self._markets.require(symbol)
        wanted = LeverageSetting(market.leverage, market.is_cross)
        if read_leverage(self._manager, symbol) == wanted:
            self._verified.add(symbol)
            return None
        action = self._desk.other(
            update_leverage_action(market.asset.index, market.leverage, is_cross=market.is_cross)
        )
        refusal = self._sender.other(action, "updateLeverage")
        found = read_leverage(self._manager, symbol)
        if found == wanted:
            self._verified.add(symbol)
            log.info("leverage_set", symbol=symbol, leverage=market.leverage)
            return None
        return refusal or f"the venue has {found} after {wanted} was set"
