"""Bring the account to what the runs ask for, one order per symbol and look.

A look gathers everything that is known (quorum, balance, sums, prices, journal), decides per
symbol by pure functions, writes down why, and then asks the gateway for the orders, exits
first. No lock is held while anything is waited for: two looks at the same time make the same
plans, which carry the same intent ids, of which the gateway's journal keeps one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog
from sqlalchemy import Connection, Engine

from shared import instruments
from shared.config import Settings
from shared.database import UnitOfWork, retry_deadlocks
from shared.observation import Known
from shared.reconciliation.consensus import Consensus
from shared.reconciliation.exposure import room_usd, worst_usd
from shared.reconciliation.intents import Decision, Verdict, decide
from shared.reconciliation.plan import PlannedOrder
from shared.reconciliation.progress import after
from shared.reconciliation.target import Target, targets
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.refusals import RefusalStore
from shared.storage.risk_state import RiskStateStore
from worker.services import why
from worker.services.gateway_client import POOL_SIZE, GatewayClient, GatewayReply, Outcome
from worker.services.inputs import InputReader, Inputs, Limits

log = structlog.get_logger(__name__)

PARALLEL_ORDERS = POOL_SIZE


@dataclass(frozen=True, slots=True)
class Looked:
    """One symbol after a look: target, verdict, and the gateway's reply to a trade."""

    target: Target
    verdict: Verdict
    reply: GatewayReply | None = None

    @property
    def symbol(self) -> str:
        return self.verdict.symbol

    @property
    def order(self) -> PlannedOrder | None:
        """The order to ask for, if there is one."""
        if self.verdict.decision is not Decision.TRADE or self.verdict.plan is None:
            return None
        return self.verdict.plan.orders[0]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one look saw, decided and did."""

    inputs: Inputs
    looked: tuple[Looked, ...]


class Reconciler:
    """The use case; ``request_reading`` asks for a new local reading of the account."""

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        inputs: InputReader,
        gateway: GatewayClient,
        request_reading: Callable[[], None],
    ) -> None:
        self._limits = Limits.of(settings)
        self._engine = engine
        self._inputs = inputs
        self._gateway = gateway
        self._request_reading = request_reading

    def close(self) -> None:
        """Let the connections to the gateway go."""
        self._gateway.close()

    def look(self) -> Report:
        """Gather and decide; nothing is written or sent."""
        inputs = self._inputs.gather()
        wanted = targets(inputs.account_value, inputs.demands, self._limits.target)
        looked = tuple(
            Looked(wanted[symbol], self._verdict(inputs, wanted[symbol]))
            for symbol in inputs.symbols
        )
        return Report(inputs, looked)

    def _verdict(self, inputs: Inputs, target: Target) -> Verdict:
        symbol = target.symbol
        verdict = decide(
            target,
            inputs.quorum[symbol],
            inputs.prices[symbol],
            inputs.executions[symbol],
            inputs.filters[symbol],
            inputs.pauses.get(symbol) or inputs.halting.get(symbol, ""),
        )
        if symbol not in inputs.leaving:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; it is not configured any more")

    def reconcile(self) -> Report:
        """One look and its orders: reasons first, then closes, then what may be opened."""
        report = self.look()
        self._write(report.inputs, report.looked)
        closes = self._send(report.inputs, [x for x in report.looked if _closes(x)])
        opens = self._within_cap(report.inputs, report.looked, closes)
        sent = self._send(report.inputs, [x for x in opens if x.order is not None])
        done = {x.symbol: x for x in (*opens, *sent, *closes)}
        self._complete(report.inputs, done.values())
        looked = tuple(done.get(x.symbol, x) for x in report.looked)
        self._after(report.inputs, looked)
        return Report(report.inputs, looked)

    def _within_cap(
        self, inputs: Inputs, looked: Sequence[Looked], closes: Sequence[Looked]
    ) -> list[Looked]:
        """The opening orders, largest first; what the total cap has no room for waits."""
        opens = [x for x in looked if x.order is not None and not _closes(x)]
        if not opens or not isinstance(inputs.balance, Known):
            return []
        account = inputs.balance.value
        limit_usd = account.account_value * self._limits.target.max_symbol_exposure
        closed = {x.symbol: _closed_usd(x, inputs) for x in closes}
        held = [
            max(
                worst_usd(inputs.quorum[s], inputs.prices[s], limit_usd) - closed.get(s, 0),
                Decimal(0),
            )
            for s in inputs.symbols
        ]
        reported = account.total_notional - sum(closed.values(), Decimal(0))
        room = room_usd(
            account.account_value, self._limits.target.max_total_exposure, held, reported
        )
        allowed: list[Looked] = []
        for x in sorted(opens, key=lambda x: _opened_usd(x, inputs), reverse=True):
            notional = _opened_usd(x, inputs)
            if notional <= room:
                room -= notional
                allowed.append(x)
                continue
            reason = (
                f"opening {notional:.2f} USD would exceed max_total_exposure; "
                f"there is room for {room:.2f} USD"
            )
            held_back = replace(x.verdict, decision=Decision.WAIT, reason=reason, intent_id=None)
            allowed.append(replace(x, verdict=held_back))
        return allowed

    def _send(self, inputs: Inputs, looked: Sequence[Looked]) -> list[Looked]:
        if not looked:
            return []
        with ThreadPoolExecutor(max_workers=min(PARALLEL_ORDERS, len(looked))) as pool:
            # each order carries on the trace of this look
            asked = [pool.submit(copy_context().run, self._ask, inputs, x) for x in looked]
            return [answer.result() for answer in asked]

    def _ask(self, inputs: Inputs, looked: Looked) -> Looked:
        order, name = looked.order, looked.verdict.intent_id
        execution = inputs.executions[looked.symbol]
        if order is None or name is None or not isinstance(execution, Known):
            raise AssertionError(f"{looked.symbol} has no order to ask for")
        reply = self._gateway.execute(name, looked.symbol, execution.value.plan_epoch, order)
        level = log.info if reply.outcome is Outcome.ACCEPTED else log.warning
        level(
            "order_asked_for",
            intent_id=name,
            symbol=looked.symbol,
            side=order.side,
            size=str(order.size),
            outcome=reply.outcome.value,
            state=reply.state,
        )
        return replace(looked, reply=reply)

    def _write(self, inputs: Inputs, looked: Iterable[Looked]) -> None:
        seen = list(looked)
        entries = [self._entry(inputs, x) for x in seen]
        held = [x.verdict for x in seen if x.verdict.held_before and x.symbol not in inputs.pauses]

        def write() -> None:
            with UnitOfWork(self._engine) as uow:
                ReconciliationLog(uow.conn).add(entries)
                for verdict in held:
                    self._halt(uow.conn, verdict.symbol, verdict.reason, inputs.at_ms)
                recounted = {s: inputs.refusals[s] for s in inputs.recounted}
                RefusalStore(uow.conn).save(recounted, inputs.at_ms)
                for symbol, reason in inputs.halting.items():
                    self._halt(uow.conn, symbol, reason, inputs.at_ms)
                uow.commit()

        retry_deadlocks(write)

    def _complete(self, inputs: Inputs, looked: Collection[Looked]) -> None:
        entries = [self._entry(inputs, x) for x in looked]

        refusals = {
            x.symbol: after(
                inputs.refusals[x.symbol],
                x.reply.step,
                inputs.at_ms,
                x.reply.said,
                x.verdict.intent_id if x.reply.has_ended else None,
            )
            for x in looked
            if x.reply is not None
        }
        changed = {s: r for s, r in refusals.items() if r != inputs.refusals[s]}
        halted = [s for s, r in changed.items() if r.halts and s not in inputs.pauses]

        def write() -> None:
            with UnitOfWork(self._engine) as uow:
                ReconciliationLog(uow.conn).complete(entries)
                RefusalStore(uow.conn).save(changed, inputs.at_ms)
                for symbol in halted:
                    self._halt(uow.conn, symbol, changed[symbol].why, inputs.at_ms)
                uow.commit()

        if entries:
            retry_deadlocks(write)

    def _halt(self, conn: Connection, symbol: str, reason: str, now_ms: int) -> None:
        """Stop opening orders of a symbol until a person resumes it."""
        RiskStateStore(conn).set_pause(symbol, True, now_ms, reason=reason, actor="reconciliation")
        log.error("symbol_halted", symbol=symbol, reason=reason)

    def _entry(self, inputs: Inputs, x: Looked) -> WhyEntry:
        plan = x.verdict.plan
        return WhyEntry(
            at_ms=inputs.at_ms,
            symbol=x.symbol,
            decision=x.verdict.decision.value,
            intent_id=x.verdict.intent_id,
            gap_usd=None if plan is None else float(plan.gap_usd),
            detail=why.detail(inputs, x.target, x.verdict, x.reply),
        )

    def _after(self, inputs: Inputs, looked: Sequence[Looked]) -> None:
        for x in looked:
            instruments.record_decision(x.symbol, x.verdict.decision.value)
            consensus = inputs.quorum[x.symbol]
            for vote in consensus.votes:
                instruments.record_vote(vote.voter, _vote(consensus, vote.voter))
        if inputs.needs_reading or any(x.reply is not None for x in looked):
            self._request_reading()


def _vote(consensus: Consensus, voter: str) -> str:
    if voter in consensus.backers:
        return "backed"
    return "differed" if voter in consensus.dissenters else "abstained"


def _closes(x: Looked) -> bool:
    return x.order is not None and x.order.reduce_only


def _opened_usd(x: Looked, inputs: Inputs) -> Decimal:
    price = inputs.prices[x.symbol]
    if x.order is None or not isinstance(price, Known):
        return Decimal(0)
    return x.order.size * price.value


def _closed_usd(x: Looked, inputs: Inputs) -> Decimal:
    """Notional that a close has taken off by the gateway's word; 0 unless it has filled."""
    if x.reply is None or x.reply.state not in ("FILLED", "PARTIAL"):
        return Decimal(0)
    filled = Decimal(str(x.reply.body.get("filled_size", "0")))
    price = inputs.prices[x.symbol]
    return filled * price.value if isinstance(price, Known) else Decimal(0)
