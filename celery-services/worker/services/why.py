"""Why a symbol was traded or not, as plain JSON and as text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from opentelemetry import trace

from shared.exchange.precision import plain
from shared.observation import Known, Observation, Stale
from shared.reconciliation.consensus import Absence, Ballot, Consensus
from shared.reconciliation.intents import Execution, Verdict
from shared.reconciliation.plan import Plan
from shared.reconciliation.target import Demand, Target
from worker.services.gateway_client import GatewayReply
from worker.services.inputs import Inputs


def detail(
    inputs: Inputs, target: Target, verdict: Verdict, reply: GatewayReply | None
) -> dict[str, Any]:
    """Everything that led to a verdict: amounts as decimal strings, times UTC ms."""
    symbol = verdict.symbol
    return {
        "reason": verdict.reason,
        "balance_usd": _observed(inputs.account_value, _number),
        "runs": _observed(inputs.demands[symbol], _demand),
        "target": _target(target),
        "quorum": _quorum(inputs.quorum[symbol]),
        "voters": [_voter(ballot) for ballot in inputs.ballots],
        "price_usd": _observed(inputs.prices[symbol], _number),
        "orders": _observed(inputs.executions[symbol], _execution),
        "pause": inputs.pauses.get(symbol),
        "refusals": inputs.refusals[symbol].count,
        "plan": None if verdict.plan is None else _plan(verdict.plan),
        "reply": None
        if reply is None
        else {"outcome": reply.outcome.value, "status": reply.status, "body": dict(reply.body)},
        "trace_id": _trace_id(),
    }


def _observed(observation: Observation[Any], show: Any) -> dict[str, Any]:
    if isinstance(observation, Known | Stale):
        return {
            "status": type(observation).__name__,
            "value": show(observation.value),
            "as_of_ms": observation.as_of_ms,
        }
    return {"status": "Unknown", "reason": observation.reason}


def _number(value: Decimal) -> str:
    return plain(value)


def _demand(value: Demand) -> dict[str, Any]:
    return {
        "weighted_direction": value.weighted_direction,
        "cohort_factor": value.factor,
        "active": value.active_runs,
        "qualifying": value.qualifying_runs,
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "wanted_usd": None if target.wanted_usd is None else _usd(target.wanted_usd),
        "run_count": target.run_count,
        "notional_usd": _observed(target.notional, _usd),
        "clamps": [
            {"rule": c.rule, "before_usd": _usd(c.before_usd), "after_usd": _usd(c.after_usd)}
            for c in target.clamps
        ],
    }


def _quorum(consensus: Consensus) -> dict[str, Any]:
    return {
        "position": _observed(consensus.position, _number),
        "backers": list(consensus.backers),
        "dissenters": list(consensus.dissenters),
        "lagging": list(consensus.lagging),
        "votes": [
            {
                "voter": v.voter,
                "size": None if v.size is None else plain(v.size),
                "venue_ms": v.venue_ms,
                "reason": v.reason,
            }
            for v in consensus.votes
        ],
    }


def _voter(ballot: Ballot) -> dict[str, Any]:
    if isinstance(ballot, Absence):
        return {"voter": ballot.voter, "absent": ballot.reason}
    return {"voter": ballot.voter, "venue_ms": ballot.venue_ms, "dexes": sorted(ballot.dexes)}


def _execution(value: Execution) -> dict[str, Any]:
    return {
        "plan_epoch": value.plan_epoch,
        "open_intent": value.open_intent,
        "settled_ms": value.settled_ms,
        "unrecorded": value.unrecorded,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "move": plan.move.value,
        "actual": plain(plan.actual),
        "target_size": plain(plan.target_size),
        "gap_usd": _usd(plan.gap_usd),
        "orders": [
            {
                "leg": order.leg,
                "side": order.side,
                "size": plain(order.size),
                "reduce_only": order.reduce_only,
            }
            for order in plan.orders
        ],
    }


def _usd(value: Decimal) -> str:
    return f"{value:.4f}"


def _trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None
