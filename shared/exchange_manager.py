"""Reads from the venue: markets, candles, account, orders, and anything else of ``/info``.

One ``ExchangeManager`` per process (``ExchangeManager.get``). Every call goes through one
transport: pooled session, proxy and origin, shared weight budget, retries of 1, 2 and 4 s for
transient failures, circuit breaker, network monitor. Nothing here can place an order.

Symbols are HyperLiquid coin names ("BTC", "xyz:XYZ100"); ccxt's own symbols stay inside.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import RLock
from typing import Any, ClassVar

import ccxt
import redis
import structlog

from shared.config import Settings
from shared.exchange.boot_turn import BootTurn
from shared.exchange.breaker import Breaker, BreakerState, VenueBreaker, breaker_name
from shared.exchange.buckets import Limits, RedisBucket
from shared.exchange.ccxt_client import ReadOnlyHyperliquid
from shared.exchange.errors import DecodeError, VenueError, VenueRejected
from shared.exchange.market_cache import MarketCache
from shared.exchange.payloads import (
    AccountSnapshot,
    Asset,
    AssetContext,
    Book,
    Fill,
    FundingRate,
    OrderStatus,
    merge_accounts,
    parse_account,
    parse_account_mode,
    parse_asset,
    parse_book,
    parse_contexts,
    parse_exchange_status,
    parse_fills,
    parse_funding_history,
    parse_mids,
    parse_order_status,
)
from shared.exchange.rate_budget import Priority, RateBudget, network_address
from shared.exchange.transport import VenueTransport
from shared.market_data.candle import Candle
from shared.network_monitor import NetworkMonitor

log = structlog.get_logger(__name__)

HEALTH_CHECK_SECS = 300.0
MARKETS_LIFE_SECS = 60.0
"""How long a process goes on with the markets it has before it looks at the shared ones."""

_LEASE_TIMEOUTS = 3
"""A request holds its place in flight for at most this many of its timeouts."""

_CLOCK_LATENCY_MS = 1_000
_CLOCK_ATTEMPTS = 3
"""A clock read that took longer tells little; it is read again, this often at most."""


@dataclass(frozen=True, slots=True)
class VenueHealth:
    """Result of one ``exchangeStatus`` call.

    ``clock_offset_ms`` is the venue's clock minus ours, known to half of ``latency_ms``.
    """

    clock_offset_ms: int
    latency_ms: int
    special_statuses: str | None
    checked_ms: int


class ExchangeManager:
    """The process's access to the venue; safe for threads and green threads.

    ``client`` is Redis, for the budget, breaker and market cache that processes share; without it
    the process lives on its own. ``breaker`` replaces the default circuit breaker.
    """

    _instances: ClassVar[dict[tuple[int, str, str], ExchangeManager]] = {}
    _instances_lock: ClassVar[RLock] = RLock()

    def __init__(
        self,
        settings: Settings,
        wallet: str,
        client: redis.Redis | None = None,
        *,
        breaker: Breaker | None = None,
        monitor: NetworkMonitor | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        venue = settings.venue
        hyperliquid = settings.exchanges.hyperliquid
        address = network_address(hyperliquid.proxy)
        limits = Limits(
            per_minute=hyperliquid.rate_budget_per_minute,
            in_flight=hyperliquid.in_flight_limit,
            lease_ms=round(_LEASE_TIMEOUTS * hyperliquid.timeout_secs * 1000),
        )
        self.wallet = wallet
        self.dexes = ("", *hyperliquid.dexes)
        self.budget = RateBudget(
            limits,
            RedisBucket(client, address, limits) if client is not None else None,
            sleep=sleep,
            monotonic=monotonic,
        )
        self.monitor = monitor or NetworkMonitor()
        self._breaker = breaker or VenueBreaker(
            breaker_name(venue.rest_url, address),
            hyperliquid.breaker_failures,
            hyperliquid.breaker_reset_secs,
            client,
        )
        self.transport = VenueTransport(
            venue.rest_url,
            hyperliquid,
            budget=self.budget,
            breaker=self._breaker,
            monitor=self.monitor,
            boot_turn=BootTurn(client, address, hyperliquid.boot_stagger_secs, sleep),
            sleep=sleep,
        )
        self._ccxt = ReadOnlyHyperliquid(self.transport, venue.rest_url, wallet, hyperliquid.dexes)
        self._cache = MarketCache(venue.rest_url, hyperliquid.dexes, client, sleep=sleep)
        self._markets: Mapping[str, Mapping[str, Any]] | None = None
        self._markets_read = 0.0
        self._markets_lock = RLock()
        self._health: VenueHealth | None = None

    @classmethod
    def get(
        cls, settings: Settings, wallet: str, client: redis.Redis | None = None
    ) -> ExchangeManager:
        """The manager of this process for this venue and wallet; a forked child gets its own."""
        key = (os.getpid(), settings.venue.rest_url, wallet)
        with cls._instances_lock:
            if key not in cls._instances:
                cls._instances[key] = cls(settings, wallet, client)
            return cls._instances[key]

    @property
    def breaker_state(self) -> BreakerState:
        """Whether calls go out at the moment."""
        return self._breaker.state

    def close(self) -> None:
        """Close pooled connections and forget the instance."""
        with self._instances_lock:
            for key, manager in list(self._instances.items()):
                if manager is self:
                    del self._instances[key]
        self.transport.close()

    # -- anything of /info ---------------------------------------------------------------

    def info(
        self,
        info_type: str,
        *,
        priority: Priority | None = None,
        max_wait_secs: float | None = None,
        **params: object,
    ) -> object:
        """A raw ``/info`` reply, decoded but not checked; raises ``VenueError``.

        ``priority`` is its share of the budget, ``max_wait_secs`` how long it may wait for its
        turn there, both by default from the type.
        """
        return self.transport.read(
            info_type, params, priority=priority, max_wait_secs=max_wait_secs
        )

    # -- venue ---------------------------------------------------------------------------

    def check_health(self) -> VenueHealth:
        """Ask the venue for its clock and status (weight 2, more when it answers slowly)."""
        health = self._read_clock()
        for _ in range(_CLOCK_ATTEMPTS - 1):
            # A pause before a repetition, or a wait for the budget, was in it.
            if health.latency_ms > _CLOCK_LATENCY_MS:
                health = self._read_clock()
        self._health = health
        return health

    def _read_clock(self) -> VenueHealth:
        asked_ms = _now_ms()
        status = parse_exchange_status(self.info("exchangeStatus"))
        answered_ms = _now_ms()
        return VenueHealth(
            clock_offset_ms=status.venue_ms - (asked_ms + answered_ms) // 2,
            latency_ms=answered_ms - asked_ms,
            special_statuses=status.special_statuses,
            checked_ms=answered_ms,
        )

    def health(self) -> VenueHealth:
        """The last health check, repeated when it is older than five minutes."""
        known = self._health
        if known is None or _now_ms() - known.checked_ms > HEALTH_CHECK_SECS * 1000:
            return self.check_health()
        return known

    def markets(self) -> Mapping[str, Asset]:
        """Every perpetual by its coin name; loaded once per fleet and cached in Redis."""
        return {
            symbol: parse_asset(market["info"], int(market["id"]), f"market {symbol}")
            for symbol, market in self._loaded_markets().items()
        }

    def _loaded_markets(self) -> Mapping[str, Mapping[str, Any]]:
        with self._markets_lock:
            if self._markets is None:
                self._markets = self._load_markets()
            elif time.monotonic() - self._markets_read > MARKETS_LIFE_SECS:
                try:
                    self._markets = self._load_markets()
                except VenueError as error:
                    self._markets_read = time.monotonic()
                    log.warning("markets_not_refreshed", reason=str(error))
            return self._markets

    def _load_markets(self) -> Mapping[str, Mapping[str, Any]]:
        listed = self._cache.get_or_load(self._fetch_markets)
        _through_ccxt(self._ccxt.set_markets, listed)
        self._markets_read = time.monotonic()
        return {market["info"]["name"]: market for market in self._ccxt.markets.values()}

    def _fetch_markets(self) -> list[Any]:
        """What the venue lists. An empty list is no list: all would count as delisted."""
        listed: list[Any] = _through_ccxt(self._ccxt.fetch_markets)
        if not listed:
            raise DecodeError("markets", "the venue lists no perpetual at all")
        return listed

    def _ccxt_symbol(self, symbol: str) -> str:
        market = self._loaded_markets().get(symbol)
        if market is None:
            raise VenueRejected(f"the venue lists no perpetual named {symbol!r}")
        return str(market["symbol"])

    def mids(self, dex: str = "", *, priority: Priority | None = None) -> Mapping[str, Decimal]:
        """Mid of every coin of a dex (weight 2); spot pairs are among those of the first."""
        return parse_mids(self.info("allMids", priority=priority, dex=dex))

    def contexts(
        self, dex: str = "", *, priority: Priority | None = None
    ) -> tuple[AssetContext, ...]:
        """Mark, oracle, mid and funding rate of every perpetual of a dex (weight 20)."""
        return parse_contexts(self.info("metaAndAssetCtxs", priority=priority, dex=dex))

    def book(self, symbol: str, *, priority: Priority | None = None) -> Book:
        """Order book of 20 levels (weight 2)."""
        return parse_book(self.info("l2Book", priority=priority, coin=symbol))

    def funding_history(
        self, symbol: str, start_ms: int, end_ms: int | None = None
    ) -> tuple[FundingRate, ...]:
        """Hourly funding rates from ``start_ms``, oldest first, at most 500."""
        params: dict[str, object] = {"coin": symbol, "startTime": start_ms}
        if end_ms is not None:
            params["endTime"] = end_ms
        return parse_funding_history(self.transport.read("fundingHistory", params))

    def candles(
        self, symbol: str, timeframe: str, since_ms: int, until_ms: int
    ) -> tuple[Candle, ...]:
        """Bars whose open lies in [``since_ms``, ``until_ms``], oldest first, at most 5,000.

        The newest bar may still be forming.
        """
        rows = _through_ccxt(
            self._ccxt.fetch_ohlcv,
            self._ccxt_symbol(symbol),
            timeframe,
            since_ms,
            None,
            {"until": until_ms},
        )
        return tuple(_candle(row, f"{symbol} {timeframe}") for row in rows)

    # -- account -------------------------------------------------------------------------

    def account(self, dex: str = "") -> AccountSnapshot:
        """Positions and margin of the wallet on one dex, complete or an error (weight 2)."""
        balance = _through_ccxt(self._ccxt.fetch_balance, {"dex": dex})
        return parse_account(balance["info"], dex)

    def whole_account(self) -> AccountSnapshot:
        """All configured dexes as one snapshot; if one cannot be read, none is returned."""
        return merge_accounts(self.account(dex) for dex in self.dexes)

    def account_mode(self) -> str:
        """How the account keeps its balances, in the venue's word for it (weight 20)."""
        return parse_account_mode(self.info("userAbstraction", user=self.wallet))

    def order_status(
        self, identifier: int | str, *, priority: Priority | None = None
    ) -> OrderStatus | None:
        """State of an order by oid or cloid; None when the venue does not know it (weight 2)."""
        reply = self.info("orderStatus", priority=priority, user=self.wallet, oid=identifier)
        return parse_order_status(reply)

    def fills(self, start_ms: int, end_ms: int | None = None) -> tuple[Fill, ...]:
        """Fills of the wallet from ``start_ms``; at most 2,000, so page by the last time."""
        params: dict[str, object] = {"user": self.wallet, "startTime": start_ms}
        if end_ms is not None:
            params["endTime"] = end_ms
        return parse_fills(self.transport.read("userFillsByTime", params))


def _through_ccxt(call: Callable[..., Any], *arguments: object) -> Any:
    """Call ccxt; its own errors, and its stumbling over a malformed reply, become ours."""
    try:
        return call(*arguments)
    except VenueError:
        raise
    except ccxt.BaseError as error:
        raise VenueRejected(f"ccxt: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        name = getattr(call, "__name__", "ccxt")
        raise DecodeError(name, f"malformed reply ({type(error).__name__}: {error})") from error


def _candle(row: list[Any], where: str) -> Candle:
    """A row of ccxt's, in which whatever the venue left out is None."""
    numbers = row[1:6]
    if not isinstance(row[0], int) or any(
        not isinstance(value, (int, float)) or not math.isfinite(value) for value in numbers
    ):
        raise DecodeError(f"candles of {where}", f"unusable bar {row!r}")
    try:
        return Candle(row[0], *(float(value) for value in numbers))
    except ValueError as error:
        raise DecodeError(f"candles of {where}", str(error)) from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
