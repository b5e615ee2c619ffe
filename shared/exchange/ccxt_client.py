"""ccxt's HyperLiquid class on 3T's own transport, for reads only.

ccxt knows the venue's requests and replies; how they travel (session, proxy, budget, retry,
breaker) is ``VenueTransport``'s business. Nothing that changes the account can pass: ccxt
drops ``expiresAfter`` from orders, and orders are signed in the gateway alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import ccxt
import orjson

from shared.exchange.errors import PermanentVenueError
from shared.exchange.transport import VenueTransport

_OPTIONS = {
    # Calls that ccxt would make unasked: builder fee, referral code, account abstraction.
    "approvedBuilderFee": True,
    "builderFee": False,
    "refSet": True,
    "enableUnifiedMargin": False,
    "defaultType": "swap",
}


class ReadOnlyHyperliquid(ccxt.hyperliquid):  # type: ignore[misc]
    """``ccxt.hyperliquid`` whose requests go through a ``VenueTransport``."""

    def __init__(
        self, transport: VenueTransport, rest_url: str, wallet: str, dexes: tuple[str, ...]
    ) -> None:
        super().__init__(
            {
                "walletAddress": wallet,
                "enableRateLimit": False,
                "urls": {"api": {"public": rest_url, "private": rest_url}},
                "options": {
                    **_OPTIONS,
                    "fetchMarkets": {
                        "types": ["swap", "hip3"] if dexes else ["swap"],
                        "hip3": {"dexes": list(dexes)},
                    },
                },
            }
        )
        self._transport = transport

    def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> object:
        """Send one request of ccxt's. Headers are the transport's own; ``body`` is JSON text."""
        payload = orjson.loads(body or "{}")
        if method != "POST" or not url.endswith("/info") or "type" not in payload:
            raise PermanentVenueError(f"{method} {url}: only reads of /info pass through here")
        info_type = payload.pop("type")
        return self._transport.read(info_type, payload)
