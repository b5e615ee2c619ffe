"""When an epoch of the account ends: pure, over one complete reading after the other.

The baseline of an epoch is the median of its first readings. Growth over it ends the epoch with
a take profit; a fall from the peak ends it with a drawdown reset. Either has to show in two
readings one after the other, so that one odd reading ends nothing. Money that comes in or goes
out shifts every number that was measured before it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

CONFIRMATIONS = 2


class EpochEnd(StrEnum):
    """How an epoch of the account ends."""

    TAKE_PROFIT = "take_profit"
    DRAWDOWN = "drawdown"


@dataclass(frozen=True, slots=True)
class EpochRules:
    """``threshold``: growth over the baseline that takes profit; ``drawdown_reset``: fall from
    the peak that resets, both as fractions; ``baseline_samples``: readings of the baseline."""

    threshold: float
    drawdown_reset: float
    baseline_samples: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A complete reading of the account: value in USD, the venue's time in ms."""

    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Flow:
    """Money into (positive) or out of the account, USD, at the venue's time in ms."""

    at_ms: int
    usd: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is remembered of the current epoch.

    ``samples`` are the readings of a baseline that is not complete; ``peak`` is the highest value
    that two readings one after the other have reached; ``last`` the newest reading of the epoch,
    ``last_ms`` the time of the newest of all; ``flows_until_ms`` the time up to which flows are
    accounted for; ``pending`` an end that has shown once and waits to be confirmed.
    """

    samples: tuple[Reading, ...] = ()
    baseline: float | None = None
    peak: Reading | None = None
    last: Reading | None = None
    last_ms: int = 0
    flows_until_ms: int = 0
    pending: EpochEnd | None = None
    pending_count: int = 0

    def needs_flows(self, reading: Reading, rules: EpochRules) -> bool:
        """Whether ``reading`` must not be judged before the flows up to it are known.

        So it is when it would complete a baseline or show an end.
        """
        completes = self.baseline is None and len(self.samples) + 1 >= rules.baseline_samples
        return completes or _shows(_observe(self, reading, rules), reading, rules) is not None


def shift(epoch: Epoch, flows: Iterable[Flow], until_ms: int) -> Epoch:
    """The epoch after flows in (``flows_until_ms``, ``until_ms``], each counted once.

    What was measured before a flow moves by it. A baseline that this leaves without a positive
    value is measured anew.
    """
    new = [f for f in flows if epoch.flows_until_ms < f.at_ms <= until_ms]

    def moved(reading: Reading) -> Reading:
        usd = sum(f.usd for f in new if reading.at_ms < f.at_ms)
        return replace(reading, value=reading.value + usd)

    baseline = None if epoch.baseline is None else epoch.baseline + sum(f.usd for f in new)
    if baseline is not None and baseline <= 0:
        return restart(epoch, until_ms)
    return replace(
        epoch,
        samples=tuple(moved(sample) for sample in epoch.samples),
        baseline=baseline,
        peak=None if epoch.peak is None else moved(epoch.peak),
        last=None if epoch.last is None else moved(epoch.last),
        flows_until_ms=until_ms,
    )


def restart(epoch: Epoch, flows_until_ms: int) -> Epoch:
    """A new epoch: nothing measured yet, nothing read twice."""
    return Epoch(last_ms=epoch.last_ms, flows_until_ms=flows_until_ms)


def advance(epoch: Epoch, reading: Reading, rules: EpochRules) -> tuple[Epoch, EpochEnd | None]:
    """The epoch after one reading, and how it ended if it did; then the epoch is a new one.

    A reading that is not newer than the last one changes nothing.
    """
    if reading.at_ms <= epoch.last_ms:
        return epoch, None
    if epoch.last_ms == 0:
        epoch = replace(epoch, flows_until_ms=reading.at_ms)
    after = replace(_observe(epoch, reading, rules), last_ms=reading.at_ms)
    shown = _shows(after, reading, rules)
    if shown is None:
        return replace(after, pending=None, pending_count=0), None
    count = epoch.pending_count + 1 if shown is epoch.pending else 1
    if count < CONFIRMATIONS:
        return replace(after, pending=shown, pending_count=count), None
    return restart(after, after.flows_until_ms), shown


def advance_through(
    epoch: Epoch, at_ms: NDArray[np.int64], values: NDArray[np.float64], rules: EpochRules
) -> tuple[Epoch, EpochEnd | None, int]:
    """``advance`` over one reading after the other until an epoch ends, or to the last.

    ``at_ms`` rise beyond ``epoch.last_ms``. Returns the epoch, how it ended, and the number of
    readings taken; the readings after an end are the next epoch's.
    """
    times, readings = at_ms.tolist(), values.tolist()
    taken = 0
    while taken < len(readings):
        epoch, taken = _skip(epoch, times, readings, taken, rules)
        if taken == len(readings):
            break
        epoch, end = advance(epoch, Reading(times[taken], readings[taken]), rules)
        taken += 1
        if end is not None:
            return epoch, end, taken
    return epoch, None, taken


def _skip(
    epoch: Epoch, times: list[int], readings: list[float], first: int, rules: EpochRules
) -> tuple[Epoch, int]:
    """The epoch after the readings from ``first`` on that show no end, and the one that does.

    None are skipped where each has to be looked at: while a baseline or an end is under way.
    """
    last, peak = epoch.last, epoch.peak
    if epoch.baseline is None or peak is None or last is None or epoch.pending is not None:
        return epoch, first
    gain, kept = epoch.baseline * (1 + rules.threshold), 1 - rules.drawdown_reset
    before_ms, before, highest_ms, highest = last.at_ms, last.value, peak.at_ms, peak.value
    taken = first
    while taken < len(readings):
        now_ms, now = times[taken], readings[taken]
        reached = min(before, now)
        higher = reached > highest
        if now >= gain or now <= (reached if higher else highest) * kept:
            break
        if higher:
            highest_ms, highest = now_ms if now < before else before_ms, reached
        before_ms, before = now_ms, now
        taken += 1
    if taken == first:
        return epoch, first
    if highest > peak.value:
        peak = Reading(highest_ms, highest)
    last = Reading(before_ms, before)
    after = Epoch((), epoch.baseline, peak, last, before_ms, epoch.flows_until_ms)
    return after, taken


def _observe(epoch: Epoch, reading: Reading, rules: EpochRules) -> Epoch:
    peak = epoch.peak
    if epoch.last is not None:
        reached = min(epoch.last, reading, key=lambda r: r.value)
        if peak is None or reached.value > peak.value:
            peak = reached
    epoch = replace(epoch, peak=peak, last=reading)
    if epoch.baseline is not None:
        return epoch
    samples = (*epoch.samples, reading)
    if len(samples) < rules.baseline_samples:
        return replace(epoch, samples=samples)
    baseline = statistics.median(s.value for s in samples)
    if baseline <= 0:
        return restart(epoch, epoch.flows_until_ms)
    return replace(epoch, samples=(), baseline=baseline)


def _shows(epoch: Epoch, reading: Reading, rules: EpochRules) -> EpochEnd | None:
    if epoch.baseline is None or epoch.peak is None:
        return None
    if reading.value >= epoch.baseline * (1 + rules.threshold):
        return EpochEnd.TAKE_PROFIT
    if reading.value <= epoch.peak.value * (1 - rules.drawdown_reset):
        return EpochEnd.DRAWDOWN
    return None
