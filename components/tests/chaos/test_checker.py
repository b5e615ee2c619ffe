"""The checker can fail: each safeguard taken away from a history is a violation it names."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from chaos.checker import (
    FOREIGN_CLOID,
    History,
    Intent,
    Limits,
    Plan,
    VenueFill,
    VenueOrder,
    check,
)

D = Decimal


def intent(number: int, **changes: object) -> Intent:
    own = Intent(
        intent_id=f"BTC:{number}:open",
        cloid=f"0x{number}",
        symbol="BTC",
        origin="reconcile",
        size=D(1),
        reduce_only=False,
        state="FILLED",
        filled_size=D(1),
        sent_ms=number * 60_000,
        resolved_ms=number * 60_000 + 500,
    )
    return replace(own, **changes)  # type: ignore[arg-type]


def fill(number: int, size: int = 1, start: int = 0, symbol: str = "BTC") -> VenueFill:
    return VenueFill(
        number, f"0x{number}", symbol, number * 60_000 + 100, D(size), D(100), D(start)
    )


def order(number: int, cloid: str | None = None) -> VenueOrder:
    return VenueOrder(number, cloid or f"0x{number}", "BTC", number * 60_000 + 100)


def plan(number: int, position: int, *lacked: str) -> Plan:
    return Plan(f"BTC:{number}:open", lacked, D(position))


SOUND = History(
    intents=[intent(1), intent(2), intent(3, state="NOT_PLACED", filled_size=D(0))],
    orders=[order(1), order(2)],
    fills=[fill(1), fill(2, start=1)],
    plans=[plan(1, 0), plan(2, 1), plan(3, 2)],
    limits=Limits(D(1_000), D(1_500)),
)


def rules(history: History) -> set[str]:
    return {violation.rule for violation in check(history)}


def test_a_sound_history_has_no_violation() -> None:
    assert check(SOUND) == []


@pytest.mark.parametrize(
    ("safeguard", "history", "rule"),
    [
        (
            "journal before send: the order is there, the intent is not",
            replace(SOUND, intents=SOUND.intents[1:]),
            "lost_intent",
        ),
        (
            "journal before send: the intent was never marked SENT",
            replace(SOUND, intents=[intent(1, sent_ms=None), *SOUND.intents[1:]]),
            "sent_before_journal",
        ),
        (
            "journal before send: it was marked long after the venue had it",
            replace(SOUND, intents=[intent(1, sent_ms=80_000), *SOUND.intents[1:]]),
            "sent_before_journal",
        ),
        (
            "cloid check: the same intent is placed again",
            replace(SOUND, orders=[*SOUND.orders, VenueOrder(9, "0x1", "BTC", 70_000)]),
            "double_effect",
        ),
        (
            "cloid check: it fills twice",
            replace(SOUND, fills=[*SOUND.fills, replace(fill(1, start=2), tid=7)]),
            "double_effect",
        ),
        (
            "evidence: called NOT_PLACED although it filled",
            replace(
                SOUND,
                intents=[*SOUND.intents[:2], intent(3, state="NOT_PLACED", filled_size=D(0))],
                orders=[*SOUND.orders, order(3)],
                fills=[*SOUND.fills, fill(3, start=2)],
            ),
            "wrong_verdict",
        ),
        (
            "evidence: the filled size is not the sum of the fills",
            replace(SOUND, intents=[intent(1, filled_size=D("0.5")), *SOUND.intents[1:]]),
            "wrong_verdict",
        ),
        (
            "resolver: an order in doubt for ever",
            replace(SOUND, intents=[*SOUND.intents[:2], intent(3, state="UNKNOWN")]),
            "open_intent",
        ),
        (
            "quorum: planned without a known position",
            replace(SOUND, plans=[plan(1, 0), plan(2, 1, "position"), plan(3, 2)]),
            "traded_on_unknown",
        ),
        (
            "quorum: planned from a position that was not there",
            replace(SOUND, plans=[plan(1, 0), plan(2, 0), plan(3, 2)]),
            "wrong_position",
        ),
        (
            "fence: a second plan while the first order is under way",
            replace(SOUND, intents=[intent(1, resolved_ms=130_000), *SOUND.intents[1:]]),
            "overlap",
        ),
        (
            "reasons: an order without a decision",
            replace(SOUND, plans=SOUND.plans[:2]),
            "without_reason",
        ),
        (
            "fence of a shard: a step of a run is journaled twice",
            replace(SOUND, repeated_steps=[(17, 3)]),
            "repeated_step",
        ),
        (
            "kill switch: sent between the lines that set and lift it",
            replace(SOUND, forbidden=[(110_000, 130_000)]),
            "opened_while_forbidden",
        ),
        (
            "cap of a symbol",
            replace(SOUND, limits=Limits(D(150), D(1_500))),
            "above_cap",
        ),
        (
            "cap of all symbols",
            replace(
                SOUND,
                intents=[*SOUND.intents, intent(4, symbol="ETH", size=D(9), filled_size=D(9))],
                orders=[*SOUND.orders, order(4)],
                fills=[*SOUND.fills, fill(4, size=9, symbol="ETH")],
                plans=[*SOUND.plans, plan(4, 0)],
                limits=Limits(D(1_000), D(1_050)),
            ),
            "above_cap",
        ),
    ],
)
def test_a_history_without_the_safeguard_is_found_out(
    safeguard: str, history: History, rule: str
) -> None:
    assert rule in rules(history), safeguard


def test_a_reducing_fill_above_the_cap_is_no_violation() -> None:
    shrinking = replace(
        SOUND,
        fills=[fill(1, size=-1, start=20), fill(2, size=-1, start=19)],
        intents=[intent(1, reduce_only=True), intent(2, reduce_only=True), SOUND.intents[2]],
        plans=[plan(1, 20), plan(2, 19), plan(3, 18)],
        limits=Limits(D(100), D(100)),
    )
    assert check(shrinking) == []


def test_an_exit_passes_the_kill_switch() -> None:
    exits = [replace(one, reduce_only=True) for one in SOUND.intents]
    assert check(replace(SOUND, intents=exits, forbidden=[(0, 999_999)])) == []


def test_what_someone_else_does_is_no_fault_of_the_platform() -> None:
    cloid = FOREIGN_CLOID + "1"
    foreign = VenueFill(90, cloid, "BTC", 119_000, D(1), D(100), D(1))
    history = replace(
        SOUND,
        orders=[*SOUND.orders, VenueOrder(90, cloid, "BTC", 119_000)],
        fills=[fill(1), foreign, fill(2, start=2)],  # its plan, a second before, believed in 1
    )
    assert check(history) == []
    early = replace(history, fills=[fill(1), replace(foreign, time_ms=90_000), fill(2, start=2)])
    assert rules(early) == {"wrong_position"}
