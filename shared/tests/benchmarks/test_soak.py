"""How a soak is judged."""

from __future__ import annotations

from typing import Any

import pytest

from shared.benchmarks.soak import HOUR_MS, main, passed, slope_per_day

GOOD: dict[str, Any] = {
    "ticks": 17_280,
    "ticks_missing": 0,
    "prices_published": 345_000,
    "prices_recorded": 345_000,
    "memory_mib_per_day": 3.5,
}


def readings(hours: int, mib_per_hour: float, first_mib: float = 200.0) -> list[tuple[int, float]]:
    return [(h * HOUR_MS // 10, first_mib + mib_per_hour * h / 10) for h in range(hours * 10 + 1)]


def test_growth_is_told_per_day_of_market_time() -> None:
    assert slope_per_day(readings(24, 1.0)) == pytest.approx(24.0)
    assert slope_per_day(readings(12, 0.0)) == 0.0
    assert slope_per_day(readings(24, -0.5)) == pytest.approx(-12.0)


def test_what_a_process_needs_to_get_going_is_no_growth() -> None:
    start = [
        (at_ms, mib - 90.0 if at_ms < 2 * HOUR_MS else mib) for at_ms, mib in readings(24, 0.0)
    ]
    assert slope_per_day(start) == pytest.approx(0.0, abs=0.01)


def test_little_time_tells_nothing_of_memory() -> None:
    assert slope_per_day([]) is None
    assert slope_per_day(readings(3, 50.0)) is None


def test_all_of_it_must_hold() -> None:
    assert passed(GOOD)
    assert passed(GOOD | {"memory_mib_per_day": None})
    for worse in (
        {"ticks": 0},
        {"ticks_missing": 1},
        {"prices_recorded": 344_999},
        {"prices_recorded": 345_001},
        {"memory_mib_per_day": 16.1},
    ):
        assert not passed(GOOD | worse), worse


@pytest.mark.parametrize("arguments", [["--hours", "0"], ["--hours", "x"], ["--speed", "-1"]])
def test_bad_usage_is_a_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--hours" in capsys.readouterr().err
