"""Known, stale and unknown are never mistaken for each other."""

from __future__ import annotations

import pytest

from shared.observation import Known, Observation, Stale, Unknown, aged, map_known


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [(1_000, Known), (1_500, Known), (1_501, Stale), (500, Known), (499, Stale)],
)
def test_reading_is_known_only_within_its_age_on_either_side(now_ms: int, expected: type) -> None:
    assert isinstance(aged(7, 1_000, now_ms, max_age_ms=500), expected)


def test_mapping_keeps_state_and_time() -> None:
    observations: list[Observation[int]] = [Known(2, 5), Stale(2, 5), Unknown("no reply")]
    assert [map_known(o, lambda v: v * 10) for o in observations] == [
        Known(20, 5),
        Stale(20, 5),
        Unknown("no reply"),
    ]
