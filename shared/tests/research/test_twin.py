"""A stretch lived through the real services on MariaDB, and its twin: equal to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert, text, update

from shared.config import Settings, load_settings
from shared.market_data.tick_config import TickConfig
from shared.market_data.tick_inputs import TickInputStore, config_version
from shared.market_data.tick_markets import DatabaseTickRows, TickMarkets
from shared.providence.step import Grid
from shared.research.errors import ResearchError
from shared.research.twin.__main__ import main, rules_of, run
from shared.research.twin.read import Wanted, read
from shared.research.twin.twin import Twin, twin_of
from shared.storage import config_versions, runs
from shared.storage.products import ProductStore
from shared.storage.run_store import MariaRunStore
from shared.storage.tables import (
    attribution,
    balance_history,
    order_execution_log,
    order_fills,
    run_fills,
)
from shared.testing.clock import FrozenClock
from shared.testing.memory_runs import MemoryRunStateStore
from shared.testing.run_world import RunWorld, space
from worker.services.iteration import IterationService
from worker.services.stepping import ConfigVersions, Stepper, Steppers
from worker.services.supervisor import PopulationPlan, Supervisor

TICKS = 220
START_USD = 10_000.0


@dataclass
class Platform:
    """Iterations and supervision over MariaDB, tick by tick."""

    engine: Engine
    world: RunWorld
    settings: Settings

    def __post_init__(self) -> None:
        with self.engine.begin() as conn:
            self.world.store(conn)
        clock = FrozenClock(self.world.start_ms)
        self.runs, states = MariaRunStore(self.engine.begin, clock), MemoryRunStateStore()
        rows = DatabaseTickRows(self.engine.begin)
        parameters = space()
        configs = ConfigVersions(self._config, lambda: self.world.product_ids)
        self.iterations = IterationService(
            self.runs,
            states,
            Steppers(
                lambda ms: Stepper(TickMarkets(rows, ms, Grid.of(parameters)), configs),
            ),
            clock,
            interval_ms=1_000,
            checkpoint_every=10,
            worker="test",
        )
        base = PopulationPlan.of(self.settings)
        plan = PopulationPlan(40, 2_000, 10, 4, 1_000, parameters, base.clone_rules)
        rng = np.random.default_rng(3)
        self.supervisor = Supervisor(plan, self.runs, states, rows, clock, rng)

    def _config(self, version: str) -> Mapping[str, Any]:
        with self.engine.begin() as conn:
            return config_versions.content(conn, version)

    def live(self) -> None:
        """Every stored tick; an epoch and a few exits on the way, one shard always two late."""
        with self.engine.begin() as conn:
            products = sorted(ProductStore(conn).all().values(), key=lambda p: p.id)
        self.supervisor.supervise(self.world.start_ms, products)
        for place, tick in enumerate(self.world.ticks):
            for shard in self.runs.shards():
                late = shard.shard_id == 1 and place % 3 and tick != self.world.ticks[-1]
                if not late:
                    self.iterations.run(shard.shard_id, tick)
            if place % 5 == 0:
                self.supervisor.supervise(tick, products)
            if place == TICKS // 2:
                runs.assign_height(self.engine, "take_profit", account_value=1.0, now_ms=tick)
            if place == TICKS // 3:
                runs.request_exits(self.engine, [3, 4, 5], "shrink")


@pytest.fixture
def lived(engine: Engine, service_environ: Mapping[str, str]) -> Platform:
    settings = load_settings(
        environ={
            **service_environ,
            "T3__celery__schedules__providence_iteration_scheduler": "1.0",
            "T3__reconciliation_engine__symbols": "[BTC, ETH, SOL]",
            "T3__reconciliation_engine__live_pnl_threshold": "-50.0",
            "T3__reconciliation_engine__rebalance_frequency": "2.0",
            "T3__reconciliation_engine__minimum_trade_threshold": "10.0",
        }
    )
    world = RunWorld(length=TICKS)
    # another configuration from the middle on: other costs, and SOL is given up
    cheap = TickConfig(1_000, ("BTC", "ETH"), world.rules)
    version = config_version(cheap.to_json())
    half = len(world.rows_) * 3 // 4
    world.rows_ = [
        row if place < half else row.with_version(version) for place, row in enumerate(world.rows_)
    ]
    with engine.begin() as conn:
        TickInputStore(conn).save_config(cheap.to_json(), 1)
    platform = Platform(engine, world, settings)
    platform.live()
    _trade(engine, world)
    return platform


def _trade(engine: Engine, world: RunWorld) -> None:
    """What an account could have done: three orders, one partly filled, one by hand; funding."""
    orders = [
        (30, "BTC", "buy", "0.050", "0.050", "reconcile", "60100"),
        (60, "BTC", "sell", "0.050", "0.020", "reconcile", "59900"),
        (90, "ETH", "sell", "0.400", "0.400", "hand", "2990"),
    ]
    held = {"BTC": Decimal(0), "ETH": Decimal(0)}
    with engine.begin() as conn:
        for place, value in ((0, START_USD), (200, 9_987.0)):
            at = world.start_ms + place * 1_000
            usd = Decimal(str(value))
            conn.execute(
                insert(balance_history).values(
                    account_value=usd, withdrawable=usd, margin_used=0, total_notional=0,
                    venue_ms=at, read_ms=at,
                )
            )  # fmt: skip
        for number, (place, symbol, side, size, filled, origin, price) in enumerate(orders):
            at = world.start_ms + place * 1_000 + 250
            name = f"{symbol}:{number}:open"
            conn.execute(
                insert(order_execution_log).values(
                    intent_id=name, cloid=f"0x{number:032x}", symbol=symbol, plan_epoch=number,
                    leg="open", origin=origin, side=side, size=Decimal(size), order_type="market",
                    tif="Ioc", reduce_only=False, limit_price=Decimal(price),
                    state="FILLED" if size == filled else "PARTIAL", filled_size=Decimal(filled),
                    request={}, created_ms=at, updated_ms=at, resolved_ms=at,
                )
            )  # fmt: skip
            conn.execute(
                insert(order_fills).values(
                    tid=number, time_ms=at, coin=symbol, cloid=None, oid=number, intent_id=name,
                    side=side, price=Decimal(price), size=Decimal(filled), fee_usd=Decimal("1.25"),
                    closed_pnl_usd=0, start_position=held[symbol], dir="", crossed=True,
                )
            )  # fmt: skip
            held[symbol] += Decimal(filled) if side == "buy" else -Decimal(filled)
        conn.execute(
            insert(attribution).values(
                kind="funding", time_ms=world.start_ms + 100_000, ref=0, symbol="BTC", size=0,
                price=0, account_usd=Decimal("-0.75"), runs_usd=0, house_usd=0, runs=0,
                created_ms=1,
            )
        )  # fmt: skip


def twin(platform: Platform) -> Twin:
    world = platform.world
    recorded = read(platform.engine, platform.settings, Wanted(0, world.ticks[-1]), world.ticks[-1])
    return twin_of(recorded, rules_of(platform.settings, recorded))


def test_lived_and_replayed_are_equal_to_the_bit_until_one_bit_differs(
    lived: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = twin(lived)
    check = found.check
    assert check.lived == check.replayed > 200
    assert check.lived_sha256 == check.replayed_sha256
    assert check.differing == ()
    ended = found.recorded.lives.ended_ms
    assert 10 < (ended < np.iinfo(np.int64).max).sum() < len(ended)
    assert len(found.recorded.configs) == 2
    assert len(found.recorded.height_ticks) == 1
    assert np.all(found.gap.by_cause["signal"] == 0.0)
    _adds_up(found)
    _costs_are_those_of_the_orders(found)

    arguments = (lived.settings, lived.engine, Wanted(0, lived.world.ticks[-1]), tmp_path)
    assert run(*arguments, now_ms=lived.world.ticks[-1]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["signal_equal"] is True
    assert line["gap_usd"]["signal"] == 0.0
    assert Path(line["report"]).read_bytes().startswith(b"\x89PNG")

    fill = found.recorded.fills[len(found.recorded.fills) // 2]
    with lived.engine.begin() as conn:
        one = (run_fills.c.run_id == int(fill["run_id"])) & (
            run_fills.c.fill_seq == int(fill["fill_seq"])
        )
        wrong = float(np.nextafter(fill["price"], np.inf))
        conn.execute(update(run_fills).where(one).values(price=wrong))
    assert run(*arguments, now_ms=lived.world.ticks[-1]) == 1
    captured = capsys.readouterr().out
    line = json.loads(captured.splitlines()[-1])
    assert line["signal_equal"] is False
    assert line["runs_differing"] == 1
    assert str(int(fill["run_id"])) in captured

    with lived.engine.begin() as conn:
        conn.execute(update(run_fills).values(size=-run_fills.c.size))
    wrong_twin = twin(lived)
    assert wrong_twin.gap.at_end("signal").sum() != 0.0
    _adds_up(wrong_twin)


def _adds_up(found: Twin) -> None:
    gap = found.equity_lived - found.equity_replayed
    np.testing.assert_allclose(found.gap.total.sum(axis=1), gap, atol=1e-9)
    lived, account = found.lived, found.recorded.account
    cash = START_USD - sum(f.size * f.price + f.fee_usd for f in account.fills) - 0.75
    worth = ((lived.ours.size + lived.by_hand.size) * found.window.mark)[-1].sum()
    assert found.equity_lived[-1] == pytest.approx(cash + worth, abs=1e-9)


def _costs_are_those_of_the_orders(found: Twin) -> None:
    mark, rows = found.window.mark, found.window.tick_ms
    column = found.recorded.symbols.index("BTC")
    replayed = found.replayed
    assert np.count_nonzero(np.diff(replayed.size, axis=0)) > 20
    start = found.recorded.from_ms
    first, second = (int(np.searchsorted(rows, start + s * 1_000 + 250)) for s in (30, 60))
    mids = [mark[first - 1, column], mark[second - 1, column]]
    price = 0.05 * (60_100 - mids[0]) - 0.02 * (59_900 - mids[1])
    missing = -0.03 * (mark[-1, column] - mark[second, column])
    fill = found.gap.at_end("fill")[column]
    assert fill == pytest.approx(replayed.price[-1, column] - price - missing, abs=1e-9)
    assert found.gap.at_end("fee")[column] == pytest.approx(replayed.fee[-1, column] - 2.5)
    funding = found.gap.at_end("funding")[column]
    assert funding == pytest.approx(-0.75 - replayed.funding[-1, column])
    assert found.gap.at_end("by hand")[column] == 0.0


def test_what_cannot_be_replayed_is_one_sentence(
    engine: Engine, lived: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    world = lived.world
    later = world.ticks[-1] + 15 * 86_400_000
    with pytest.raises(ResearchError, match="only those of the last 14 days are kept"):
        read(engine, lived.settings, Wanted(0, later), later)
    with pytest.raises(ResearchError, match="no run was stepped between"):
        read(engine, lived.settings, Wanted(later, later + 5_000), later)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM run_checkpoints WHERE run_id = 1"))
    with pytest.raises(ResearchError, match="1 runs have no record of their birth"):
        read(engine, lived.settings, Wanted(0, world.ticks[-1]), world.ticks[-1])
    with pytest.raises(SystemExit):
        main(["--day", "yesterday"])
    assert "allowed is a UTC day" in capsys.readouterr().err
