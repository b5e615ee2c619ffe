"""What a run of chaos says: one JSON line, and the fault matrix as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from chaos.faults import FAULTS, Step
from chaos.runner import Outcome

INTRODUCTION = """\
# Fault matrix

Written by `make chaos MATRIX=docs/fault-matrix.md`; do not edit.

The whole platform trades on the paper exchange, with reversals every few seconds, while faults
strike it. A row is a fault, a column the step at which an order was when it struck:

| step | the order |
|---|---|
| intent | is journaled as PENDING; the transaction that makes it SENT has not committed |
| send | is SENT; the request is with the venue, which has not processed it |
| ack | is executed at the venue; the reply is not out |
| fill | is filled in the journal; its fills are not recorded |
| reconcile | is recorded; reconciliation has not seen the position it left |

Orders are held at a step from outside: a row lock in MariaDB stands for a slow commit, a delay at
the venue for a slow network. A seed is a schedule of such strikes, some of which overlap. After the
last one is over, the seed must end with every symbol **at target** (T) or **halted with an alert**
(H), and a checker goes through our journal, the reasons of reconciliation and the venue's own
ledger: no intent lost, none with two effects, every verdict true, no exposure above the cap,
nothing increased while an input was unknown, every position that a plan believed in the one its
order found, no step of a run journaled twice. A broken rule is a violation (V).

Each cell counts the strikes and how the seeds they belonged to ended. An empty cell was not struck;
`no order` counts strikes for which no order came to its step in time.

`make chaos SEEDS=38` strikes every cell but the last rows' once, `SEEDS=200` five times; Ctrl-C,
and the same command goes on where it stopped. `make chaos SEEDS=1 SEED=17` repeats one seed.
`components/tests/chaos` shows that the checker can fail: each safeguard (journal before send,
client order id, quorum, the fences of a symbol and of a shard) is taken away alone, and what it
prevented is reported.

The last rows are faults after which no machine may decide how to go on; every fifth seed ends with
one, and it must end in H: an order that someone sends with the account's key past the gateway, a
venue that refuses every order, and the kill switch, set on the command line before every process,
Redis and MariaDB are killed at once. The checker also looks for the message to people, and for
anything that could open and was sent between the lines of the audit trail that set and lift it.

What this does not reach: the clock that is skewed is the venue's, not one of ours, and the full
disk is a limit on the size of the gateway's files (`RLIMIT_FSIZE`), not of MariaDB's.
"""


def summary(outcomes: Sequence[Outcome]) -> dict[str, float | int | None]:
    """The figures of a run; percentiles by nearest rank, None if nothing recovered."""
    recovered = sorted(o.recovery_secs for o in outcomes if o.recovery_secs is not None)
    return {
        "seeds": len(outcomes),
        "faults": sum(len(o.struck) for o in outcomes),
        "orders": sum(o.orders for o in outcomes),
        "violations": sum(len(o.violations) for o in outcomes),
        "halted": sum(1 for o in outcomes if o.halts),
        "recovery_p50_s": percentile(recovered, 0.50),
        "recovery_p99_s": percentile(recovered, 0.99),
    }


def percentile(rising: Sequence[float], share: float) -> float | None:
    """By nearest rank, to a tenth; None of nothing."""
    if not rising:
        return None
    return round(rising[max(math.ceil(share * len(rising)) - 1, 0)], 1)


def coverage(outcomes: Sequence[Outcome]) -> str:
    """How much of the matrix was struck, in words."""
    struck = {
        (one.strike.step, one.strike.fault) for o in outcomes for one in o.struck if one.at_step
    }
    missed = sum(1 for o in outcomes for one in o.struck if not one.at_step)
    words = f"{len(struck)} of {len(FAULTS) * len(Step)} cells struck"
    return words + (f", {missed} strikes without an order at their step" if missed else "")


def matrix(outcomes: Sequence[Outcome]) -> str:
    """``docs/fault-matrix.md``: per fault and step how the seeds ended, and the figures."""
    secs = sorted(o.secs for o in outcomes)
    lines = [
        INTRODUCTION,
        f"`{json.dumps(summary(outcomes))}`",
        "",
        f"{coverage(outcomes)}. A seed took {percentile(secs, 0.5)} s (median).",
        "",
        "| fault | " + " | ".join(Step) + " | no order |",
        "|---|" + "---|" * (len(Step) + 1),
    ]
    for name in FAULTS:
        cells = [_cell(outcomes, name, step) for step in (*Step, None)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(outcomes: Sequence[Outcome], fault: str, step: Step | None) -> str:
    """``step`` None: struck after a vain wait for an order."""
    ends = [
        _end(outcome)
        for outcome in outcomes
        for one in outcome.struck
        if one.strike.fault == fault and (one.strike.step if one.at_step else None) == step
    ]
    return " ".join(f"{ends.count(end)}{end}" for end in "THV" if end in ends)


def _end(outcome: Outcome) -> str:
    if outcome.violations:
        return "V"
    return "H" if outcome.halts else "T"
