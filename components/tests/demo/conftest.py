"""A demo's plan on free ports in a temp folder, and states to show."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from demo.layout import DemoPaths, DemoPlan, load_plan
from demo.readings import (
    OrderCounts,
    OrderReading,
    PopulationReading,
    PositionReading,
    PriceReading,
    Snapshot,
)
from demo.running import spare_environ
from demo.session import State
from demo.supervisor import ProcessInfo
from shared.native_servers import PROJECT_ROOT

NOW_MS = 1_750_000_000_000


@pytest.fixture
def paths(tmp_path: Path) -> DemoPaths:
    return DemoPaths(tmp_path / "demo")


@pytest.fixture
def environ() -> dict[str, str]:
    """The project's configuration on ports that nobody listens on."""
    inherited = {"PATH": "/usr/bin:/bin"}
    return spare_environ(inherited, T3_CONFIG=str(PROJECT_ROOT / "config.yml"))


@pytest.fixture
def plan(paths: DemoPaths, environ: dict[str, str]) -> DemoPlan:
    return load_plan(paths, environ)


@pytest.fixture
def snapshot() -> Snapshot:
    """A demo in the middle of its work: one symbol at its target, one traded, one in doubt."""
    return Snapshot(
        at_ms=NOW_MS,
        prices=(
            PriceReading("BTC", 83_735.5, 0.1, "ws"),
            PriceReading("ETH", 2_800.7, 0.2, "ws"),
            PriceReading("SOL", 127.36, 9.0, "poll"),
        ),
        queues={"high_priority": 0, "low_priority": 8},
        population=(
            PopulationReading("direct", 260, 1.5),
            PopulationReading("inverse", 240, -2.25),
        ),
        ticks=71,
        newest_tick_ms=NOW_MS - 500,
        committed_tick_ms=NOW_MS - 400,
        iterations=35_500,
        positions=(
            position("BTC", desired=1_200.0, actual=1_190.0, gap=10.0, left=10.0),
            position("ETH", desired=-900.0, actual=-300.0, gap=600.0, left=0.0, decision="trade"),
            position("SOL", known=False),
            position("HYPE", desired=0.0, actual=0.0, gap=0.0, left=0.0),
        ),
        orders=(
            OrderReading(
                NOW_MS - 2_000,
                "ETH",
                "sell",
                Decimal("0.2140"),
                "FILLED",
                Decimal("0.2140"),
                Decimal("2800.5"),
                "reconcile",
                "",
            ),
            OrderReading(
                NOW_MS - 9_000,
                "BTC",
                "buy",
                Decimal("0.0142"),
                "UNKNOWN",
                Decimal(0),
                None,
                "reconcile",
                "timeout",
            ),
        ),
        counts=OrderCounts(sent=2, filled=1, unknown=1),
        equity=(100_000.0, 100_004.5, 99_998.25),
    )


@pytest.fixture
def state(plan: DemoPlan, snapshot: Snapshot) -> State:
    processes = (
        ProcessInfo("redis", "servers", "RUNNING", 11, 75, "pid 11"),
        ProcessInfo("order_gateway", "execution", "BACKOFF", 0, 0, "Exited too quickly"),
        ProcessInfo("take_profit", "feeds", "FATAL", 0, 0, "Exited too quickly"),
    )
    return State(plan, NOW_MS - 75_000, "running", snapshot, processes, {"redis": 2}, errors=3)


def position(
    symbol: str,
    *,
    desired: float | None = None,
    actual: float | None = None,
    gap: float | None = None,
    left: float | None = None,
    decision: str = "hold",
    known: bool = True,
) -> PositionReading:
    """A look at a symbol; not known: two of three voters disagree."""
    return PositionReading(
        symbol=symbol,
        at_ms=NOW_MS - 3_000,
        decision=decision if known else "unknown",
        reason="the position is at its target" if known else "no quorum",
        desired_usd=desired,
        actual_usd=actual,
        gap_usd=gap,
        left_usd=left,
        quorum="3/3" if known else "1 of 3 voters agree",
        quorum_known=known,
    )
