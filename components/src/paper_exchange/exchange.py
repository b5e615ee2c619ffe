"""The running venue: core, feed and store behind one object, on wall time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from paper_exchange.auth import ANY_NETWORK, Request, authorise, parse_request
from paper_exchange.candles import Candle
from paper_exchange.canonical import L1Action, UnsupportedActionError, UserSigned
from paper_exchange.engine import execute, invent_past_funding, step
from paper_exchange.feed import Feed
from paper_exchange.ledger import Account
from paper_exchange.limits import address_problem
from paper_exchange.market import Market
from paper_exchange.placement import ActionError
from paper_exchange.state import Changes, Venue
from paper_exchange.store import Store

SAVE_PRICES_MS = 1_000
PRUNE_MS = 3_600_000

log = structlog.get_logger("paper_exchange")

Reply = dict[str, Any]


class BrokenVenueError(RuntimeError):
    """The venue hit an error it cannot recover from and takes no more actions."""

    def __init__(self) -> None:
        super().__init__("the venue stopped after an error; restart it")


@dataclass
class Clock:
    """The venue's time in ms: the wall's, or (``driven_ms`` set) one that moves only when told.

    ``skew_ms``, a fault, shifts what the venue shows and checks, never its prices.
    """

    driven_ms: int | None = None
    skew_ms: int = 0

    def now_ms(self) -> int:
        return self.wall_ms() + self.skew_ms

    def wall_ms(self) -> int:
        return int(time.time() * 1000) if self.driven_ms is None else self.driven_ms


@dataclass
class Subscribers:
    """Who is told about committed changes and about price steps."""

    on_changes: list[Callable[[Changes], None]] = field(default_factory=list)
    on_prices: list[Callable[[int], None]] = field(default_factory=list)


class Exchange:
    """Runs actions and price steps; commits every change before anyone hears of it."""

    def __init__(
        self,
        venue: Venue,
        feed: Feed,
        store: Store,
        clock: Clock,
        network: str = ANY_NETWORK,
        *,
        address_limits: bool = True,
    ) -> None:
        self.venue = venue
        self.feed = feed
        self.store = store
        self.clock = clock
        self.network = network
        self.address_limits = address_limits
        self.subscribers = Subscribers()
        self.broken = False
        self._saved_ms = 0
        self._pruned_ms = feed.time_ms
        self._closed_candles: list[tuple[str, Candle]] = []
        self._ended: set[str] = set()
        for asset in feed.assets:
            market = Market(asset, venue.seed, feed.price(asset.name), feed.time_ms)
            for candle in feed.first_candles[asset.name]:
                market.candles.append(candle)
                self._closed_candles.append((asset.name, candle))
            venue.markets[asset.name] = market
        store.load_into(venue)
        if not venue.funding_rates:
            invent_past_funding(venue, feed.time_ms)
        self._save_prices()
        self.commit()

    # --- actions --------------------------------------------------------------------------

    def submit(self, body: Any) -> Reply:
        """Run the body of an ``/exchange`` request; the reply is already committed.

        Raises:
            MalformedActionError: HTTP 422.
        """
        try:
            request = parse_request(body)
        except UnsupportedActionError as error:
            return {"status": "err", "response": str(error)}
        now_ms = self.clock.now_ms()
        with self._fatal():
            return self._run(request, now_ms)

    def _run(self, request: Request, now_ms: int) -> Reply:
        try:
            account = authorise(self.venue, request, self.network, now_ms)
            self._count(account, request.action, now_ms)
            response = execute(self.venue, account, request.action, now_ms)
            reply: Reply = {"status": "ok", "response": response}
        except ActionError as error:
            reply = {"status": "err", "response": str(error)}
        self.commit()
        return reply

    @contextmanager
    def _fatal(self) -> Generator[None, None, None]:
        """An error in here leaves memory ahead of the state file: the venue must stop.

        Everything acknowledged so far is in the file; a restart goes on from there.
        """
        if self.broken:
            raise BrokenVenueError
        try:
            yield
        except Exception:
            self.broken = True
            raise

    def _count(self, account: Account, action: L1Action | UserSigned, now_ms: int) -> None:
        """Charge an action to its address.

        Raises:
            ActionError: the address has used up its requests.
        """
        if not self.address_limits:
            return
        self.venue.touch(account)
        problem = address_problem(account, action, now_ms)
        if problem is not None:
            raise ActionError(problem)

    def commit(self) -> None:
        """Write what changed, then tell the subscribers."""
        changes = self.venue.take_changes()
        if changes:
            self.store.save(self.venue, changes)
        for listener in self.subscribers.on_changes:
            listener(changes)

    # --- time -----------------------------------------------------------------------------

    def advance(self) -> None:
        """Move prices up to now; prices follow the wall, not a skewed clock."""
        with self._fatal():
            self._advance()

    def _advance(self) -> None:
        moved = False
        for time_ms, prices in self.feed.advance(self.clock.wall_ms()):
            moved = True
            step(self.venue, time_ms + self.clock.skew_ms, prices)
            for coin, price in prices.items():
                closed = self.venue.markets[coin].candles.add_price(time_ms, price)
                if closed is not None:
                    self._closed_candles.append((coin, closed))
        if not moved:
            return
        self.commit()
        for listener in self.subscribers.on_prices:
            listener(self.feed.time_ms)
        if self.feed.time_ms >= self._saved_ms + SAVE_PRICES_MS:
            self._save_prices()
            self._report_ended()
        if self.feed.time_ms >= self._pruned_ms + PRUNE_MS:
            self._pruned_ms = self.feed.time_ms
            self.store.prune_prices(self.feed.time_ms)

    def _save_prices(self) -> None:
        samples = self.feed.samples_since(self._saved_ms + 1)
        coins = [asset.name for asset in self.feed.assets]
        self.store.save_prices(coins, samples, self.feed.positions(), self._closed_candles)
        self._closed_candles = []
        self._saved_ms = self.feed.time_ms

    def _report_ended(self) -> None:
        for coin in set(self.feed.exhausted()) - self._ended:
            self._ended.add(coin)
            log.info("replay_ended", coin=coin, note="the last price stays from now on")
