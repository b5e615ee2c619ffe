"""The archive: whole files only, every row once, by day and symbol."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.market_data import price_recording
from shared.market_data.archive import (
    DAY_MS,
    PRICES,
    SCHEMAS,
    Archive,
    ArchiveError,
    clear_drafts,
    start_of,
)
from shared.market_data.price_recording import (
    EntryId,
    PricePart,
    days_with_parts,
    resume_after,
    sort_day,
)
from shared.market_data.quotes import Quote

DAY = date(2026, 3, 14)
START = start_of(DAY)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def quote(symbol: str, time_ms: int, price: int = 100) -> Quote:
    return Quote(symbol, Decimal(price), Decimal(price + 1), time_ms + 7, time_ms, "ws")


def write_part(archive: Archive, *entries: tuple[EntryId, list[Quote]]) -> int:
    part = PricePart()
    for entry, quotes in entries:
        part.add(entry, quotes)
    return part.write(archive)


def mids(archive: Archive, symbol: str, from_ms: int = START, to_ms: int = START + DAY_MS) -> list:
    return archive.read(PRICES, symbol, from_ms, to_ms)["mid"].to_pylist()


def test_prices_are_readable_before_and_after_their_day_is_sorted(archive: Archive) -> None:
    write_part(
        archive,
        ((START + 10, 0), [quote("ETH", START + 9, 10), quote("BTC", START + 9, 100)]),
        ((START + 10, 1), [quote("BTC", START + 10, 101)]),
    )
    write_part(archive, ((START + 500, 0), [quote("BTC", START + 499, 102)]))
    before = archive.read(PRICES, "BTC", START, START + DAY_MS)
    assert before["mid"].to_pylist() == [100, 101, 102]
    assert days_with_parts(archive, DAY) == []
    assert days_with_parts(archive, date(2026, 3, 15)) == [DAY]
    assert sort_day(archive, DAY) == 4
    assert not archive.parts_folder(DAY).exists()
    assert archive.symbols(PRICES) == ["BTC", "ETH"]
    assert archive.days(PRICES, "BTC") == [DAY]
    assert archive.read(PRICES, "BTC", START, START + DAY_MS).equals(before)
    assert mids(archive, "BTC", START + 10, START + 100) == [101]
    stored = pq.ParquetFile(archive.day_file(PRICES, "BTC", DAY))
    assert stored.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_part_that_spans_midnight_belongs_to_both_days(archive: Archive) -> None:
    night = START + DAY_MS
    write_part(
        archive,
        ((night, 0), [quote("BTC", night - 1, 100)]),
        ((night, 1), [quote("BTC", night, 101)]),
    )
    assert [len(archive.part_files(day)) for day in (DAY, date(2026, 3, 15))] == [1, 1]
    assert mids(archive, "BTC", night - 1, night) == [100, 101]
    assert resume_after(archive) == (night, 1)


def test_entries_recorded_twice_are_read_once(archive: Archive) -> None:
    first = ((START + 10, 0), [quote("BTC", START + 10, 100)])
    second = ((START + 20, 0), [quote("BTC", START + 20, 101)])
    write_part(archive, first)
    write_part(archive, first, second)
    assert mids(archive, "BTC") == [100, 101]
    sort_day(archive, DAY)
    assert mids(archive, "BTC") == [100, 101]
    assert archive.rows_of_day(PRICES, "BTC", DAY) == 2


def test_recording_goes_on_after_the_newest_entry_of_parts_or_day_files(archive: Archive) -> None:
    assert resume_after(archive) is None
    write_part(archive, ((START + 10, 3), [quote("BTC", START + 10)]))
    assert resume_after(archive) == (START + 10, 3)
    sort_day(archive, DAY)
    assert resume_after(archive) == (START + 10, 3)


def test_a_sort_killed_between_files_and_parts_is_done_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        time_ms = START + number
        write_part(archive, ((time_ms, 0), [quote("BTC", time_ms), quote("ETH", time_ms)]))
    real = price_recording._DayWriter.finish

    def die_at_eth(writer: price_recording._DayWriter) -> int:
        if "ETH" in str(writer._file):
            raise KeyboardInterrupt
        return real(writer)

    monkeypatch.setattr(price_recording._DayWriter, "finish", die_at_eth)
    with pytest.raises(KeyboardInterrupt):
        sort_day(archive, DAY)
    assert len(archive.part_files(DAY)) == 3
    assert len(mids(archive, "BTC")) == len(mids(archive, "ETH")) == 3
    monkeypatch.undo()
    assert sort_day(archive, DAY) == 6
    assert archive.rows_of_day(PRICES, "BTC", DAY) == 3
    assert archive.part_files(DAY) == []


def test_what_comes_after_a_day_was_sorted_is_sorted_in(archive: Archive) -> None:
    write_part(archive, ((START + 10, 0), [quote("BTC", START + 10, 100)]))
    sort_day(archive, DAY)
    write_part(archive, ((START + 20, 0), [quote("BTC", START + 20, 101)]))
    assert mids(archive, "BTC") == [100, 101]
    sort_day(archive, DAY)
    assert mids(archive, "BTC") == [100, 101]


def test_memory_stays_bounded_while_a_day_is_sorted(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_recording, "_BUFFERED_ROWS", 4)
    for number in range(10):
        write_part(archive, ((START + number, 0), [quote("BTC", START + number, 100 + number)]))
    sort_day(archive, DAY)
    stored = pq.ParquetFile(archive.day_file(PRICES, "BTC", DAY))
    assert stored.num_row_groups == 3
    assert mids(archive, "BTC") == list(range(100, 110))


def test_drafts_of_a_killed_writer_are_not_read_and_are_cleared(archive: Archive) -> None:
    write_part(archive, ((START, 0), [quote("BTC", START)]))
    draft = archive.parts_folder(DAY) / ".half.parquet.0123.tmp"
    draft.write_bytes(b"PAR1 half a file")
    assert mids(archive, "BTC") == [100]
    assert clear_drafts(archive.root) == 1
    assert not draft.exists()


def funding(symbol: str, *times: int) -> pa.Table:
    rows = [{"symbol": symbol, "time_ms": t, "rate": 1e-5, "oracle_price": 5.0} for t in times]
    return pa.Table.from_pylist([row | {"index_usd": 0.0} for row in rows], SCHEMAS["funding"])


def test_a_written_day_replaces_the_old_one_and_is_sorted(archive: Archive) -> None:
    archive.write_day("funding", "xyz:GOLD", DAY, funding("xyz:GOLD", START))
    archive.write_day("funding", "xyz:GOLD", DAY, funding("xyz:GOLD", START + 9, START, START + 9))
    table = archive.read("funding", "xyz:GOLD", START, START + DAY_MS)
    assert table["time_ms"].to_pylist() == [START, START + 9]
    assert archive.symbols("funding") == ["xyz:GOLD"]
    assert archive.day_file("funding", "xyz:GOLD", DAY).parent.name == "xyz~GOLD"


def test_rows_of_another_day_or_symbol_are_refused(archive: Archive) -> None:
    with pytest.raises(ArchiveError, match="2026-03-15"):
        archive.write_day("funding", "BTC", DAY, funding("BTC", START, START + DAY_MS))
    with pytest.raises(ArchiveError, match="ETH"):
        archive.write_day("funding", "BTC", DAY, funding("ETH", START))


@pytest.mark.parametrize("symbol", ["", "../BTC", "parts", ".hidden"])
def test_a_name_that_is_no_coin_is_refused(archive: Archive, symbol: str) -> None:
    with pytest.raises(ArchiveError, match="not the name of a coin"):
        archive.read(PRICES, symbol, START, START)


def test_a_dataset_that_does_not_exist_is_refused(archive: Archive) -> None:
    with pytest.raises(ArchiveError, match="candles_1m"):
        archive.read("candles", "BTC", START, START)


def test_a_file_that_is_not_parquet_is_named(archive: Archive) -> None:
    file = archive.day_file(PRICES, "BTC", DAY)
    file.parent.mkdir(parents=True)
    file.write_text("nonsense")
    with pytest.raises(ArchiveError, match=r"2026-03-14\.parquet"):
        archive.read(PRICES, "BTC", START, START)


def test_nothing_recorded_is_an_empty_answer(archive: Archive) -> None:
    table = archive.read("candles_1m", "BTC", START, START + DAY_MS)
    assert table.num_rows == 0
    assert table.schema.names == SCHEMAS["candles_1m"].names
