"""The transition table, edge by edge."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from shared.native_servers import PROJECT_ROOT
from shared.orders.states import (
    OPEN,
    TERMINAL,
    TRANSITIONS,
    IllegalTransition,
    OrderState,
    check_transition,
    transition_table,
)
from shared.storage.tables import ORDER_STATES, TERMINAL_STATES

S = OrderState
ALLOWED = {
    (S.PENDING, S.SENT),
    (S.PENDING, S.NOT_PLACED),
    *((S.SENT, after) for after in S if after not in (S.PENDING, S.SENT)),
    *(
        (S.UNKNOWN, after)
        for after in (S.RESTING, S.FILLED, S.PARTIAL, S.CANCELLED, S.REJECTED, S.NOT_PLACED)
    ),
    (S.RESTING, S.FILLED),
    (S.RESTING, S.CANCELLED),
}


@pytest.mark.parametrize(("before", "after"), list(product(S, S)))
def test_every_pair_of_states(before: OrderState, after: OrderState) -> None:
    if (before, after) in ALLOWED:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition, match=f"an order in {before} cannot become {after}"):
            check_transition(before, after)


def test_unknown_is_reached_from_sent_alone() -> None:
    assert [before for before in S if S.UNKNOWN in TRANSITIONS[before]] == [S.SENT]


def test_terminal_states_are_those_of_the_database() -> None:
    assert {s.value for s in TERMINAL} == set(TERMINAL_STATES)
    assert {s.value for s in S} == set(ORDER_STATES)
    assert {S.PENDING, S.SENT, S.UNKNOWN, S.RESTING} == OPEN


def test_every_open_order_can_end() -> None:
    for state in OPEN:
        assert _reachable(state) & TERMINAL


def test_no_path_leads_back() -> None:
    for state in S:
        assert state not in _reachable(state)


def test_table_for_people_has_a_row_and_a_column_per_state() -> None:
    lines = transition_table().splitlines()
    assert len(lines) == len(S) + 2
    assert all(a.count("|") == b.count("|") for a, b in pairwise(lines))
    assert sum(line.count(" yes ") for line in lines) == len(ALLOWED)


def test_documentation_shows_this_table() -> None:
    page = (PROJECT_ROOT / "docs" / "order-states.md").read_text(encoding="utf-8")
    assert transition_table() in page


def _reachable(state: OrderState) -> set[OrderState]:
    found: set[OrderState] = set()
    waiting = list(TRANSITIONS[state])
    while waiting:
        after = waiting.pop()
        if after not in found:
            found.add(after)
            waiting.extend(TRANSITIONS[after])
    return found
