"""What all pictures share."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from shared.research.plots import dates, start_drawing

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@pytest.mark.parametrize(
    "span_secs",
    [90, 7 * MINUTE, 41 * MINUTE, 4.2 * HOUR, 9 * HOUR, 4 * DAY, 31 * DAY, 82 * DAY, 400 * DAY],
)
def test_every_span_has_a_few_dates_and_no_warning(span_secs: float) -> None:
    figure, (axes,) = start_drawing(10.0, 4.0)
    begin = np.datetime64("2026-11-26T03:58:00", "ms")
    when = begin + (np.linspace(0, span_secs, 50) * 1_000).astype("timedelta64[ms]")
    axes.plot(when, np.arange(50))
    dates(axes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    begin_day, end_day = axes.get_xlim()
    shown = [day for day in axes.get_xticks() if begin_day <= day <= end_day]
    assert 2 <= len(shown) <= 9
