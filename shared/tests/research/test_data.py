"""Files and the venue into the archive: whole days, once, and again after being killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pytest
import requests

from shared.config import load_settings
from shared.exchange_manager import ExchangeManager
from shared.market_data.archive import Archive
from shared.research.data.__main__ import NOBODY, main
from shared.research.data.days import coverage
from shared.research.data.fetching import Span, fetch
from shared.research.data.importing import import_rows, read_file
from shared.research.errors import DataFileError, ResearchError
from shared.testing.paper_venue import PaperVenue
from shared.tests.research.samples import MINUTE_MS, ROOT, candle_text, walk, write

DAY_MS = 86_400_000
FIRST_MS = 1_700_006_400_000  # a UTC midnight
COUNT = 4_000


class KilledError(Exception):
    """What stands for a kill."""


def nothing(_: str) -> None:
    return


def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str
) -> tuple[int, dict[str, object], str]:
    options = ["--archive", str(tmp_path / "archive"), "--config", str(ROOT / "config.yml")]
    code = main([*arguments, *options])
    out, err = capsys.readouterr()
    line = json.loads(out.splitlines()[-1]) if out else {}
    return code, line, " ".join((out + err).split())


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    return write(tmp_path / "BTC_1m.csv.gz", candle_text(walk(COUNT), FIRST_MS))


def test_candles_become_days_of_the_archive(
    tmp_path: Path, candles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line, text = run(capsys, tmp_path, "--data", str(candles))
    assert code == 0
    archive = Archive(tmp_path / "archive")
    assert [day.isoformat() for day in archive.days("candles_1m", "BTC")] == [
        "2023-11-15",
        "2023-11-16",
        "2023-11-17",
    ]
    table = archive.read("candles_1m", "BTC", FIRST_MS, FIRST_MS + COUNT * MINUTE_MS)
    assert table["close"].to_numpy().tolist() == walk(COUNT).tolist()
    assert set(table["volume"].to_pylist()) == {1.5}
    assert line["days_written"] == 3
    assert line["datasets"][0]["missing"] == 0  # type: ignore[index]
    assert "3 of 3 days" in text
    code, line, _ = run(capsys, tmp_path, "--data", str(candles))
    assert (code, line["days_written"], line["days_there_before"]) == (0, 0, 3)


def test_killed_import_goes_on_where_it_stopped(tmp_path: Path, candles: Path) -> None:
    archive = Archive(tmp_path / "archive")

    def kill_after(days: int) -> Callable[[str], None]:
        seen: list[str] = []

        def progress(last: str) -> None:
            seen.append(last)
            if len(seen) == days:
                raise KilledError

        return progress

    imported, table = read_file("BTC", candles)
    with pytest.raises(KilledError):
        import_rows(archive, imported, table, kill_after(2))
    assert len(archive.days("candles_1m", "BTC")) == 2
    again, table = read_file("BTC", candles)
    import_rows(archive, again, table, nothing)
    assert (again.days_there, again.days_written) == (2, 1)
    found = coverage(archive, "candles_1m", "BTC", again.from_ms, again.to_ms)
    assert (found.rows, found.missing) == (COUNT, 0)


def test_bad_row_is_refused_by_number_and_left_out_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = candle_text(walk(300), FIRST_MS).splitlines()
    lines[100] = lines[100].replace(lines[100].split(",")[4], "-1")
    del lines[200]
    path = write(tmp_path / "ETH.csv", "\n".join(lines) + "\n")
    code, _, text = run(capsys, tmp_path, "--data", str(path))
    assert code == 2
    assert "row 101: close is '-1'; allowed is a number above 0" in text
    assert not (tmp_path / "archive").exists()
    code, line, text = run(capsys, tmp_path, "--data", str(path), "--repair")
    assert code == 0
    assert "1 bad rows left out" in text
    (dataset,) = line["datasets"]  # type: ignore[misc]
    gap_ms = FIRST_MS + 99 * MINUTE_MS
    assert dataset["missing"] == 2
    assert dataset["gaps"][0] == [gap_ms, gap_ms, 1]


def test_volume_and_grid_are_checked(tmp_path: Path) -> None:
    text = candle_text(walk(5), FIRST_MS).replace(",1.5\n", ",-2\n", 1)
    with pytest.raises(DataFileError, match=r"row 2: volume is '-2'; allowed is a number of 0"):
        read_file("BTC", write(tmp_path / "v.csv", text))
    with pytest.raises(DataFileError, match="allowed are multiples of 1m"):
        read_file("BTC", write(tmp_path / "g.csv", candle_text(walk(5), FIRST_MS + 7)))


def test_other_numbers_at_the_same_time_are_refused_unless_they_shall_replace(
    tmp_path: Path, candles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, tmp_path, "--data", str(candles))
    other = write(tmp_path / "BTC_other.csv", candle_text(walk(50) * 1.01, FIRST_MS))
    code, _, text = run(capsys, tmp_path, "--data", str(other))
    assert code == 2
    assert f"candles_1m of BTC at {FIRST_MS}: the archive has close" in text
    code, _, _ = run(capsys, tmp_path, "--data", str(other), "--replace")
    assert code == 0
    table = Archive(tmp_path / "archive").read("candles_1m", "BTC", FIRST_MS, FIRST_MS + DAY_MS - 1)
    assert table["close"].to_numpy()[:50].tolist() == (walk(50) * 1.01).tolist()
    assert table["close"].to_numpy()[50:].tolist() == walk(COUNT)[50:1_440].tolist()


def test_feather_ticks_and_funding_have_their_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    price = walk(20)
    columns = dict.fromkeys(("open", "high", "low", "close"), price)
    date = pa.array(FIRST_MS + 300_000 * np.arange(20)).cast(pa.timestamp("ms", tz="UTC"))
    pa_feather.write_feather(pa.table({"date": date, **columns}), tmp_path / "SOL-5m.feather")
    ticks = "timestamp_ms,price\n" + "".join(f"{FIRST_MS + k // 2},{10 + k}\n" for k in range(9))
    write(tmp_path / "SOL_trades.csv", ticks)
    rates = "timestamp_ms,funding_rate\n" + "".join(
        f"{FIRST_MS + k * 3_600_000 + 47},0.00001\n" for k in range(30) if k != 7
    )
    write(tmp_path / "SOL_funding.csv", rates)
    code, line, _ = run(capsys, tmp_path, "--data", str(tmp_path))
    assert code == 0
    found = {d["dataset"]: (d["rows"], d["missing"]) for d in line["datasets"]}  # type: ignore[attr-defined]
    assert found == {"candles_5m": (20, 0), "prices": (9, 0), "funding": (29, 1)}
    prices = Archive(tmp_path / "archive").read("prices", "SOL", FIRST_MS, FIRST_MS + 100)
    assert prices["mid"].to_pylist() == [float(10 + k) for k in range(9)]
    assert run(capsys, tmp_path, "--data", str(tmp_path))[1]["days_written"] == 0


def test_venue_fills_the_archive_and_complete_days_are_not_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with PaperVenue(tmp_path / "venue") as venue:
        monkeypatch.setenv("T3__paper_exchange__url", venue.url)
        since_ms = (time.time_ns() // 1_000_000) // DAY_MS * DAY_MS - 2 * DAY_MS
        options = ("--symbol", "BTC", "--timeframe", "5m", "--from", str(since_ms))
        code, line, text = run(capsys, tmp_path, *options)
        assert code in (0, 1), text
        by_name = {d["dataset"]: d for d in line["datasets"]}  # type: ignore[attr-defined]
        assert set(by_name) == {"candles_5m", "funding"}
        assert by_name["candles_5m"]["rows"] >= 2 * 288
        assert by_name["candles_5m"]["missing"] == 0
        archive = Archive(tmp_path / "archive")
        table = archive.read("candles_5m", "BTC", since_ms, since_ms + 2 * DAY_MS - 1)
        wanted = {"coin": "BTC", "interval": "5m", "startTime": since_ms}
        wanted["endTime"] = since_ms + 2 * DAY_MS - 1
        body = {"type": "candleSnapshot", "req": wanted}
        bars = requests.post(f"{venue.url}/info", json=body, timeout=10).json()
        assert table["open_ms"].to_pylist() == [bar["t"] for bar in bars]
        assert table["close"].to_pylist() == [float(bar["c"]) for bar in bars]
        manager = ExchangeManager(load_settings(ROOT / "config.yml"), NOBODY)

        asked: list[int] = []

        class Counting:
            def candles(self, symbol: str, timeframe: str, since: int, until: int) -> object:
                asked.append(since)
                return manager.candles(symbol, timeframe, since, until)

        span = Span("candles_5m", "BTC", since_ms, since_ms + 2 * DAY_MS - 1)
        assert fetch(Counting(), archive, span, nothing) == 0  # type: ignore[arg-type]
        assert asked == []
        archive.day_file("candles_5m", "BTC", archive.days("candles_5m", "BTC")[1]).unlink()
        assert fetch(Counting(), archive, span, nothing) == 1  # type: ignore[arg-type]
        assert asked == [since_ms + DAY_MS]
        manager.close()


def test_venue_that_stops_answering_keeps_what_came_and_says_so(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    span = Span("candles_1m", "BTC", FIRST_MS, FIRST_MS + 6 * DAY_MS - 1)
    file = write(tmp_path / "BTC.csv", candle_text(walk(6 * 1_440), FIRST_MS))
    _, table = read_file("BTC", file)

    class Failing:
        calls = 0

        def candles(self, symbol: str, timeframe: str, since: int, until: int) -> object:
            from shared.market_data.candle import Candle

            self.calls += 1
            if self.calls == 2:
                raise KilledError
            rows = table.slice((since - FIRST_MS) // MINUTE_MS, (until + 1 - since) // MINUTE_MS)
            return [
                Candle(**{k: v for k, v in row.items() if k != "symbol"})
                for row in rows.to_pylist()
            ]

    venue = Failing()
    with pytest.raises(KilledError):
        fetch(venue, archive, span, nothing)  # type: ignore[arg-type]
    assert len(archive.days("candles_1m", "BTC")) == 2
    assert fetch(venue, archive, span, nothing) == 4  # type: ignore[arg-type]
    assert coverage(archive, "candles_1m", "BTC", span.from_ms, span.to_ms).missing == 0
    assert fetch(venue, archive, replace(span, to_ms=span.to_ms), nothing) == 0  # type: ignore[arg-type]


def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["--data", str(tmp_path / "nowhere.csv")], "there is no such file"),
        (["--from", "2031-01-01"], "nothing lies between FROM and TO"),
        (["--data", str(tmp_path), "--symbol", "DOGE"], "no"),
    ):
        code, _, text = run(capsys, tmp_path, *arguments)
        assert code == 2
        assert words in text
        assert "Traceback" not in text
    with pytest.raises(ResearchError, match="candles are 7 s long"):
        read_file(
            "BTC",
            write(
                tmp_path / "BTC.csv",
                "timestamp_ms,open,high,low,close\n"
                + "".join(f"{FIRST_MS + 7_000 * k},1,1,1,1\n" for k in range(4)),
            ),
        )
