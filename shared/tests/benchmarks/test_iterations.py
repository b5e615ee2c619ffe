"""How the end-to-end figure counts time."""

from __future__ import annotations

import pytest

from shared.benchmarks.bench_iterations import _busy_secs


@pytest.mark.parametrize(
    ("spans", "busy"),
    [
        ([], 0.0),
        ([(10.0, 12.0), (15.0, 16.0)], 3.0),
        ([(10.0, 18.0), (15.0, 19.0)], 9.0),
        ([(10.0, 18.0), (15.0, 18.0), (20.0, 21.0)], 9.0),
    ],
)
def test_overlapping_ticks_are_not_counted_twice(
    spans: list[tuple[float, float]], busy: float
) -> None:
    assert _busy_secs(spans) == busy
