"""Quorum: who agrees with whom, and what is Known, by scenario and by property."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.observation import Known, Unknown
from shared.reconciliation.consensus import (
    Absence,
    Ballot,
    Consensus,
    ConsensusRules,
    RecordedFill,
    Snapshot,
    agree,
    dex_of,
)

NOW = 1_000_000
RULES = ConsensusRules(max_skew_ms=2_000, max_age_ms=10_000)


def snapshot(voter: str, size: str | None, venue_ms: int = NOW - 500, dex: str = "") -> Snapshot:
    positions = {} if size is None else {"BTC": Decimal(size)}
    return Snapshot(voter, venue_ms, frozenset({dex}), positions)


def ask(*ballots: Ballot, fills: tuple[RecordedFill, ...] = (), settled_ms: int = 0) -> Consensus:
    return agree("BTC", ballots, fills, settled_ms, RULES, NOW)


def test_three_equal_readings_are_known() -> None:
    found = ask(snapshot("local", "1.5"), snapshot("a", "1.50"), snapshot("b", "1.500"))
    assert found.position == Known(Decimal("1.5"), NOW - 500)
    assert set(found.backers) == {"local", "a", "b"}
    assert found.dissenters == ()


def test_a_lying_voter_is_outvoted_and_named() -> None:
    found = ask(snapshot("local", "1"), snapshot("liar", "-7"), snapshot("b", "1"))
    assert found.position == Known(Decimal(1), NOW - 500)
    assert found.dissenters == ("liar",)


def test_a_dead_voter_leaves_a_majority_of_the_configured() -> None:
    found = ask(snapshot("local", "1"), Absence("dead", "no answer in 2 s"), snapshot("b", "1"))
    assert found.position == Known(Decimal(1), NOW - 500)


def test_two_dead_voters_leave_none() -> None:
    found = ask(snapshot("local", "1"), Absence("a", "refused"), Absence("b", "refused"))
    assert isinstance(found.position, Unknown)
    assert "no value has 2 of 3 voters" in found.position.reason
    assert "refused" in found.position.reason


def test_a_majority_is_of_all_configured_voters_not_of_those_that_answer() -> None:
    absent = [Absence(str(n), "dead") for n in range(2)]
    found = ask(snapshot("local", "1"), snapshot("b", "1"), *absent)
    assert isinstance(found.position, Unknown)


def test_a_single_configured_voter_is_never_enough() -> None:
    assert isinstance(ask(snapshot("local", "1")).position, Unknown)


def test_two_voters_that_differ_are_unknown() -> None:
    assert isinstance(ask(snapshot("local", "1"), snapshot("a", "1.00001")).position, Unknown)


def test_a_lagging_voter_that_is_too_far_behind_does_not_agree() -> None:
    late = snapshot("a", "1", NOW - 500 - RULES.max_skew_ms - 1)
    assert isinstance(ask(snapshot("local", "1"), late).position, Unknown)
    near = snapshot("a", "1", NOW - 500 - RULES.max_skew_ms)
    assert isinstance(ask(snapshot("local", "1"), near).position, Known)


def test_an_old_snapshot_abstains() -> None:
    old = snapshot("a", "1", NOW - RULES.max_age_ms - 1)
    found = ask(snapshot("local", "1"), old)
    assert isinstance(found.position, Unknown)
    assert "old" in found.votes[1].reason


def test_a_snapshot_from_the_future_abstains() -> None:
    ahead = snapshot("a", "1", NOW + RULES.max_age_ms + 1)
    assert ask(snapshot("local", "1"), ahead).votes[1].size is None


def test_an_absent_coin_is_flat_in_a_reply_that_covers_its_dex() -> None:
    found = ask(snapshot("local", None), snapshot("a", None))
    assert found.position == Known(Decimal(0), NOW - 500)


def test_an_absent_coin_is_not_flat_where_its_dex_was_not_read() -> None:
    found = ask(snapshot("local", None), snapshot("a", None, dex="xyz"))
    assert isinstance(found.position, Unknown)
    assert "does not cover" in found.votes[1].reason


def test_readings_before_the_last_fill_do_not_agree_by_being_equal() -> None:
    found = ask(snapshot("local", "1"), snapshot("a", "1"), settled_ms=NOW - 500)
    assert isinstance(found.position, Unknown)
    assert found.lagging == ("local", "a")


def test_an_earlier_reading_plus_the_recorded_fills_agrees_with_a_later_one() -> None:
    fill = RecordedFill(NOW - 800, Decimal("0.5"))
    found = ask(
        snapshot("local", "1", NOW - 1_000),
        snapshot("a", "1.5", NOW - 500),
        fills=(fill,),
        settled_ms=fill.time_ms,
    )
    assert found.position == Known(Decimal("1.5"), NOW - 500)
    assert found.lagging == ("local",)


def test_a_change_that_no_recorded_fill_explains_is_unknown() -> None:
    fill = RecordedFill(NOW - 800, Decimal("0.4"))
    found = ask(
        snapshot("local", "1", NOW - 1_000),
        snapshot("a", "1.5", NOW - 500),
        fills=(fill,),
        settled_ms=fill.time_ms,
    )
    assert isinstance(found.position, Unknown)


def test_one_route_cannot_vote_twice() -> None:
    with pytest.raises(ValueError, match="votes twice"):
        ask(snapshot("a", "1"), snapshot("a", "1"))


@pytest.mark.parametrize(("symbol", "dex"), [("BTC", ""), ("xyz:XYZ100", "xyz")])
def test_dex_of_a_symbol(symbol: str, dex: str) -> None:
    assert dex_of(symbol) == dex


SIZES = st.sampled_from([Decimal(-1), Decimal(0), Decimal(1), Decimal("1.5")])
TIMES = st.integers(NOW - 15_000, NOW + 100)
BALLOTS = st.lists(
    st.one_of(
        st.none(),
        st.tuples(SIZES, TIMES),
    ),
    min_size=1,
    max_size=7,
)
FILLS = st.lists(st.tuples(TIMES, SIZES.filter(bool)), max_size=3)


@given(BALLOTS, FILLS, st.randoms(use_true_random=False))
def test_known_needs_a_strict_majority_and_does_not_depend_on_the_order(
    cast: list[tuple[Decimal, int] | None], moved: list[tuple[int, Decimal]], random: object
) -> None:
    ballots: list[Ballot] = [
        Absence(f"v{n}", "dead")
        if said is None
        else Snapshot(f"v{n}", said[1], frozenset({""}), {"BTC": said[0]})
        for n, said in enumerate(cast)
    ]
    fills = tuple(RecordedFill(time_ms, size) for time_ms, size in moved)
    settled_ms = max((f.time_ms for f in fills), default=0)
    found = agree("BTC", ballots, fills, settled_ms, RULES, NOW)
    shuffled = list(ballots)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = agree("BTC", shuffled, fills, settled_ms, RULES, NOW)
    assert again.position == found.position or isinstance(found.position, Unknown)
    assert isinstance(again.position, Known) == isinstance(found.position, Known)
    if not isinstance(found.position, Known):
        return
    assert len(found.backers) >= 2
    assert 2 * len(found.backers) > len(ballots)
    said = {b.voter: b for b in ballots if isinstance(b, Snapshot)}
    for voter in found.backers:
        ballot = said[voter]
        between = sum(
            (
                f.signed_size
                for f in fills
                if ballot.venue_ms < f.time_ms <= found.position.as_of_ms
            ),
            Decimal(0),
        )
        assert ballot.positions["BTC"] + between == found.position.value


@given(st.integers(3, 9), st.data())
def test_a_minority_of_liars_never_moves_the_position(voters: int, data: st.DataObject) -> None:
    liars = data.draw(st.integers(0, (voters - 1) // 2))
    lies = data.draw(st.lists(SIZES, min_size=liars, max_size=liars))
    ballots: list[Ballot] = [snapshot(f"h{n}", "0.25") for n in range(voters - liars)]
    ballots += [snapshot(f"l{n}", str(lie)) for n, lie in enumerate(lies)]
    assert ask(*ballots).position == Known(Decimal("0.25"), NOW - 500)
