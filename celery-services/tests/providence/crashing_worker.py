"""A worker process for tests that kills itself at a named point: POINT SHARD TICK [TICK ...]."""

from __future__ import annotations

import os
import signal
import sys

from shared.storage import shards
from worker import wiring


def die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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
    for tick in ticks:
        service.run(int(shard_id), int(tick))


main()
