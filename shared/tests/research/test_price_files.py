"""Files are taken as they are, refused with their row, or repaired with a report."""

from __future__ import annotations

import gzip
import io
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.research.errors import DataFileError, ResearchError
from shared.research.funding_files import load_funding
from shared.research.markets import find_files, spec_of
from shared.research.price_files import joined, load_prices
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, candle_text, walk, write

HEADER = "timestamp_ms,open,high,low,close,volume\n"


def rows(*lines: str) -> str:
    return HEADER + "\n".join(lines) + "\n"


GOOD = [f"{FIRST_MS + k * MINUTE_MS},100,101,99,100.5,3" for k in range(6)]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_close_of_a_candle_is_known_at_its_end(tmp_path: Path, name: str) -> None:
    price = walk(50)
    points = load_prices("BTC", write(tmp_path / name, candle_text(price)))
    assert points.known_ms[0] == FIRST_MS + MINUTE_MS
    assert points.spacing_ms == MINUTE_MS
    assert points.price.tolist() == price.tolist()
    assert len(points.sha256) == 64
    assert not points.repairs.any


def test_parquet_gives_the_same_points(tmp_path: Path) -> None:
    price = walk(50)
    csv = load_prices("BTC", write(tmp_path / "a.csv", candle_text(price)))
    times = FIRST_MS + MINUTE_MS * np.arange(50)
    before = np.concatenate([price[:1], price[:-1]])
    table = {
        "timestamp_ms": pa.array(times).cast(pa.timestamp("ms", tz="UTC")),
        "open": before,
        "high": np.maximum(before, price),
        "low": np.minimum(before, price),
        "close": price,
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    points = load_prices("BTC", tmp_path / "a.parquet")
    assert points.price.tobytes() == csv.price.tobytes()
    assert points.known_ms.tobytes() == csv.known_ms.tobytes()


def test_ticks_and_quotes_keep_their_own_time(tmp_path: Path) -> None:
    text = f"timestamp_ms,price,size\n{FIRST_MS},10,1\n{FIRST_MS},11,1\n{FIRST_MS + 5},12,1\n"
    points = load_prices("XRP", write(tmp_path / "t.csv", text))
    assert points.kind == "ticks"
    assert points.known_ms.tolist() == [FIRST_MS, FIRST_MS, FIRST_MS + 5]
    quotes = f"timestamp_ms,bid_price,bid_size,ask_price,ask_size\n{FIRST_MS},10,1,12,1\n"
    assert load_prices("XRP", write(tmp_path / "q.csv", quotes)).price.tolist() == [11.0]


@pytest.mark.parametrize(
    ("lines", "row", "message"),
    [
        ([*GOOD[:2], GOOD[2].replace("100.5", "nan"), *GOOD[3:]], 4, "close is 'nan'"),
        ([*GOOD[:2], GOOD[2].replace(",99,", ",0,"), *GOOD[3:]], 4, "low is '0'"),
        ([*GOOD[:2], GOOD[2].replace(",99,", ",-5,"), *GOOD[3:]], 4, "above 0"),
        ([*GOOD[:2], GOOD[2].replace(",101,", ",abc,"), *GOOD[3:]], 4, "high is 'abc'"),
        ([*GOOD[:2], GOOD[2].replace(",101,", ",,"), *GOOD[3:]], 4, "high is ''"),
        ([*GOOD[:2], GOOD[2].replace(",101,", ",100.2,"), *GOOD[3:]], 4, "outside high and low"),
        ([*GOOD[:2], "noon" + GOOD[2][13:], *GOOD[3:]], 4, "timestamp_ms is 'noon'"),
        ([*GOOD[:3], GOOD[1], *GOOD[3:]], 5, "out of order"),
        ([*GOOD[:3], GOOD[2], *GOOD[3:]], 5, "duplicate"),
        ([*GOOD[:3], *GOOD[4:]], 5, "gap of 1 candles of 60 s"),
    ],
)
def test_fault_is_refused_with_its_row(
    tmp_path: Path, lines: list[str], row: int, message: str
) -> None:
    path = write(tmp_path / "bad.csv", rows(*lines))
    with pytest.raises(DataFileError, match=message) as caught:
        load_prices("BTC", path)
    assert caught.value.row == row
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (HEADER, "no usable rows"),
        ("timestamp_ms,last\n1,2\n", "found are last, timestamp_ms"),
        (rows(GOOD[0]), "at least two candles"),
        (rows(GOOD[0], "1,2"), "cannot be read"),
    ],
)
def test_file_that_holds_no_prices_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        load_prices("BTC", write(tmp_path / "bad.csv", text))


def test_broken_archive_and_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(DataFileError, match="cannot be read"):
        load_prices("BTC", path)
    with pytest.raises(ResearchError, match="no such file"):
        find_files([str(tmp_path / "none.csv")], ["BTC"])


def test_repair_says_what_it_did_and_fills_no_gap(tmp_path: Path) -> None:
    changed = GOOD[1].replace("100.5", "100.7")
    lines = [GOOD[0], GOOD[2], GOOD[1], changed, GOOD[5].replace("100.5", "0"), GOOD[5]]
    path = write(tmp_path / "bad.csv", rows(*lines))
    points = load_prices("BTC", path, repair=True)
    places = (points.known_ms - FIRST_MS) // MINUTE_MS - 1
    assert places.tolist() == [0, 1, 2, 5]
    assert points.price.tolist() == [100.5, 100.7, 100.5, 100.5]
    repairs = points.repairs
    assert (repairs.bad_rows, repairs.out_of_order, repairs.duplicates) == (1, 1, 1)
    assert (repairs.gaps, repairs.missing_candles) == (1, 2)
    assert repairs.first_rows == {"bad_rows": 6, "out_of_order": 4, "duplicates": 5, "gaps": 7}
    assert repairs.listed_gaps[0].after_ms == FIRST_MS + 2 * MINUTE_MS


def test_files_of_one_symbol_are_joined_unless_they_overlap(tmp_path: Path) -> None:
    price = walk(60)
    late = FIRST_MS + 40 * MINUTE_MS
    first = load_prices("BTC", write(tmp_path / "a.csv", candle_text(price[:40])))
    second = load_prices("BTC", write(tmp_path / "b.csv", candle_text(price[40:], late)))
    whole = joined([second, first])
    assert whole.price.tolist() == price.tolist()
    with pytest.raises(DataFileError, match=r"overlaps a\.csv"):
        joined([first, first])


def test_symbols_are_told_by_file_names(tmp_path: Path) -> None:
    for name in ("x_BTCUSDT_1m.csv", "x_eth-perp.csv.gz", "x_DOGE_1m.csv", "notes_BTC.txt"):
        (tmp_path / name).write_text("")
    found = find_files([str(tmp_path)], ["BTC", "ETH"])
    assert [(s, p.name) for s, p in found] == [
        ("BTC", "x_BTCUSDT_1m.csv"),
        ("ETH", "x_eth-perp.csv.gz"),
    ]
    named = find_files([f"DOGE={tmp_path}/x_DOGE_1m.csv"], ["BTC"])
    assert named == [("DOGE", tmp_path / "x_DOGE_1m.csv")]
    with pytest.raises(ResearchError, match="holds none of BTC"):
        find_files([str(tmp_path / "x_DOGE_1m.csv")], ["BTC"])
    assert spec_of("DOGE").max_leverage == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{FIRST_MS},0.0001\n{FIRST_MS},0.0001\n", "row 3"),
        (f"{FIRST_MS},0.5\n", "row 2"),
        (f"{FIRST_MS},\n", "row 2"),
        ("", "no rows"),
    ],
)
def test_funding_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "f.csv", "timestamp_ms,funding_rate\n" + text)
    with pytest.raises(DataFileError, match=message):
        load_funding("BTC", path)


def test_archive_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path, text = tmp_path / "a.csv.gz", candle_text(walk(50)).encode()
    path.write_bytes(gzip.compress(text[:1_000]) + gzip.compress(text[1_000:]))
    assert load_prices("BTC", path).price.tolist() == walk(50).tolist()


class Watched(io.BytesIO):
    """Bytes that remember which threads asked for them."""

    threads: ClassVar[set[int]] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_no_thread_of_arrow_runs_code_of_python(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that still does when the interpreter ends aborts the process."""
    path = write(tmp_path / name, candle_text(walk(50)))
    text = candle_text(walk(50)).encode()
    monkeypatch.setattr("shared.research.tables._open_csv", lambda _: Watched(text))
    Watched.threads.clear()
    assert len(load_prices("BTC", path).price) == 50
    assert Watched.threads <= {threading.get_ident()}
