"""The recorder on real servers: nothing lost that the stream still holds, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, delete

from recorder.service import Busy, PriceRecorder, TableRecorder, hold
from shared.database import UnitOfWork
from shared.exchange.payloads import Fill
from shared.market_data.archive import DAY_MS, FILLS, FUNDING, PRICES, Archive, day_of, start_of
from shared.market_data.candle import Candle
from shared.market_data.quotes import Quote
from shared.storage.candles import CandleStore
from shared.storage.funding import FundingPoint, FundingStore
from shared.storage.orders import FillStore
from shared.storage.redis_keys import PRICES_STREAM
from shared.storage.streams import PriceStore
from shared.storage.tables import candles
from shared.testing.clock import FrozenClock
from shared.testing.servers import wait_until

NOW_MS = time.time_ns() // 1_000_000
TODAY = day_of(NOW_MS)


def publish(client: redis.Redis, *prices: int, symbol: str = "BTC") -> None:
    store = PriceStore(client)
    for price in prices:
        store.publish([Quote(symbol, Decimal(price), Decimal(price), NOW_MS, NOW_MS, "ws")])


def recorded(archive: Archive, symbol: str = "BTC") -> list[float]:
    table = archive.read(PRICES, symbol, NOW_MS - DAY_MS, NOW_MS + DAY_MS)
    prices: list[float] = table["mid"].to_pylist()
    return prices


def recorder_on(archive: Archive, client: redis.Redis) -> PriceRecorder:
    recorder = PriceRecorder(archive, client, FrozenClock(NOW_MS))
    recorder.resume()
    return recorder


def test_a_killed_recorder_reads_again_what_it_had_not_written(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    archive = Archive(tmp_path)
    publish(redis_client, 1, 2, 3)
    first = recorder_on(archive, redis_client)
    assert first.read() == 3
    assert first.flush() == 3
    publish(redis_client, 4, 5)
    assert first.read() == 2  # never written
    second = recorder_on(archive, redis_client)
    publish(redis_client, 6)
    assert second.read() == 3
    second.flush()
    assert recorded(archive) == [1, 2, 3, 4, 5, 6]


def test_a_symbol_may_come_and_go(tmp_path: Path, redis_client: redis.Redis) -> None:
    archive = Archive(tmp_path)
    recorder = recorder_on(archive, redis_client)
    publish(redis_client, 7, symbol="xyz:GOLD")
    recorder.read()
    recorder.flush()
    assert recorded(archive, "xyz:GOLD") == [7]
    assert recorded(archive, "BTC") == []


def test_entries_that_left_the_stream_unrecorded_are_told(
    tmp_path: Path, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path)
    publish(redis_client, 1)
    recorder = recorder_on(archive, redis_client)
    recorder.read()
    recorder.flush()
    publish(redis_client, 2, 3)
    redis_client.xtrim(PRICES_STREAM, maxlen=1, approximate=False)
    second = recorder_on(archive, redis_client)
    assert "prices_not_recorded" in "".join(capsys.readouterr())
    second.read()
    second.flush()
    assert recorded(archive) == [1, 3]


def test_an_entry_that_is_not_a_price_does_not_stop_the_recorder(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    archive = Archive(tmp_path)
    recorder = recorder_on(archive, redis_client)
    publish(redis_client, 1)
    redis_client.xadd(PRICES_STREAM, {"payload": "nonsense"})
    publish(redis_client, 2)
    assert recorder.read() == 3
    recorder.flush()
    assert recorded(archive) == [1, 2]


def test_a_finished_day_is_sorted_into_files_per_symbol(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    archive = Archive(tmp_path)
    clock = FrozenClock(NOW_MS)
    recorder = PriceRecorder(archive, redis_client, clock)
    recorder.resume()
    publish(redis_client, 1, 2)
    recorder.read()
    recorder.flush()
    assert recorder.sort_finished_days() == 0
    clock.ms = start_of(TODAY) + DAY_MS + 700_000
    assert recorder.sort_finished_days() == 2
    assert archive.days(PRICES, "BTC") == [TODAY]
    assert recorded(archive) == [1, 2]


def test_days_of_the_tables_are_copied_when_rows_were_added(tmp_path: Path, engine: Engine) -> None:
    archive = Archive(tmp_path)
    recorder = TableRecorder(archive, engine, ("1m",), FrozenClock(NOW_MS))
    minute = start_of(TODAY)

    def save(*offsets: int) -> None:
        bars = [Candle(minute + 60_000 * n, 1.0, 2.0, 0.5, 1.5, 9.0) for n in offsets]
        with UnitOfWork(engine) as uow:
            CandleStore(uow.conn).save("BTC", "1m", bars)
            uow.commit()

    save(0, 3, -2)
    with UnitOfWork(engine) as uow:
        FundingStore(uow.conn).append([FundingPoint("BTC", minute, 1e-5, 100.0, -0.001)])
        FillStore(uow.conn).add([a_fill(minute + 5)])
        uow.commit()
    assert recorder.copy() == 4  # candles of two days, funding, fills
    assert recorder.copy() == 0
    save(1)  # filled in late
    assert recorder.copy() == 1
    bars = archive.read("candles_1m", "BTC", minute - DAY_MS, minute + DAY_MS)
    opens = [minute + 60_000 * n for n in (-2, 0, 1, 3)]
    assert bars["open_ms"].to_pylist() == opens
    assert archive.read(FUNDING, "BTC", minute, minute)["index_usd"].to_pylist() == [-0.001]
    fill = archive.read(FILLS, "BTC", minute, minute + 10).to_pylist()[0]
    assert (fill["price"], fill["size"], fill["tid"]) == (Decimal("100.5"), Decimal("0.25"), 77)


def test_what_mariadb_has_purged_stays_in_the_archive(tmp_path: Path, engine: Engine) -> None:
    archive = Archive(tmp_path)
    recorder = TableRecorder(archive, engine, ("1m",), FrozenClock(NOW_MS))
    minute = start_of(TODAY)
    with UnitOfWork(engine) as uow:
        CandleStore(uow.conn).save("BTC", "1m", [Candle(minute, 1.0, 2.0, 0.5, 1.5, 9.0)])
        uow.commit()
    recorder.copy()
    with UnitOfWork(engine) as uow:
        uow.conn.execute(delete(candles))
        uow.commit()
    recorder.copy()
    assert archive.rows_of_day("candles_1m", "BTC", TODAY) == 1


def a_fill(time_ms: int) -> Fill:
    return Fill(
        symbol="BTC",
        price=Decimal("100.5"),
        size=Decimal("0.25"),
        side="buy",
        time_ms=time_ms,
        start_position=Decimal(0),
        direction="Open Long",
        closed_pnl=Decimal(0),
        oid=5,
        crossed=True,
        fee=Decimal("0.01"),
        fee_token="USDC",
        tid=77,
        cloid=None,
    )


def test_a_second_recorder_stays_out(tmp_path: Path) -> None:
    lock = hold(tmp_path)
    with pytest.raises(Busy, match="another recorder"):
        hold(tmp_path)
    os.close(lock)
    os.close(hold(tmp_path))


def test_a_recorder_killed_as_a_process_leaves_whole_files_and_loses_nothing(
    service_environ: Mapping[str, str], tmp_path: Path, engine: Engine, redis_client: redis.Redis
) -> None:
    environ = dict(service_environ) | {
        "T3__recorder__path": str(tmp_path / "archive"),
        "T3__recorder__flush_secs": "1",
    }
    archive = Archive(tmp_path / "archive")

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "recorder.log").open("ab") as sink:
            command = [sys.executable, "-m", "recorder"]
            return subprocess.Popen(command, env=environ, stdout=sink, stderr=sink)

    publish(redis_client, *range(1, 51))
    process = start()
    wait_until(lambda: len(recorded(archive)) == 50, 20, "the first prices in the archive")
    publish(redis_client, *range(51, 101))
    process.send_signal(signal.SIGKILL)
    process.wait()
    publish(redis_client, *range(101, 151))
    process = start()
    wait_until(lambda: len(recorded(archive)) >= 150, 20, "all prices in the archive")
    publish(redis_client, 151)
    with UnitOfWork(engine) as uow:
        CandleStore(uow.conn).save("BTC", "1m", [Candle(start_of(TODAY), 1.0, 2.0, 0.5, 1.5, 9.0)])
        uow.commit()
    process.terminate()  # reads and copies once more before it ends
    assert process.wait(20) == 0, (tmp_path / "recorder.log").read_text()
    assert recorded(archive) == list(range(1, 152))
    assert archive.rows_of_day("candles_1m", "BTC", TODAY) == 1
