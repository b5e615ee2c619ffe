"""Lost or suspect records, rebuilt from MariaDB; and the proof that journal and record agree.

A run's newest checkpoint, stepped again through the stored ticks under the configuration of each,
gives the record that was lost, to the bit. Replaying a run's whole journal into the ledger it was
born with gives the same account, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.ports import RunIds, RunStore
from shared.providence.codes import Status
from shared.providence.ledger import replay
from shared.providence.run_state import LEDGER_FIELDS, Records
from worker.services.stepping import Needs, Stepper


class RebuildError(RuntimeError):
    """A record cannot be rebuilt: its checkpoint, or a tick it was stepped through, is gone."""


def restep(checkpoints: Records, run_ids: RunIds, until_tick: int, stepper: Stepper) -> Records:
    """Records of ``run_ids`` (rising) at ``until_tick`` from their checkpoints at or before it.

    Raises
    ------
    RebuildError
        If a run has no checkpoint, or the ticks up to ``until_tick`` are no longer stored.
    """
    missing = np.setdiff1d(run_ids, checkpoints["run_id"])
    if len(missing):
        raise RebuildError(f"runs {_some(missing)} have no checkpoint up to tick {until_tick}")
    order = np.argsort(checkpoints["tick"], kind="stable")
    records = checkpoints[order].copy()
    active = records["status"] == Status.ACTIVE
    if active.any():
        first = int(records["tick"][active].min())
        for frames in stepper.frames(Needs.of(records), first, until_tick):
            stepper.advance(records, frames)
    records = records[np.argsort(records["run_id"], kind="stable")]
    behind = (records["status"] == Status.ACTIVE) & (records["tick"] != until_tick)
    if behind.any():
        raise RebuildError(
            f"runs {_some(records['run_id'][behind])} cannot be stepped to tick {until_tick}: "
            "it is not among the stored tick inputs"
        )
    return records


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A number of a run's record that its journal does not give."""

    run_id: int
    field: str
    recorded: float
    replayed: float


def verify(records: Records, runs: RunStore) -> list[Discrepancy]:
    """Replay each run's whole journal into the ledger it was born with; what differs in any bit.

    ``records`` are committed states, such as checkpoints; later fills are left out.
    """
    records = records[np.argsort(records["run_id"])]
    births = {int(birth["run_id"]): birth for birth in runs.births(records["run_id"])}
    journal = runs.fills(records["run_id"])
    found = []
    for record in records:
        run_id = int(record["run_id"])
        if run_id not in births:
            raise RebuildError(f"run {run_id} has no record of its birth")
        own = journal[(journal["run_id"] == run_id) & (journal["tick"] <= record["tick"])]
        replayed = replay(
            own, births[run_id], float(record["last_price"]), float(record["last_funding_index"])
        )
        found += [
            Discrepancy(run_id, field, float(record[field]), float(replayed[field]))
            for field in LEDGER_FIELDS
            if record[field].tobytes() != replayed[field].tobytes()
        ]
    return found


def _some(run_ids: RunIds) -> str:
    shown = ", ".join(str(run_id) for run_id in run_ids[:5].tolist())
    return shown if len(run_ids) <= 5 else f"{shown} and {len(run_ids) - 5} more"
