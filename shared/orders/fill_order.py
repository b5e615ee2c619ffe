"""The order in which fills of one millisecond happened: pure.

The venue's trade ids are hashes, so they do not tell it. What does is the position before each
fill: the position that one fill leaves is the one that the next begins with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class FillStep(NamedTuple):
    """What a fill did: from ``start`` (coins, signed) by ``size`` (signed) at ``time_ms``."""

    symbol: str
    time_ms: int
    start: Decimal
    size: Decimal


def in_order(fills: Iterable[T], step: Callable[[T], FillStep]) -> list[T]:
    """``fills`` by time, and those of one symbol and millisecond as their positions follow.

    Fills that do not follow from each other (one of them is not known) keep the order they came
    in, and a way there and back within a millisecond is entered anywhere unless an earlier fill
    tells where. Symbols do not depend on each other; within a millisecond they keep together.
    """
    ordered = sorted(fills, key=lambda fill: (step(fill).time_ms, step(fill).symbol))
    left: dict[str, Decimal] = {}
    found: list[T] = []
    for (_, symbol), group in groupby(ordered, key=lambda f: (step(f).time_ms, step(f).symbol)):
        together = list(group)
        steps = [step(fill) for fill in together]
        found += [together[n] for n in _path(steps, left.get(symbol))]
        last = step(found[-1])
        left[symbol] = last.start + last.size
    return found


def _path(steps: Sequence[FillStep], before: Decimal | None) -> list[int]:
    """Numbers of the steps so that each starts where the one before ended (Hierholzer, 1873)."""
    if len(steps) == 1:
        return [0]
    leaving: defaultdict[Decimal, list[int]] = defaultdict(list)
    for number in range(len(steps) - 1, -1, -1):
        leaving[steps[number].start].append(number)
    stack, path = [(_first(steps, before), -1)], []
    while stack:
        position, number = stack[-1]
        if leaving[position]:
            onward = leaving[position].pop()
            stack.append((steps[onward].start + steps[onward].size, onward))
        else:
            path.append(number)
            stack.pop()
    path = path[-2::-1]
    return path if len(path) == len(steps) else list(range(len(steps)))


def _first(steps: Sequence[FillStep], before: Decimal | None) -> Decimal:
    """The position they began with: left more often than reached, else ``before`` if it is one."""
    balance: defaultdict[Decimal, int] = defaultdict(int)
    for one in steps:
        balance[one.start] += 1
        balance[one.start + one.size] -= 1
    for position, surplus in balance.items():
        if surplus > 0:
            return position
    starts = [one.start for one in steps]
    return before if before is not None and before in starts else starts[0]
