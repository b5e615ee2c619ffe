"""How long the work under way may still wait: a deadline that whoever waits can ask for.

A task is delivered a second time when it is not done within the broker's visibility timeout. So
each task opens a budget below that, and what may take long on its way looks at what is left: reads
of the venue and their repetitions, waits for the request budget, catching up, archiving. Without a
budget there is no end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ends_at: ContextVar[float] = ContextVar("time_budget", default=math.inf)


@contextmanager
def within(secs: float) -> Iterator[None]:
    """Give the work of the block ``secs`` seconds; a budget inside another never lengthens it."""
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + secs))
    try:
        yield
    finally:
        _ends_at.reset(token)


def left_secs() -> float:
    """Seconds left, 0 when they are used up; infinite without a budget."""
    return max(0.0, _ends_at.get() - time.monotonic())


def is_spent() -> bool:
    """Whether no time is left."""
    return left_secs() == 0.0


def shared(work: Callable[P, T]) -> Callable[P, T]:
    """``work`` for another thread, under the budget of this one."""
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(work, *args, **kwargs)

    return run
