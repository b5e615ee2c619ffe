"""The capacity table of docs/scaling.md is what its own formulas give for its own figures."""

from __future__ import annotations

import math
import re
from pathlib import Path

from shared.config import Config
from shared.storage.tables import metadata

TEXT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
BENCHMARKS = (Path(__file__).parents[1] / "benchmarks" / "BENCHMARK.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([\d,]+) \| (.+) \|$", re.MULTILINE)
SHARD, SHORTEST_TICK_SECS, BUSY = 500, 5, 0.7


def test_the_bound_of_every_table_is_named() -> None:
    start = TEXT.index("## What grows")
    section = TEXT[start : TEXT.index("\n## ", start)]
    named = {
        name
        for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(metadata.tables)
    for key in re.findall(r"`(\w+\.\w+)`", section):
        assert Config.get(key), key


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _figure(name: str) -> float:
    (value,) = re.findall(rf"^\| {re.escape(name)}[^|]*\| ([\d.,]+)", TEXT, re.MULTILINE)
    return _number(value)


def test_every_row_follows_from_the_figures() -> None:
    cpu = {
        n: _figure(f"CPU seconds per million iterations: {n}")
        for n in ("workers", "Redis", "MariaDB")
    }
    rows = ROW.findall(TEXT[TEXT.index("## Capacity") :])
    assert [_number(runs) for runs, _ in rows][-1] == 10_000_000
    for runs_text, rest in rows:
        runs = _number(runs_text)
        shown = [_number(cell) for cell in rest.split(" | ")]
        wanted = runs * cpu["Redis"] / 1e6 / BUSY
        tick = max(SHORTEST_TICK_SECS, math.ceil(wanted / 5) * 5)
        per_s = runs / tick
        expected = [
            math.ceil(runs / SHARD),
            tick,
            per_s,
            *(per_s * seconds / 1e6 for seconds in cpu.values()),
            runs * _figure("bytes in Redis per run") / 2**20,
            runs * _figure("bytes in MariaDB per run and day") * 5 / tick / 1e9,
        ]
        tolerances = [0, 0, 0.5, 0.005, 0.005, 0.005, 0.05, 0.00501]
        for value, computed, tolerance in zip(shown, expected, tolerances, strict=True):
            assert abs(value - computed) <= tolerance + 1e-9, (runs, value, computed)


def test_the_figures_are_those_of_the_benchmarks() -> None:
    line = "workers {}, Redis {}, MariaDB {}".format(
        *(
            f"{_figure(f'CPU seconds per million iterations: {n}'):g}"
            for n in ("workers", "Redis", "MariaDB")
        )
    )
    assert line in BENCHMARKS
    assert f"| {_figure('bytes in Redis per run'):g} at 250,000 runs" in BENCHMARKS
    assert f"| {_figure('bytes in MariaDB per run and day'):,g} |" in BENCHMARKS
