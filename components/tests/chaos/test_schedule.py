"""A seed is a schedule, the same one every time, of faults that exist."""

from __future__ import annotations

from chaos.schedule import KILLED, VENUE_FAULTS, draw, names
from paper_exchange.faults import FaultBox


def test_a_seed_repeats_its_faults() -> None:
    assert draw(7, 30, 8) == draw(7, 30, 8)
    assert draw(7, 30, 8) != draw(8, 30, 8)


def test_faults_come_in_order_within_the_time() -> None:
    strikes = draw(3, 30, 50)
    times = [strike.at_secs for strike in strikes]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 30


def test_many_seeds_draw_every_fault() -> None:
    drawn = {name for seed in range(100) for name in names(draw(seed, 30, 6))}
    assert drawn == {*VENUE_FAULTS, *(f"kill -9 {name}" for name in KILLED)}


def test_the_venue_takes_every_fault() -> None:
    box = FaultBox(1)
    for fault in VENUE_FAULTS.values():
        assert box.add(dict(fault)).kind == fault["kind"]
