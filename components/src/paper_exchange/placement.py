"""Placing, cancelling and modifying orders."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paper_exchange.decimals import price_problem, size_is_valid, wire
from paper_exchange.ledger import Account
from paper_exchange.matching import Execution, best_prices, crosses, take
from paper_exchange.orders import CANCELED, FILLED, OPEN, WAITING, Order, Trigger
from paper_exchange.settlement import cancel, fee_rate, reducible
from paper_exchange.state import Venue
from paper_exchange.universe import Asset

MIN_NOTIONAL_USD = Decimal(10)
BAND_HIGH, BAND_LOW = Decimal("1.8"), Decimal("0.2")
MAX_OPEN_ORDERS = 1000
HARD_MAX_OPEN_ORDERS = 5000
VOLUME_PER_EXTRA_ORDER = Decimal(5_000_000)
NEVER_PLACED = "Order was never placed, already canceled, or filled."
CANNOT_MODIFY = "Cannot modify canceled or filled order"
UNMATCHED = "Order could not immediately match against any resting orders."

Status = dict[str, Any] | str


class ActionError(Exception):
    """A whole action refused; the message is the venue's reply (HTTP 200, ``status: err``)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One order refused: the reply text (without the asset) and the order status it ends in."""

    text: str
    status: str


def place_orders(venue: Venue, account: Account, body: dict[str, Any], now_ms: int) -> list[Status]:
    """Execute an ``order`` action; one status per order, in order.

    Raises:
        ActionError: builder fee not approved.
    """
    fee = _builder_fee(account, body.get("builder"))
    grouping, wires = body["grouping"], body["orders"]
    tx = venue.new_tx()
    if grouping == "normalTpsl" and wires:
        return _place_with_children(venue, account, wires, fee, now_ms, tx)
    is_position_tpsl = grouping == "positionTpsl"
    return [_place(venue, account, w, fee, now_ms, tx, is_position_tpsl)[1] for w in wires]


def _builder_fee(account: Account, builder: dict[str, Any] | None) -> int:
    if builder is None or builder["f"] == 0:
        return 0
    if account.builder_fees.get(builder["b"], 0) < builder["f"]:
        raise ActionError("Builder fee has not been approved.")
    return int(builder["f"])


def _place_with_children(
    venue: Venue,
    account: Account,
    wires: list[dict[str, Any]],
    fee: int,
    now_ms: int,
    tx: str,
) -> list[Status]:
    parent, status = _place(venue, account, wires[0], fee, now_ms, tx)
    statuses = [status]
    if parent is None:
        return statuses + [status] * (len(wires) - 1)
    for spec in wires[1:]:
        child, child_status = _place(
            venue, account, spec, fee, now_ms, tx, parent=parent if parent.is_open else None
        )
        if child is not None and child.is_open:
            parent.children.append(child.oid)
            child.parent_oid = parent.oid
            child_status = "waitingForFill" if child.status == WAITING else "waitingForTrigger"
        statuses.append(child_status)
    venue.changes.orders[parent.oid] = parent
    return statuses


def _place(
    venue: Venue,
    account: Account,
    spec: dict[str, Any],
    builder_fee: int,
    now_ms: int,
    tx: str,
    is_position_tpsl: bool = False,
    parent: Order | None = None,
) -> tuple[Order | None, Status]:
    """Place one order; returns the order (None if rejected) and its status."""
    asset = venue.universe.by_id.get(spec["a"])
    if asset is None or asset.is_delisted:
        return None, {"error": f"Asset is not traded here. asset={spec['a']}"}
    order = _draft(account, asset, spec, now_ms)
    order.builder_fee_tenths_bp = builder_fee
    order.is_position_tpsl = is_position_tpsl
    rejection = _static_problem(venue, account, asset, order) or _state_problem(
        venue, account, asset, order, is_child=parent is not None
    )
    if rejection is not None:
        return None, _reject(venue, order, rejection, now_ms)
    order.oid = venue.new_oid()
    if order.trigger is not None or parent is not None:
        order.active = False
        venue.set_status(order, WAITING if parent is not None else OPEN, now_ms)
        return order, "waitingForTrigger" if is_position_tpsl else {"resting": _ids(order)}
    return _enter(venue, order, now_ms, tx)


def _draft(account: Account, asset: Asset, spec: dict[str, Any], now_ms: int) -> Order:
    """The order a wire asks for, not yet numbered (oid 0)."""
    limit, trigger = spec["t"].get("limit"), spec["t"].get("trigger")
    size = Decimal(spec["s"])
    return Order(
        oid=0,
        user=account.address,
        coin=asset.name,
        asset_id=asset.asset_id,
        is_buy=spec["b"],
        limit_px=Decimal(spec["p"]),
        size=size,
        orig_size=size,
        reduce_only=spec["r"],
        tif=limit["tif"] if limit else None,
        cloid=spec.get("c"),
        timestamp_ms=now_ms,
        trigger=Trigger(Decimal(trigger["triggerPx"]), trigger["isMarket"], trigger["tpsl"])
        if trigger
        else None,
    )


def _static_problem(venue: Venue, account: Account, asset: Asset, order: Order) -> Rejection | None:
    """What is wrong with the order's numbers, whatever the market does."""
    if order.size == 0 and not order.is_position_tpsl:
        return Rejection("Order has zero size.", "rejected")
    if order.size != 0 and not size_is_valid(order.size, asset.sz_decimals):
        return Rejection("Order has invalid size.", "rejected")
    if (problem := price_problem(order.limit_px, asset.price_decimals)) is not None:
        return Rejection(problem, "tickRejected")
    if order.trigger is not None and price_problem(order.trigger.px, asset.price_decimals):
        return Rejection("Invalid TP/SL price.", "badTriggerPxRejected")
    mark = venue.mark(order.coin)
    if not BAND_LOW * mark <= order.limit_px <= BAND_HIGH * mark:
        text = "Order price cannot be more than 80% away from the reference price"
        return Rejection(text, "oracleRejected")
    if order.size * order.limit_px < MIN_NOTIONAL_USD and not order.is_position_tpsl:
        closes = order.reduce_only and order.size == abs(account.size_of(order.coin))
        if not (closes and venue.switches.min_notional_closes == "exempt"):
            return Rejection("Order must have minimum value of $10.", "minTradeNtlRejected")
    return None


def _state_problem(
    venue: Venue, account: Account, asset: Asset, order: Order, is_child: bool
) -> Rejection | None:
    """What the account or the market has against a well-formed order."""
    open_count = len(venue.open_by_user.get(account.address, {}))
    allowed = MAX_OPEN_ORDERS + int(account.volume / VOLUME_PER_EXTRA_ORDER)
    if open_count >= HARD_MAX_OPEN_ORDERS or (
        open_count >= allowed or (open_count >= MAX_OPEN_ORDERS and _is_conditional(order))
    ):
        return Rejection("Too many open orders.", "rejected")
    if order.cloid is not None and venue.switches.duplicate_cloid == "reject":
        twin = venue.find_order(account.address, order.cloid)
        if twin is not None and twin.is_open:
            return Rejection("Duplicate cloid.", "rejected")
    if is_child:
        return None
    if order.reduce_only:
        if reducible(venue, order) == 0:
            text = "Reduce only order would increase position."
            return Rejection(text, "reduceOnlyRejected")
        return None
    if order.trigger is None and not _has_margin(venue, account, asset, order):
        return Rejection("Insufficient margin to place order.", "perpMarginRejected")
    return None


def _is_conditional(order: Order) -> bool:
    return order.reduce_only or order.trigger is not None


def _has_margin(venue: Venue, account: Account, asset: Asset, order: Order) -> bool:
    """Initial margin check: reducing is free, growing needs free collateral and the fee."""
    change = order.size if order.is_buy else -order.size
    held = account.size_of(order.coin)
    if abs(held + change) <= abs(held):
        return True
    fee = order.size * venue.mark(order.coin) * fee_rate(account, asset, True, order.timestamp_ms)
    return venue.available(account, asset.dex, order) >= fee


def _reject(venue: Venue, order: Order, rejection: Rejection, now_ms: int) -> Status:
    if venue.switches.rejected_orders == "recorded":
        if order.oid == 0:
            order.oid = venue.new_oid()
        twin = order.cloid and venue.find_order(order.user, order.cloid)
        venue.set_status(order, rejection.status, now_ms)
        if twin and order.cloid is not None:
            # A rejected order must not hide the live one that has its cloid.
            venue.oid_of_cloid[order.user, order.cloid] = twin.oid
    return {"error": f"{rejection.text} asset={order.asset_id}"}


def _ids(order: Order) -> dict[str, Any]:
    return {"oid": order.oid} | ({"cloid": order.cloid} if order.cloid is not None else {})


def _enter(venue: Venue, order: Order, now_ms: int, tx: str) -> tuple[Order | None, Status]:
    """Send a checked order into the book."""
    if order.tif == "Alo" and crosses(venue, order):
        market = venue.markets[order.coin]
        bid, ask = (_bbo_text(market.price(units)) for units in best_prices(venue, order.coin))
        text = f"Post only order would have immediately matched, bbo was {bid}@{ask}."
        return None, _reject(venue, order, Rejection(text, "badAloPxRejected"), now_ms)
    execution = take(venue, order, now_ms, tx)
    return finish_taker(venue, order, execution, now_ms)


def _bbo_text(price: Decimal) -> str:
    return wire(price).removesuffix(".0")


def finish_taker(
    venue: Venue, order: Order, execution: Execution, now_ms: int
) -> tuple[Order | None, Status]:
    """Status and reply of an order that has just met the book."""
    if order.size == 0:
        venue.set_status(order, FILLED, now_ms)
        return order, {"filled": _filled(order, execution)}
    immediate = order.tif in ("Ioc", "FrontendMarket")
    if execution.fills and (immediate or (order.reduce_only and reducible(venue, order) == 0)):
        venue.set_status(order, CANCELED, now_ms)
        return order, {"filled": _filled(order, execution)}
    if immediate:
        rejection = Rejection(UNMATCHED, "iocCancelRejected")
        return None, _reject(venue, order, rejection, now_ms)
    venue.set_status(order, OPEN, now_ms)
    if execution.fills and venue.switches.partial_gtc == "filled":
        return order, {"filled": _filled(order, execution)}
    return order, {"resting": _ids(order)}


def _filled(order: Order, execution: Execution) -> dict[str, Any]:
    return {"totalSz": wire(execution.size), "avgPx": wire(execution.average_px)} | _ids(order)


def cancel_orders(
    venue: Venue, account: Account, keys: list[tuple[int, int | str]], now_ms: int
) -> list[Status]:
    """Cancel by (asset, oid or cloid); one status each."""
    statuses: list[Status] = []
    for asset_id, key in keys:
        order = venue.find_order(account.address, key)
        if order is None or not order.is_open or order.asset_id != asset_id:
            statuses.append({"error": f"{NEVER_PLACED} asset={asset_id}"})
            continue
        cancel(venue, order, CANCELED, now_ms)
        statuses.append("success")
    return statuses


def modify_orders(
    venue: Venue, account: Account, modifies: list[dict[str, Any]], now_ms: int
) -> list[Status]:
    """Cancel and replace: a new oid, time priority lost. An invalid new order keeps the old."""
    statuses: list[Status] = []
    for entry in modifies:
        old = venue.find_order(account.address, entry["oid"])
        spec = entry["order"]
        asset = venue.universe.by_id.get(spec["a"])
        if old is None or not old.is_open or asset is None or old.asset_id != asset.asset_id:
            statuses.append({"error": f"{CANNOT_MODIFY} asset={spec['a']}"})
            continue
        draft = _draft(account, asset, spec, now_ms)
        problem = _static_problem(venue, account, asset, draft)
        if problem is not None:
            statuses.append(_reject(venue, draft, problem, now_ms))
            continue
        cancel(venue, old, CANCELED, now_ms)
        fee = old.builder_fee_tenths_bp
        tx = venue.new_tx()
        statuses.append(_place(venue, account, spec, fee, now_ms, tx, old.is_position_tpsl)[1])
    return statuses
