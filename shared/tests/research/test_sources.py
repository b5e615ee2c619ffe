"""One market from a file, the archive and MariaDB is one market."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from shared.config import Settings, load_settings
from shared.market_data.archive import Archive
from shared.market_data.candle import Candle
from shared.research.data.importing import import_rows, read_file
from shared.research.engine import run_backtest
from shared.research.errors import ResearchError
from shared.research.observers import Journal
from shared.research.request import Inputs, Request, load
from shared.storage.candles import CandleStore
from shared.storage.funding import FundingPoint, FundingStore
from shared.testing.run_world import FIRST_TICK_MS, RunWorld
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, candle_text, settings, walk, write

COUNT = 600


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for place, symbol in enumerate(("BTC", "ETH")):
        write(folder / f"{symbol}_1m.csv", candle_text(walk(COUNT, 30 + place, 3_000.0)))
    hours = FIRST_MS // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(12)
    rates = "timestamp_ms,funding_rate\n" + "".join(f"{t},0.0000125\n" for t in hours)
    write(folder / "BTC_funding.csv", rates)
    return folder


def archived(files: Path, root: Path) -> Archive:
    archive = Archive(root)
    for path in sorted(files.iterdir()):
        symbol = path.name[:3]
        imported, table = read_file(symbol, path)
        import_rows(archive, imported, table, lambda _: None)
    return archive


def journal(inputs: Inputs) -> str:
    seen = Journal()
    run_backtest(inputs.plan, inputs.series, [seen])
    assert seen.count > 100
    return seen.sha256


def test_archive_gives_the_journal_of_the_files(tmp_path: Path, files: Path) -> None:
    archive = archived(files, tmp_path / "archive")
    of_files = load(Request((str(files),), runs=30), settings())
    wanted = journal(of_files)
    for name in (str(archive.root), f"{archive.root}:candles_1m"):
        inputs = load(Request((name,), runs=30), settings())
        assert inputs.funding.keys() == {"BTC"}
        assert all(len(points.sha256) == 64 for points in inputs.prices)
        assert journal(inputs) == wanted
    only = load(Request((str(archive.root),), symbols=("ETH",), runs=30), settings())
    assert only.series.symbols == ("ETH",)


def test_time_is_cut_alike_and_what_lies_before_still_warms_up(tmp_path: Path, files: Path) -> None:
    archive = archived(files, tmp_path / "archive")
    cut = {"from_ms": FIRST_MS + 200 * MINUTE_MS, "to_ms": FIRST_MS + 500 * MINUTE_MS}
    series = [
        load(Request((str(name),), runs=30, **cut), settings()).series
        for name in (files, archive.root)
    ]
    for mine, other in zip(series[0].samples(0), series[1].samples(0), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert np.isfinite(series[1].samples(0).volatility).all()


def test_gap_in_the_archive_is_refused_or_left_unknown(tmp_path: Path, files: Path) -> None:
    lines = (files / "BTC_1m.csv").read_text().splitlines()
    del lines[300]
    write(files / "BTC_1m.csv", "\n".join(lines) + "\n")
    archive = Archive(tmp_path / "archive")
    imported, table = read_file("BTC", files / "BTC_1m.csv", repair=True)
    import_rows(archive, imported, table, lambda _: None)
    with pytest.raises(ResearchError, match=r"candles_1m/BTC: row 300: gap of 1 candles"):
        load(Request((str(archive.root),)), settings())
    inputs = load(Request((str(archive.root),), repair=True), settings())
    assert inputs.prices[0].repairs.missing_candles == 1


def test_archived_ticks_are_a_source(tmp_path: Path) -> None:
    text = "timestamp_ms,price\n" + "".join(f"{FIRST_MS + 997 * k},{100 + k}\n" for k in range(90))
    imported, table = read_file("BTC", write(tmp_path / "BTC.csv", text))
    archive = Archive(tmp_path / "archive")
    import_rows(archive, imported, table, lambda _: None)
    inputs = load(Request((f"{archive.root}:prices",), interval_ms=5_000), settings())
    assert inputs.series.interval_ms == 5_000
    assert inputs.prices[0].price.tolist() == [100.0 + k for k in range(90)]
    assert load(Request((str(archive.root),)), settings()).prices[0].kind == "ticks"


@pytest.fixture
def platform(service_environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("T3_SECRETS", service_environ["T3_SECRETS"])
    return load_settings(
        environ={
            **service_environ,
            "T3__celery__schedules__providence_iteration_scheduler": "1.0",
            "T3__reconciliation_engine__symbols": "[BTC, ETH, SOL]",
        }
    )


def test_candles_of_mariadb_give_the_journal_of_the_files(
    engine: Engine, platform: Settings, files: Path
) -> None:
    with engine.begin() as conn:
        for place, symbol in enumerate(("BTC", "ETH")):
            price = walk(COUNT, 30 + place, 3_000.0).tolist()
            before = [price[0], *price[:-1]]
            bars = [
                Candle(FIRST_MS + k * MINUTE_MS, o, max(o, c) * 1.0001, min(o, c) * 0.9999, c, 1.5)
                for k, (o, c) in enumerate(zip(before, price, strict=True))
            ]
            CandleStore(conn).save(symbol, "1m", bars)
        hours = FIRST_MS // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(12)
        FundingStore(conn).append(
            [FundingPoint("BTC", int(t), 0.0000125, 3_000.0, 0.0) for t in hours]
        )
    wanted = journal(load(Request((str(files),), runs=30), platform))
    assert journal(load(Request(("mariadb:candles_1m",), runs=30), platform)) == wanted


def test_ticks_of_mariadb_are_what_the_population_saw(engine: Engine, platform: Settings) -> None:
    world = RunWorld(length=400)
    with engine.begin() as conn:
        world.store(conn)
    inputs = load(Request(("mariadb:ticks",), runs=30), platform)
    samples = inputs.series.samples(0)
    assert inputs.series.symbols == ("BTC", "ETH", "SOL")
    assert inputs.plan.markets[0].sz_decimals == 3
    stored = {row.tick_ms: row for row in world.rows_}
    assert samples.tick_ms[0] == FIRST_TICK_MS
    for place, tick in enumerate(samples.tick_ms.tolist()):
        row = stored.get(tick)
        if row is None:
            assert not samples.ok[place].any()
            continue
        np.testing.assert_array_equal(samples.ok[place], row.samples["ok"] == 1)
        np.testing.assert_array_equal(samples.price[place], row.samples["mid"])
        np.testing.assert_array_equal(samples.funding_index[place], row.samples["funding_index"])
        np.testing.assert_array_equal(samples.volatility[place], row.samples["volatility"])
    journal(inputs)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("mariadb:prices", "'prices' is no dataset; allowed are ticks, candles_1m"),
        ("mariadb:ticks", "no ticks of 1 s are stored"),
        ("mariadb:candles_1m", "no price file of any symbol"),
    ],
)
def test_what_mariadb_does_not_have_is_one_sentence(
    engine: Engine, platform: Settings, data: str, message: str
) -> None:
    with pytest.raises(ResearchError, match=message):
        load(Request((data,)), platform)
