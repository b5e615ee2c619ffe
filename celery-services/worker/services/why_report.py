"""The reasons of reconciliation and the life of an order, as tables for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from shared.exchange.precision import plain
from shared.storage.execution_state import ExecutionStateStore
from shared.storage.orders import FillStore, OrderRecord, OrderStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry

_COLOURS = {"trade": "green", "hold": "cyan", "wait": "yellow", "unknown": "red"}


class NothingFound(LookupError):
    """No such order, or no reason for this symbol; the message says which."""


@dataclass(frozen=True, slots=True)
class OrderStory:
    """Everything that is recorded of one order."""

    record: OrderRecord | None
    reasons: tuple[WhyEntry, ...]
    fills: tuple[Mapping[str, Any], ...]
    risk: tuple[Mapping[str, Any], ...]
    venue_reply: Any = None


def order_story(
    conn: Connection, order: str, audited: Callable[[str], Iterable[Mapping[str, Any]]]
) -> OrderStory:
    """What is known of an order by its intent id or cloid; raises ``NothingFound``.

    ``audited`` gives the audit trail's lines of an intent.
    """
    orders = OrderStore(conn)
    record = orders.find(order) or orders.find_by_cloid(order)
    intent_id = order if record is None else record.intent_id
    reasons = tuple(ReconciliationLog(conn).of_intent(intent_id))
    if record is None and not reasons:
        raise NothingFound(f"neither the journal nor the reasons know an order {order!r}")
    fills = FillStore(conn).of_intent(intent_id)
    return OrderStory(
        record=record,
        reasons=reasons,
        fills=tuple(dict(fill._mapping) for fill in fills),
        risk=tuple(audited(intent_id)),
        venue_reply=ExecutionStateStore(conn).venue_reply(intent_id),
    )


def symbol_reasons(conn: Connection, symbol: str, limit: int) -> list[WhyEntry]:
    """The newest decisions about a symbol, newest first; raises ``NothingFound``."""
    reasons = ReconciliationLog(conn).of_symbol(symbol, limit)
    if not reasons:
        raise NothingFound(f"no decision about {symbol!r} is recorded")
    return reasons


def show_order(story: OrderStory) -> RenderableType:
    """The order, why it was planned, what risk said, what the venue said."""
    parts: list[RenderableType] = []
    if story.record is not None:
        parts.append(_record_table(story.record))
    parts += [show_reason(reason) for reason in story.reasons]
    if story.risk:
        parts.append(_lines_table("Risk and audit", story.risk, ("seq", "hash", "prev")))
    if story.venue_reply is not None:
        parts.append(_lines_table("Venue's reply", [{"": story.venue_reply}], ()))
    if story.fills:
        parts.append(_fills_table(story.fills))
    return Group(*parts)


def show_reasons(reasons: Sequence[WhyEntry]) -> RenderableType:
    """The newest decision in full, and the ones before it as a list."""
    table = Table(title="Before that", title_justify="left", expand=False)
    for name in ("at", "decision", "gap USD", "intent", "reason"):
        table.add_column(name, justify="right" if name == "gap USD" else "left")
    for reason in reasons[1:]:
        table.add_row(
            when(reason.at_ms),
            Text(reason.decision, _COLOURS.get(reason.decision, "")),
            "" if reason.gap_usd is None else f"{reason.gap_usd:,.2f}",
            reason.intent_id or "",
            str(reason.detail.get("reason", "")),
        )
    newest = show_reason(reasons[0])
    return Group(newest, table) if len(reasons) > 1 else newest


def show_reason(reason: WhyEntry) -> RenderableType:
    """One decision with everything it was made from."""
    detail = reason.detail
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("decision", Text(reason.decision, _COLOURS.get(reason.decision, "")))
    table.add_row("because", str(detail.get("reason", "")))
    if reason.intent_id is not None:
        table.add_row("intent", reason.intent_id)
    for name in ("balance_usd", "price_usd", "runs", "orders"):
        table.add_row(name.replace("_usd", " USD"), _observed(detail.get(name)))
    _add_target(table, detail.get("target") or {})
    _add_quorum(table, detail.get("quorum") or {})
    if detail.get("plan") is not None:
        table.add_row("plan", _pairs(detail["plan"]))
    if detail.get("reply") is not None:
        table.add_row("gateway", _pairs(detail["reply"]))
    if detail.get("trace_id"):
        table.add_row("trace", str(detail["trace_id"]))
    title = f"{reason.symbol} at {when(reason.at_ms)}"
    if "first_ms" in detail:
        title += f", found {detail['looks']} times since {when(detail['first_ms'])}"
    return Panel(table, title=title, title_align="left", expand=False)


def _add_target(table: Table, target: Mapping[str, Any]) -> None:
    table.add_row("target USD", _observed(target.get("notional_usd")))
    for clamp in target.get("clamps", ()):
        moved = f"{clamp['before_usd']} → {clamp['after_usd']} USD"
        table.add_row("  clamp", f"{clamp['rule']}: {moved}")


def _add_quorum(table: Table, quorum: Mapping[str, Any]) -> None:
    table.add_row("position", _observed(quorum.get("position")))
    for vote in quorum.get("votes", ()):
        if vote["size"] is None:
            said = f"abstains: {vote['reason']}"
        else:
            marks = [m for m in ("dissenters", "lagging") if vote["voter"] in quorum.get(m, ())]
            said = f"{vote['size']} at {when(vote['venue_ms'])} {' '.join(marks)}".rstrip()
        table.add_row(f"  {vote['voter']}", said)


def _record_table(record: OrderRecord) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("order", f"{record.side} {plain(record.size)} {record.symbol}")
    table.add_row("state", record.state.value)
    table.add_row("kind", f"{record.order_type} {record.tif} {record.origin}")
    table.add_row("reduce only", "yes" if record.reduce_only else "no")
    table.add_row("limit price", plain(record.limit_price))
    average = "" if record.avg_price is None else f" at {plain(record.avg_price)}"
    table.add_row(
        "filled", f"{plain(record.filled_size)}{average}, fee {plain(record.fee_usd)} USD"
    )
    table.add_row("cloid, oid", f"{record.cloid} {record.oid or ''}")
    for name in ("created_ms", "sent_ms", "resolved_ms"):
        at_ms = getattr(record, name)
        table.add_row(name.removesuffix("_ms"), "" if at_ms is None else when(at_ms))
    table.add_row("reason", record.reason or "")
    return Panel(table, title=record.intent_id, title_align="left", expand=False)


def _fills_table(fills: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table(title="Fills", title_justify="left")
    for name in ("at", "side", "size", "price", "fee USD", "closed PnL USD"):
        table.add_column(name, justify="left" if name in ("at", "side") else "right")
    for fill in fills:
        amounts = (plain(fill[n]) for n in ("size", "price", "fee_usd", "closed_pnl_usd"))
        table.add_row(when(fill["time_ms"]), fill["side"], *amounts)
    return table


def _lines_table(
    title: str, lines: Sequence[Mapping[str, Any]], without: Sequence[str]
) -> RenderableType:
    table = Table(title=title, title_justify="left", show_header=False)
    for line in lines:
        table.add_row(_pairs({k: v for k, v in line.items() if k not in without}))
    return table


def _observed(observed: Mapping[str, Any] | None) -> str:
    if not observed:
        return ""
    if observed["status"] == "Unknown":
        return f"unknown: {observed['reason']}"
    value = observed["value"]
    said = _pairs(value) if isinstance(value, Mapping) else str(value)
    mark = "" if observed["status"] == "Known" else " (stale)"
    return f"{said}, as of {when(observed['as_of_ms'])}{mark}"


def _pairs(values: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return (
            json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        )

    return ", ".join(f"{k} {shown(v)}" for k, v in values.items() if v is not None)


def when(at_ms: int) -> str:
    """A time in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
