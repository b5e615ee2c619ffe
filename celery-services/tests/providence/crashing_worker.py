"""A worker process for tests that kills itself at a named point: POINT SHARD TICK [TICK ...].

At ``inside_birth`` it gives birth to ten runs in the shard instead of stepping it.
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

from shared.storage import checkpoints, shards
from shared.testing.run_world import RunWorld
from worker import wiring
from worker.services import iteration


def die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def give_birth(world: RunWorld, shard_id: int) -> None:
    wiring.get().runs.spawn(
        world.newborns(10),
        np.full(10, shard_id, dtype=np.int32),
        {p: s for s, p in world.product_ids.items()},
        desired=1_000,
        tick_ms=world.start_ms,
        interval_ms=world.interval_ms,
        now_ms=world.start_ms,
    )


def main() -> None:
    point, shard_id, *ticks = sys.argv[1:]
    service = wiring.get().iterations
    if point == "before_commit":
        service._runs.commit_iteration = die
    elif point == "inside_commit":
        advance = shards.advance
        shards.advance = lambda conn, commit: (advance(conn, commit), die())
    elif point == "after_commit":
        service._states.save = die
    elif point == "inside_rebuild":
        iteration.restep = die
    elif point == "inside_birth":
        checkpoints.insert = die  # the rows are there, their records are not
        give_birth(RunWorld(), int(shard_id))
    for tick in ticks:
        service.run(int(shard_id), int(tick))


main()
