"""Everything the venue knows, and the list of what changed since the edge last looked."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paper_exchange.decimals import ZERO
from paper_exchange.ledger import DEFAULT_LEVERAGE, Account, Position
from paper_exchange.margin import DexMargin, dex_margin
from paper_exchange.market import Market
from paper_exchange.nonces import NonceSet
from paper_exchange.orders import Fill, Order
from paper_exchange.universe import Asset, Universe

KEPT_ORDERS = 2000
KEPT_FILLS = 10_000
KEPT_LEDGER = 10_000
FIRST_OID = 10_000_001


@dataclass(frozen=True, slots=True)
class Switches:
    """Behaviour that public documentation leaves open; see ``--switch`` in the command line.

    duplicate_cloid: ``accept`` or ``reject`` an order whose cloid an open order already has.
    partial_gtc: reply to a Gtc that filled in part and rests: ``resting`` or ``filled``.
    min_notional_closes: orders that close a whole position below $10: ``exempt`` or ``enforced``.
    rejected_orders: rejected orders are ``recorded`` (queryable) or ``forgotten``.
    schedule_cancel_volume: USD an account must have traded before scheduleCancel.
    """

    duplicate_cloid: str = "accept"
    partial_gtc: str = "resting"
    min_notional_closes: str = "exempt"
    rejected_orders: str = "recorded"
    schedule_cancel_volume: Decimal = Decimal(1_000_000)


SWITCH_CHOICES: dict[str, tuple[str, ...]] = {
    "duplicate_cloid": ("accept", "reject"),
    "partial_gtc": ("resting", "filled"),
    "min_notional_closes": ("exempt", "enforced"),
    "rejected_orders": ("recorded", "forgotten"),
}


def default_position(asset: Asset) -> Position:
    """Flat, at 20x or the asset's maximum, cross where that is allowed."""
    leverage = min(DEFAULT_LEVERAGE, asset.max_leverage)
    return Position(asset.name, leverage=leverage, is_cross=asset.allows_cross)


@dataclass(slots=True)
class Changes:
    """What one step or action changed: for the store first, then for the subscribers."""

    accounts: set[str] = field(default_factory=set)
    orders: dict[int, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    ledger: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fundings: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rates: list[dict[str, Any]] = field(default_factory=list)
    nonces: list[tuple[str, int, int | None]] = field(default_factory=list)
    order_updates: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    user_events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    trades: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.accounts
            or self.orders
            or self.fills
            or self.ledger
            or self.fundings
            or self.rates
            or self.nonces
        )


class Venue:
    """The venue's state with the look-ups that every use case needs; no I/O and no clock."""

    def __init__(self, universe: Universe, seed: int, switches: Switches | None = None) -> None:
        self.universe = universe
        self.seed = seed
        self.switches = switches or Switches()
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, Account] = {}
        self.agent_masters: dict[str, str] = {}
        self.nonces: dict[str, NonceSet] = {}
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[str, dict[int, Order]] = {}
        self.open_by_user: dict[str, dict[int, Order]] = {}
        self.oid_of_cloid: dict[tuple[str, str], int] = {}
        self.order_log: dict[str, deque[int]] = {}
        self.fills: dict[str, deque[Fill]] = {}
        self.ledger_updates: dict[str, deque[dict[str, Any]]] = {}
        self.fundings: dict[str, deque[dict[str, Any]]] = {}
        self.funding_rates: dict[str, deque[dict[str, Any]]] = {}
        self.next_oid = FIRST_OID
        self.next_tid = 1
        self.tx_count = 0
        self.last_funding_hour = 0
        self.fill_fraction: Decimal | None = None
        self.changes = Changes()

    # --- change log -----------------------------------------------------------------------

    def take_changes(self) -> Changes:
        """Hand over the changes made so far and start a new list."""
        taken, self.changes = self.changes, Changes()
        return taken

    def touch(self, account: Account) -> None:
        self.changes.accounts.add(account.address)

    def new_tx(self) -> str:
        """Hash of a new transaction."""
        self.tx_count += 1
        digest = hashlib.sha256(f"{self.seed}:{self.tx_count}".encode()).hexdigest()
        return "0x" + digest

    def new_oid(self) -> int:
        self.next_oid += 1
        return self.next_oid - 1

    def new_tid(self) -> int:
        self.next_tid += 1
        return self.next_tid - 1

    def record_fill(self, fill: Fill) -> None:
        self.fills.setdefault(fill.user, deque(maxlen=KEPT_FILLS)).append(fill)
        self.changes.fills.append(fill)

    def record_ledger(self, user: str, now_ms: int, delta: dict[str, Any]) -> None:
        """Add a non-funding ledger update (deposit, withdrawal, transfer)."""
        self.add_ledger_entry(user, {"time": now_ms, "hash": self.new_tx(), "delta": delta})

    def add_ledger_entry(self, user: str, entry: dict[str, Any]) -> None:
        """Add a finished non-funding ledger entry."""
        self.ledger_updates.setdefault(user, deque(maxlen=KEPT_LEDGER)).append(entry)
        self.changes.ledger.append((user, entry))

    def record_funding(self, user: str, entry: dict[str, Any]) -> None:
        """Add a funding payment of a user."""
        self.fundings.setdefault(user, deque(maxlen=KEPT_LEDGER)).append(entry)
        self.changes.fundings.append((user, entry))

    def add_funding_rate(self, entry: dict[str, Any]) -> None:
        """Add an hour's funding rate of a coin."""
        self.funding_rates.setdefault(entry["coin"], deque(maxlen=KEPT_LEDGER)).append(entry)
        self.changes.rates.append(entry)

    # --- orders ---------------------------------------------------------------------------

    def set_status(self, order: Order, status: str, now_ms: int) -> None:
        """Move an order to a status, keep the indexes right and tell the subscribers."""
        order.status, order.status_ms = status, now_ms
        self.index_order(order)
        self.changes.orders[order.oid] = order
        self.changes.order_updates.append(
            (
                order.user,
                {"order": order.basic(), "status": status, "statusTimestamp": now_ms},
            )
        )

    def index_order(self, order: Order) -> None:
        """Enter an order into the look-ups, or take it from the open ones when it is over."""
        if order.oid not in self.orders:
            self.orders[order.oid] = order
            if order.cloid is not None:
                self.oid_of_cloid[order.user, order.cloid] = order.oid
        open_orders = self.open_orders.setdefault(order.coin, {})
        if order.is_open:
            open_orders[order.oid] = order
            self.open_by_user.setdefault(order.user, {})[order.oid] = order
        else:
            open_orders.pop(order.oid, None)
            self.open_by_user.get(order.user, {}).pop(order.oid, None)
            self._log_ended(order)

    def _log_ended(self, order: Order) -> None:
        log = self.order_log.setdefault(order.user, deque())
        log.append(order.oid)
        if len(log) > KEPT_ORDERS:
            forgotten = self.orders.pop(log.popleft(), None)
            if forgotten is not None and forgotten.cloid is not None:
                key = (forgotten.user, forgotten.cloid)
                if self.oid_of_cloid.get(key) == forgotten.oid:
                    del self.oid_of_cloid[key]

    def find_order(self, user: str, key: int | str) -> Order | None:
        """An order of a user by oid or by cloid (the latest one with it)."""
        oid = self.oid_of_cloid.get((user, key)) if isinstance(key, str) else key
        order = self.orders.get(oid) if oid is not None else None
        return order if order is not None and order.user == user else None

    def open_of(self, user: str, coin: str | None = None) -> list[Order]:
        """Open orders of a user, oldest first."""
        mine = self.open_by_user.get(user, {}).values()
        return [order for order in mine if coin is None or order.coin == coin]

    # --- accounts -------------------------------------------------------------------------

    def master_of(self, signer: str, now_ms: int) -> Account | None:
        """The account a signer acts for: its own, or the one whose live agent it is."""
        account = self.accounts.get(signer)
        if account is not None:
            return account
        master = self.accounts.get(self.agent_masters.get(signer, ""))
        if master is None or master.agents[signer].valid_until_ms <= now_ms:
            return None
        return master

    def position_of(self, account: Account, coin: str) -> Position:
        """The account's position of a coin; a new one gets the asset's default settings."""
        position = account.positions.get(coin)
        if position is None:
            position = account.positions[coin] = default_position(self.universe.by_coin[coin])
        return position

    def mark(self, coin: str) -> Decimal:
        return self.markets[coin].mark

    def dex_assets(self, dex: str) -> tuple[Asset, ...]:
        found = self.universe.dex(dex)
        return found.assets if found is not None else ()

    def margin(self, account: Account, dex: str) -> DexMargin:
        return dex_margin(account, dex, self.dex_assets(dex), self.mark)

    def reserved_margin(self, account: Account, dex: str, extra: Order | None = None) -> Decimal:
        """Margin that open orders (and ``extra``) would need beyond the positions', in USD.

        Per coin the worst of all buys or all sells filling counts; reduce-only orders are free.
        """
        sides: dict[str, list[Decimal]] = {}
        orders = list(self.open_by_user.get(account.address, {}).values())
        for order in orders if extra is None else [*orders, extra]:
            if order.active and not order.reduce_only:
                sides.setdefault(order.coin, [ZERO, ZERO])[order.is_buy] += order.size
        total = ZERO
        for coin, (asks, bids) in sides.items():
            if self.universe.by_coin[coin].dex != dex:
                continue
            position = self.position_of(account, coin)
            held = abs(position.size)
            worst = max(abs(position.size + bids), abs(position.size - asks), held)
            total += (worst - held) * self.mark(coin) / position.leverage
        return total

    def available(self, account: Account, dex: str, extra: Order | None = None) -> Decimal:
        """USD free for new orders: cross value less margin in use and reserved; may be < 0."""
        margin = self.margin(account, dex)
        reserved = self.reserved_margin(account, dex, extra)
        return margin.cross_value - margin.cross_margin_used - reserved
