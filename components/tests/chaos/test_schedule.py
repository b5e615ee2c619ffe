"""A seed is a schedule, the same one every time, of faults that exist."""

from __future__ import annotations

from pathlib import Path

from chaos.faults import CELLS, FAULTS, HALTING, Step
from chaos.platform import RunningPlatform
from chaos.schedule import HALT_EVERY, deal
from demo.supervisor import tiers
from paper_exchange.faults import FaultBox

STRIKES = 4
SEEDS_OF_A_DECK = -(-len(CELLS) // STRIKES)


def test_a_seed_repeats_its_strikes() -> None:
    assert deal(7, STRIKES) == deal(7, STRIKES)
    assert deal(7, STRIKES) != deal(8, STRIKES)


def test_the_seeds_of_a_deck_strike_every_cell_once() -> None:
    dealt = [s for seed in range(1, SEEDS_OF_A_DECK + 1) for s in deal(seed, STRIKES)]
    dealt = [s for s in dealt if s.fault not in HALTING]
    assert {(s.step, s.fault) for s in dealt[: len(CELLS)]} == set(CELLS)
    assert {s.step for s in dealt} == set(Step)


def test_every_fault_that_halts_ends_a_seed_and_none_has_two() -> None:
    last = [deal(seed, STRIKES)[STRIKES:] for seed in range(1, 201)]
    assert all(len(extra) == (seed % HALT_EVERY == 0) for seed, extra in enumerate(last, start=1))
    struck = {(s.step, s.fault) for extra in last for s in extra}
    assert struck == {(step, name) for step in Step for name in HALTING}


def test_the_next_deck_is_shuffled_anew() -> None:
    first = [s for seed in range(1, SEEDS_OF_A_DECK) for s in deal(seed, STRIKES)]
    later = range(1 + SEEDS_OF_A_DECK, 2 * SEEDS_OF_A_DECK)
    second = [s for seed in later for s in deal(seed, STRIKES)]
    assert [s.fault for s in first] != [s.fault for s in second]


def test_what_passes_is_never_lifted_and_the_rest_always() -> None:
    for seed in range(1, SEEDS_OF_A_DECK + 1):
        for strike in deal(seed, STRIKES):
            assert (strike.lasts_secs == 0) == FAULTS[strike.fault].passes


def test_the_venue_takes_every_fault() -> None:
    box = FaultBox(1)
    for fault in FAULTS.values():
        if fault.kind == "venue":
            assert box.add(dict(fault.body)).kind == fault.body["kind"]


def test_every_process_that_is_killed_is_one_of_the_demo(tmp_path: Path) -> None:
    plan = RunningPlatform(tmp_path).plan
    programs = {program.name for tier in tiers(plan) for program in tier.programs}
    assert {f.target for f in FAULTS.values() if f.kind == "kill"} <= programs
