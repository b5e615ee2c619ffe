"""The intent journal: what was wanted, what was sent, what became of it, what filled.

An intent is committed as PENDING before anything else, as SENT (with nonce, expiry and body
hash) before its first byte goes out, and reaches a final state in the same transaction that
advances its symbol's plan epoch. UNIQUE keys, not this code, refuse a second open intent on a
symbol, a second use of a leg, and a second row for an intent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, or_, select, tuple_, update
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import IntegrityError

from shared.exchange.payloads import Fill, is_spot
from shared.exchange.precision import Side, Tif
from shared.orders.intents import OrderRequest, OrderType, Origin
from shared.orders.replies import Verdict
from shared.orders.states import OPEN, TERMINAL, OrderState, check_transition
from shared.storage.tables import nonces, order_execution_log, order_fills, plan_epochs

MAX_REASON = 255
log = order_execution_log

# Statements of every order, built once: building them takes longer than running them.
_RECORDS = select(*(c for c in log.c if c.name not in ("open_symbol", "venue_reply")))
_BY_INTENT = _RECORDS.where(log.c.intent_id == bindparam("intent_id"))
_INSERT = insert(log)
_CHANGE = update(log).where(log.c.id == bindparam("row_id"), log.c.state == bindparam("before"))
_LOCK_EPOCH = (
    select(plan_epochs.c.epoch).where(plan_epochs.c.symbol == bindparam("symbol")).with_for_update()
)
_NEXT_EPOCH = (
    update(plan_epochs)
    .where(plan_epochs.c.symbol == bindparam("of"), plan_epochs.c.epoch == bindparam("before"))
    .values(epoch=plan_epochs.c.epoch + 1, advanced_ms=bindparam("now_ms"))
)
_SAVE_NONCE = insert(nonces)
_SAVE_NONCE = _SAVE_NONCE.on_duplicate_key_update(
    last_nonce=func.greatest(nonces.c.last_nonce, _SAVE_NONCE.inserted.last_nonce)
)


class JournalConflict(Exception):
    """The journal refuses the intent; nothing was written."""


class IntentMismatch(JournalConflict):
    """The intent exists with another payload."""


class OpenIntentExists(JournalConflict):
    """Another intent of the symbol has not reached a final state."""


class StalePlan(JournalConflict):
    """The plan belongs to another epoch of the symbol than the current one."""


class LegUsed(JournalConflict):
    """The symbol's plan epoch already has an intent for this leg."""


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One row of the journal. Sizes in coins, prices and fees in USD, times UTC ms."""

    id: int
    intent_id: str
    cloid: str
    symbol: str
    plan_epoch: int
    leg: str
    origin: Origin
    side: Side
    size: Decimal
    order_type: OrderType
    tif: Tif
    reduce_only: bool
    limit_price: Decimal
    state: OrderState
    nonce: int | None
    expires_after_ms: int | None
    body_sha256: str | None
    oid: int | None
    filled_size: Decimal
    avg_price: Decimal | None
    fee_usd: Decimal
    reason: str | None
    request: dict[str, Any]
    created_ms: int
    sent_ms: int | None
    updated_ms: int
    resolved_ms: int | None

    @property
    def is_open(self) -> bool:
        """Whether the symbol waits for this order."""
        return self.state in OPEN


class OrderStore:
    """The journal over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def plan_epoch(self, symbol: str) -> int:
        """The symbol's current plan epoch; 0 before its first intent."""
        epoch = self._conn.execute(
            select(plan_epochs.c.epoch).where(plan_epochs.c.symbol == symbol)
        ).scalar_one_or_none()
        return 0 if epoch is None else int(epoch)

    def find(self, intent_id: str) -> OrderRecord | None:
        """The intent's row."""
        row = self._conn.execute(_BY_INTENT, {"intent_id": intent_id}).one_or_none()
        return None if row is None else _record(row)

    def find_by_cloid(self, cloid: str) -> OrderRecord | None:
        """The row with this client order id."""
        return self._one(_RECORDS.where(log.c.cloid == cloid))

    def open_orders(self) -> list[OrderRecord]:
        """Every order that has not reached a final state, oldest first."""
        return self._many(_RECORDS.where(log.c.state.in_(sorted(OPEN))).order_by(log.c.id))

    def recent(
        self, *, symbol: str | None = None, state: OrderState | None = None, limit: int = 100
    ) -> list[OrderRecord]:
        """The newest orders, newest first."""
        query = _RECORDS.order_by(log.c.id.desc()).limit(limit)
        if symbol is not None:
            query = query.where(log.c.symbol == symbol)
        if state is not None:
            query = query.where(log.c.state == state)
        return self._many(query)

    def sent_since(self, since_ms: int) -> list[int]:
        """Send times (ms) of the opening orders sent after ``since_ms``, oldest first."""
        rows = self._conn.execute(
            select(log.c.sent_ms)
            .where(log.c.created_ms >= since_ms, log.c.sent_ms > since_ms)
            .where(log.c.reduce_only.is_(False))
            .order_by(log.c.sent_ms)
        )
        return [int(row.sent_ms) for row in rows]

    def insert_pending(
        self, request: OrderRequest, *, cloid: str, size: Decimal, limit_price: Decimal, now_ms: int
    ) -> OrderRecord:
        """Journal a new intent with its rounded size and price.

        Raises a ``JournalConflict``; the caller rolls back. Find out about an intent that may
        exist already with ``find`` and ``check_same`` first.
        """
        epoch = self._locked_epoch(request.symbol, now_ms)
        if request.plan_epoch is not None and request.plan_epoch != epoch:
            raise StalePlan(
                f"plan epoch {request.plan_epoch} of {request.symbol} is not the current one; "
                f"that is {epoch}"
            )
        values = {
            "intent_id": request.intent_id,
            "cloid": cloid,
            "symbol": request.symbol,
            "plan_epoch": epoch,
            "leg": request.leg,
            "origin": request.origin,
            "side": request.side,
            "size": size,
            "order_type": request.order_type,
            "tif": request.tif,
            "reduce_only": request.reduce_only,
            "limit_price": limit_price,
            "state": OrderState.PENDING.value,
            "filled_size": Decimal(0),
            "fee_usd": Decimal(0),
            "request": request.payload(),
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        try:
            result = self._conn.execute(_INSERT, values)
        except IntegrityError as error:
            raise _conflict(error, request) from error
        (row_id,) = result.inserted_primary_key or (0,)
        return _new_record(int(row_id), values)

    def mark_sent(
        self,
        record: OrderRecord,
        *,
        nonce: int,
        expires_after_ms: int,
        body_sha256: str,
        now_ms: int,
    ) -> None:
        """PENDING → SENT. Committed before the first byte goes out."""
        check_transition(record.state, OrderState.SENT)
        self._change(
            record,
            state=OrderState.SENT.value,
            nonce=nonce,
            expires_after_ms=expires_after_ms,
            body_sha256=body_sha256,
            sent_ms=now_ms,
            updated_ms=now_ms,
        )

    def apply(
        self, record: OrderRecord, verdict: Verdict, *, now_ms: int, venue_reply: Any = None
    ) -> OrderRecord:
        """Write what a reply or the evidence proves; a final state advances the plan epoch.

        ``record`` is what the caller decided on: if the row has moved on since, nothing is
        written and ``IllegalTransition`` or ``JournalConflict`` rises.
        """
        after = verdict.state
        if after is not record.state:
            check_transition(record.state, after)
        changes: dict[str, Any] = {
            "reason": verdict.reason[:MAX_REASON],
            "oid": record.oid if verdict.oid is None else verdict.oid,
            "filled_size": verdict.filled_size,
            "avg_price": verdict.avg_price,
            "updated_ms": now_ms,
            "resolved_ms": now_ms if after in TERMINAL else None,
        }
        reply = {} if venue_reply is None else {"venue_reply": venue_reply}
        self._change(record, state=after.value, **changes, **reply)
        if after in TERMINAL:
            self._advance_epoch(record.symbol, record.plan_epoch, now_ms)
        return dataclasses.replace(record, state=after, **changes)

    def save_nonce(self, signer: str, nonce: int) -> None:
        """Remember that ``nonce`` is used; the stored one never goes down."""
        self._conn.execute(_SAVE_NONCE, {"signer": signer, "last_nonce": nonce})

    def last_nonce(self, signer: str) -> int:
        """The highest nonce ever used by ``signer``; 0 if none."""
        value = self._conn.execute(
            select(nonces.c.last_nonce).where(nonces.c.signer == signer)
        ).scalar_one_or_none()
        return 0 if value is None else int(value)

    def _locked_epoch(self, symbol: str, now_ms: int) -> int:
        """The symbol's epoch, locked to the end of the transaction: intents queue up here."""
        of = {"symbol": symbol}
        epoch = self._conn.execute(_LOCK_EPOCH, of).scalar_one_or_none()
        if epoch is None:
            first = insert(plan_epochs).values(symbol=symbol, epoch=0, advanced_ms=now_ms)
            self._conn.execute(first.on_duplicate_key_update(symbol=symbol))
            epoch = self._conn.execute(_LOCK_EPOCH, of).scalar_one()
        return int(epoch)

    def _advance_epoch(self, symbol: str, epoch: int, now_ms: int) -> None:
        changed = self._conn.execute(_NEXT_EPOCH, {"of": symbol, "before": epoch, "now_ms": now_ms})
        if changed.rowcount != 1:
            raise JournalConflict(f"the plan epoch of {symbol} is not {epoch} any more")

    def _change(self, record: OrderRecord, **values: Any) -> None:
        changed = self._conn.execute(
            _CHANGE, {**values, "row_id": record.id, "before": record.state.value}
        )
        if changed.rowcount != 1:
            raise JournalConflict(
                f"{record.intent_id} is not {record.state} any more; it was changed elsewhere"
            )

    def _one(self, query: Select[Any]) -> OrderRecord | None:
        row = self._conn.execute(query).one_or_none()
        return None if row is None else _record(row)

    def _many(self, query: Select[Any]) -> list[OrderRecord]:
        return [_record(row) for row in self._conn.execute(query)]


class FillStore:
    """Executions of the account over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def add(self, fills: Sequence[Fill]) -> list[tuple[Fill, str | None]]:
        """Store the fills that are new and return them with their intents; each counts once.

        The order's fee becomes the sum of its fills' fees. A fill whose cloid and order id are
        not in the journal belongs to no intent (None): someone else traded. Fills of spot pairs,
        which the venue lists among the others, are none of the perpetual account's.
        """
        fresh = self._unknown([f for f in fills if not is_spot(f.symbol)])
        if not fresh:
            return []
        owners = self._owners(fresh)
        self._conn.execute(insert(order_fills), [_fill_row(f, owners) for f in fresh])
        self._sum_fees(sorted(set(owners.values())))
        return [(f, owners.get(_key(f))) for f in fresh]

    def of_intent(self, intent_id: str) -> list[Row[Any]]:
        """Stored fills of one order, oldest first."""
        query = select(order_fills).where(order_fills.c.intent_id == intent_id)
        return list(self._conn.execute(query.order_by(order_fills.c.time_ms, order_fills.c.tid)))

    def of_symbol(self, symbol: str, since_ms: int) -> list[Row[Any]]:
        """Stored fills of one symbol from ``since_ms`` on (venue time), oldest first."""
        query = select(order_fills).where(
            order_fills.c.coin == symbol, order_fills.c.time_ms >= since_ms
        )
        return list(self._conn.execute(query.order_by(order_fills.c.time_ms, order_fills.c.tid)))

    def _unknown(self, fills: Sequence[Fill]) -> list[Fill]:
        if not fills:
            return []
        key = tuple_(order_fills.c.tid, order_fills.c.time_ms, order_fills.c.coin)
        stored = self._conn.execute(
            select(order_fills.c.tid, order_fills.c.time_ms, order_fills.c.coin).where(
                key.in_([_key(f) for f in fills])
            )
        )
        seen = {(row.tid, row.time_ms, row.coin) for row in stored}
        fresh: list[Fill] = []
        for fill in fills:
            if _key(fill) not in seen:
                seen.add(_key(fill))
                fresh.append(fill)
        return fresh

    def _owners(self, fills: Sequence[Fill]) -> dict[tuple[int, int, str], str]:
        """The intent of each fill, by cloid, else by the venue's order id."""
        cloids = sorted({f.cloid for f in fills if f.cloid is not None})
        rows = self._conn.execute(
            select(log.c.cloid, log.c.oid, log.c.intent_id).where(
                or_(log.c.cloid.in_(cloids), log.c.oid.in_(sorted({f.oid for f in fills})))
            )
        ).all()
        by_cloid = {row.cloid: row.intent_id for row in rows}
        by_oid = {row.oid: row.intent_id for row in rows if row.oid is not None}
        owners = {_key(f): by_cloid.get(f.cloid) or by_oid.get(f.oid) for f in fills}
        return {key: intent_id for key, intent_id in owners.items() if intent_id is not None}

    def _sum_fees(self, intent_ids: Iterable[str]) -> None:
        for intent_id in intent_ids:
            total = (
                select(func.coalesce(func.sum(order_fills.c.fee_usd), 0))
                .where(order_fills.c.intent_id == intent_id)
                .scalar_subquery()
            )
            self._conn.execute(
                update(log).where(log.c.intent_id == intent_id).values(fee_usd=total)
            )


def check_same(record: OrderRecord, request: OrderRequest) -> None:
    """Raise ``IntentMismatch`` unless ``request`` is what the journal has under its name."""
    wanted = request.payload()
    differing = sorted(k for k in wanted if record.request.get(k) != wanted[k])
    if differing:
        raise IntentMismatch(
            f"intent {request.intent_id} exists with another {', '.join(differing)}"
        )


def _record(row: Row[Any]) -> OrderRecord:
    values = dict(row._mapping)
    values["state"] = OrderState(values["state"])
    values["reduce_only"] = bool(values["reduce_only"])
    return OrderRecord(**values)


def _new_record(row_id: int, values: dict[str, Any]) -> OrderRecord:
    absent = dict.fromkeys(
        ("nonce", "expires_after_ms", "body_sha256", "oid", "avg_price", "reason")
    )
    return OrderRecord(
        **{**absent, **values, "id": row_id, "state": OrderState.PENDING},
        sent_ms=None,
        resolved_ms=None,
    )


def _conflict(error: IntegrityError, request: OrderRequest) -> JournalConflict:
    """Which UNIQUE key refused the intent; the database names it in its message."""
    text = str(error.orig)
    if "open_symbol" in text:
        return OpenIntentExists(f"{request.symbol} has an open order; one at a time")
    if "uq_intent_leg" in text:
        return LegUsed(
            f"leg {request.leg} of {request.symbol} is used in this plan epoch, "
            "which ends with its order"
        )
    return IntentMismatch(f"intent {request.intent_id} was journaled at the same moment")


def _key(fill: Fill) -> tuple[int, int, str]:
    return (fill.tid, fill.time_ms, fill.symbol)


def _fill_row(fill: Fill, owners: dict[tuple[int, int, str], str]) -> dict[str, Any]:
    return {
        "tid": fill.tid,
        "time_ms": fill.time_ms,
        "coin": fill.symbol,
        "cloid": fill.cloid,
        "oid": fill.oid,
        "intent_id": owners.get(_key(fill)),
        "side": fill.side,
        "price": fill.price,
        "size": fill.size,
        "fee_usd": fill.fee,
        "closed_pnl_usd": fill.closed_pnl,
        "start_position": fill.start_position,
        "dir": fill.direction,
        "crossed": fill.crossed,
    }
