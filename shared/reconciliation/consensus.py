"""What the account holds, as a strict majority of independent readings of it.

A voter is a place from which the account is read: the local table or an observer on its own
route. Each hands in one complete snapshot with the venue's own time, or nothing. Two readings
of a symbol agree when

- their sizes are equal, both were taken after the symbol's last fill or resolution, and their
  venue times lie within ``max_skew_ms`` of each other; or
- fills are recorded between their two times, and the earlier size plus those fills is the later
  size.

A position is ``Known`` only where one value is backed by more than half of **all** configured
voters, and by at least two. A coin that a reply does not list is flat only if the reply covers
the coin's dex. Everything else is ``Unknown``, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from shared.observation import Known, Observation, Unknown

MIN_BACKERS = 2
LOCAL_VOTER = "local"
"""The voter whose snapshot is the account table itself."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One complete reading of the account.

    ``dexes`` are the dexes it covers (``""`` is the venue's own), ``positions`` signed sizes
    in coins by symbol, ``venue_ms`` the venue's time of the oldest part.
    """

    voter: str
    venue_ms: int
    dexes: frozenset[str]
    positions: Mapping[str, Decimal]

    @classmethod
    def read_at(
        cls,
        voter: str,
        venue_ms: int,
        read_ms: int,
        dexes: frozenset[str],
        positions: Mapping[str, Decimal],
    ) -> Snapshot:
        """A reading that was complete at ``read_ms`` by its reader's clock.

        It counts as no newer than that: a venue whose clock ran ahead for a while would otherwise
        make readings from before a fill look later than the fill.
        """
        return cls(voter, min(venue_ms, read_ms), dexes, positions)


@dataclass(frozen=True, slots=True)
class Absence:
    """A configured voter without a usable snapshot, and why."""

    voter: str
    reason: str


Ballot: TypeAlias = Snapshot | Absence


@dataclass(frozen=True, slots=True)
class RecordedFill:
    """A fill of the account as the venue reported it; ``signed_size`` > 0 is a buy."""

    time_ms: int
    signed_size: Decimal


@dataclass(frozen=True, slots=True)
class ConsensusRules:
    """``max_skew_ms``: largest distance between two agreeing venue times without a fill between
    them; ``max_age_ms``: largest distance between a snapshot's venue time and now."""

    max_skew_ms: int
    max_age_ms: int


@dataclass(frozen=True, slots=True)
class Vote:
    """What one voter said of one symbol. ``size`` is None where it abstains, with a reason."""

    voter: str
    size: Decimal | None
    venue_ms: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Consensus:
    """The outcome for one symbol.

    ``position`` is the signed size in coins as of the newest backing snapshot; ``backers`` the
    voters behind it; ``dissenters`` those who read something else; ``lagging`` those whose
    snapshot is not later than the symbol's last fill or resolution.
    """

    symbol: str
    position: Observation[Decimal]
    votes: tuple[Vote, ...]
    backers: tuple[str, ...]
    dissenters: tuple[str, ...]
    lagging: tuple[str, ...]


def dex_of(symbol: str) -> str:
    """The dex that lists a coin: the prefix of ``dex:COIN``, ``""`` for the venue's own."""
    dex, separator, _ = symbol.partition(":")
    return dex if separator else ""


def agree(
    symbol: str,
    ballots: Sequence[Ballot],
    fills: Iterable[RecordedFill],
    settled_ms: int,
    rules: ConsensusRules,
    now_ms: int,
) -> Consensus:
    """The position that a majority of the configured voters stands behind.

    ``ballots`` holds exactly one entry per configured voter; a voter that appears twice is a
    ``ValueError``, because one route must not count as two. ``fills`` are the symbol's recorded
    fills, back to the oldest snapshot. ``settled_ms`` is the time of the symbol's last fill or
    resolution, 0 if there was none.
    """
    names = [ballot.voter for ballot in ballots]
    if len(names) != len(set(names)):
        raise ValueError(f"a voter votes twice: {sorted(names)}")
    recorded = tuple(fills)
    votes = tuple(_vote(symbol, ballot, rules, now_ms) for ballot in ballots)
    usable = sorted(
        (
            Reading(v.voter, v.size, v.venue_ms)
            for v in votes
            if v.size is not None and v.venue_ms is not None
        ),
        key=lambda reading: reading.venue_ms,
    )
    backers = _majority(usable, len(ballots), recorded, settled_ms, rules.max_skew_ms)
    names_backing = tuple(reading.voter for reading in backers)
    position: Observation[Decimal]
    if backers:
        position = Known(backers[-1].size, backers[-1].venue_ms)
    else:
        position = Unknown(_why_none(votes, len(ballots), settled_ms))
    return Consensus(
        symbol=symbol,
        position=position,
        votes=votes,
        backers=names_backing,
        dissenters=tuple(r.voter for r in usable if backers and r.voter not in names_backing),
        lagging=tuple(r.voter for r in usable if r.venue_ms <= settled_ms),
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """A vote that counts: a size and the venue's time of it."""

    voter: str
    size: Decimal
    venue_ms: int


def _vote(symbol: str, ballot: Ballot, rules: ConsensusRules, now_ms: int) -> Vote:
    if isinstance(ballot, Absence):
        return Vote(ballot.voter, None, None, ballot.reason)
    age_ms = now_ms - ballot.venue_ms
    if abs(age_ms) > rules.max_age_ms:
        reason = f"its snapshot is {age_ms} ms old, allowed are {rules.max_age_ms}"
        return Vote(ballot.voter, None, ballot.venue_ms, reason)
    if dex_of(symbol) not in ballot.dexes:
        reason = f"its snapshot does not cover dex {dex_of(symbol)!r}"
        return Vote(ballot.voter, None, ballot.venue_ms, reason)
    return Vote(ballot.voter, ballot.positions.get(symbol, Decimal(0)), ballot.venue_ms)


def _majority(
    usable: Sequence[Reading],
    voters: int,
    fills: tuple[RecordedFill, ...],
    settled_ms: int,
    max_skew_ms: int,
) -> tuple[Reading, ...]:
    """The newest reading that enough others agree with, and those others, oldest first.

    Two different majorities would share a voter, hence follow from each other by the recorded
    fills; so the newest one is the only value.
    """
    needed = max(MIN_BACKERS, voters // 2 + 1)
    for last in range(len(usable) - 1, -1, -1):
        anchor = usable[last]
        backers = tuple(
            reading
            for reading in usable[: last + 1]
            if reading is anchor or _agrees(reading, anchor, fills, settled_ms, max_skew_ms)
        )
        if len(backers) >= needed:
            return backers
    return ()


def _agrees(
    early: Reading,
    late: Reading,
    fills: tuple[RecordedFill, ...],
    settled_ms: int,
    max_skew_ms: int,
) -> bool:
    if early.venue_ms > settled_ms:
        return early.size == late.size and late.venue_ms - early.venue_ms <= max_skew_ms
    between = [f for f in fills if early.venue_ms < f.time_ms <= late.venue_ms]
    if not between:
        return False
    return early.size + sum((f.signed_size for f in between), Decimal(0)) == late.size


def _why_none(votes: tuple[Vote, ...], voters: int, settled_ms: int) -> str:
    needed = max(MIN_BACKERS, voters // 2 + 1)
    said = "; ".join(
        f"{v.voter}: {v.size} at {v.venue_ms}" if v.size is not None else f"{v.voter}: {v.reason}"
        for v in votes
    )
    since = f" later than {settled_ms}" if settled_ms else ""
    return f"no value has {needed} of {voters} voters{since} ({said})"
