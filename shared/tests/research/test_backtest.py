"""The command: one JSON line, a folder with everything, a sentence where something is wrong."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from shared.research import backtest
from shared.research.performance import drawdown, hourly_returns, performance, sharpe_ratio
from shared.research.progress import BacktestProgress
from shared.research.statistics_text import STATISTICS
from shared.tests.research.samples import FIRST_MS, ROOT, candle_text, walk, write

LINE = {
    "run_bars",
    "seconds",
    "run_bars_per_s",
    "orders",
    "net_return",
    "max_drawdown",
    "sharpe",
    "journal_sha256",
    "report",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("data")
    for place, symbol in enumerate(("BTC", "ETH")):
        write(folder / f"{symbol}_1m.csv.gz", candle_text(walk(700, 30 + place, 3_000.0)))
    hours = FIRST_MS // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(13)
    rates = "timestamp_ms,funding_rate\n" + "".join(f"{t},0.0000125\n" for t in hours)
    write(folder / "BTC_funding.csv", rates)
    return [str(folder)]


def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: list[str], *options: str
) -> tuple[int, str, str]:
    arguments = ["--data", *data, "--config", str(ROOT / "config.yml"), "--out", str(tmp_path)]
    code = backtest.main([*arguments, *options])
    out, err = capsys.readouterr()
    return code, out, err


def test_providence_ends_with_a_json_line_and_a_full_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: list[str]
) -> None:
    code, out, err = run(capsys, tmp_path, data, "--runs", "40", "--seed", "3")
    line = json.loads(out.splitlines()[-1])
    assert code == 0
    assert set(line) == LINE
    assert line["run_bars"] > 10_000
    assert "700 of 700 ticks" in err
    page = Path(line["report"])
    assert {path.name for path in page.parent.iterdir()} == {
        "config.json",
        "stats.csv",
        "report.html",
        *(f"{name}.parquet" for name in ("trades", "orders", "equity", "runs")),
        *(f"{n}.png" for n in ("equity", "exposure", "turnover", "growth", "surfaces", "entropy")),
    }
    config = json.loads((page.parent / "config.json").read_text())
    assert [item["kind"] for item in config["data"]] == ["candles", "candles", "funding"]
    assert all(len(item["sha256"]) == 64 for item in config["data"])
    assert config["code_version"]
    stats = dict(csv.reader((page.parent / "stats.csv").open()))
    assert float(stats["net_return"]) == line["net_return"]
    assert stats["journal_sha256"] == line["journal_sha256"]
    assert set(stats) - {"statistic", "journal_sha256"} <= set(STATISTICS)
    text = page.read_text()
    for name in set(stats) & set(STATISTICS):
        assert f"{STATISTICS[name].name}<small>" in text, name
    trades = pq.read_table(page.parent / "trades.parquet")
    assert trades.num_rows == int(stats["virtual_fills"]) > 100
    assert set(trades["symbol"].to_pylist()) == {"BTC", "ETH"}
    assert pq.read_table(page.parent / "orders.parquet").num_rows == line["orders"]
    equity = pq.read_table(page.parent / "equity.parquet")
    assert equity.num_rows == 700
    assert equity["equity"][-1].as_py() / 10_000 - 1 == line["net_return"]


def test_page_holds_everything_it_shows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: list[str]
) -> None:
    _, out, _ = run(capsys, tmp_path, data, "--runs", "40")
    page = Path(json.loads(out)["report"]).read_text()
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert "No funding was given for ETH" in page
    assert "buy and hold" in page


@pytest.mark.parametrize("strategy", ["sma", "rsi"])
def test_baselines_write_the_same_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: list[str], strategy: str
) -> None:
    code, out, _ = run(capsys, tmp_path, data, "--strategy", strategy, "--symbol", "ETH")
    line = json.loads(out)
    assert code == 0
    assert set(line) == LINE
    assert line["orders"] > 2
    assert line["run_bars"] == 700
    folder = Path(line["report"]).parent
    assert pq.read_table(folder / "trades.parquet").num_rows == line["orders"]


def test_same_command_gives_the_same_journal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: list[str]
) -> None:
    hashes = set()
    for place in range(2):
        _, out, _ = run(capsys, tmp_path / str(place), data, "--runs", "30", "--seed", "9")
        hashes.add(json.loads(out)["journal_sha256"])
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runs", "0"], "runs is 0; allowed is 1 to 1,000,000"),
        (["--symbol", "DOGE"], "no price file of DOGE"),
        (["--fee-bps", "0"], "proves nothing"),
        (["--interval", "90"], "multiples of the candle"),
        (["--interval", "0"], "the interval is 0 s; allowed is 0.001 or more"),
        (["--seed", "-1"], "seed is -1; allowed is 0 or more"),
        (["--from", "2031-01-01"], "no tick of 60 s lies between 2031-01-01T00:00:00Z and "),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "lies before the start, 2026-01-02T"),
        (["--strategy", "sma", "--fast", "9", "--slow", "3"], "allowed is 1 <= fast < slow"),
        (["--config", "/nowhere/config.yml"], "cannot be read"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    data: list[str],
    options: list[str],
    message: str,
) -> None:
    code, out, err = run(capsys, tmp_path, data, *options)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_faulty_file_is_refused_by_row_and_repaired_on_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = candle_text(walk(400)).splitlines()
    del lines[100]
    path = write(tmp_path / "BTC.csv", "\n".join(lines) + "\n")
    code, _, err = run(capsys, tmp_path, [str(path)], "--runs", "20")
    assert code == 2
    assert "row 101: gap of 1 candles" in err
    code, out, _ = run(capsys, tmp_path, [str(path)], "--runs", "20", "--repair")
    assert code == 0
    page = Path(json.loads(out)["report"])
    assert "Repaired on request: BTC.csv" in page.read_text()
    config = json.loads((page.parent / "config.json").read_text())
    assert config["data"][0]["repairs"]["missing_candles"] == 1


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    for terminal in (True, False):
        stream = StringIO()
        console = Console(file=stream, force_terminal=terminal, width=100)
        with BacktestProgress(200, console) as progress:
            progress(100, 5_000)
            progress(100, 5_000)
        text = stream.getvalue()
        assert "run-bars/s" in text
        assert ("\x1b[" in text) is terminal
        assert "200" in text


def test_performance_of_a_known_curve() -> None:
    hour = 3_600_000
    tick_ms = hour * np.arange(1, 5) - 60_000
    equity = np.array([110.0, 99.0, 99.0, 121.0])
    result = performance(tick_ms, equity, equity * 0.5, 1_000.0, 100.0)
    assert result.net_return == pytest.approx(0.21)
    assert result.max_drawdown == pytest.approx(0.1)
    assert result.exposure == pytest.approx(0.5)
    assert result.turnover_per_day == pytest.approx(1_000.0 / equity.mean() / (3 / 24))
    returns = hourly_returns(tick_ms, equity, 100.0)
    np.testing.assert_allclose(returns, [0.1, -0.1, 0.0, 22 / 99])
    ratio = returns.mean() / returns.std(ddof=1)
    assert result.sharpe == pytest.approx(ratio * np.sqrt(8_760))
    assert result.sharpe_error == pytest.approx(np.sqrt((1 + ratio**2 / 2) / 4 * 8_760))
    assert drawdown(np.array([90.0]), 100.0).tolist() == [pytest.approx(0.1)]
    assert np.isnan(sharpe_ratio(np.zeros(50))[0])
