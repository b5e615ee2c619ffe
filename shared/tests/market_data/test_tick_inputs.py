"""Immutable tick rows, on a real MariaDB, and windows over them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from shared.database import UnitOfWork
from shared.market_data.tick_inputs import (
    TICK_DTYPE,
    TickInputStore,
    TickLayoutError,
    TickRow,
    TickSource,
    TickWindow,
    config_version,
    empty_samples,
    pack,
    unpack,
)
from shared.storage.tables import config_versions, tick_inputs

INTERVAL = 5_000


def samples(prices: dict[int, float], not_ok: Sequence[int] = ()) -> np.ndarray:
    rows = empty_samples(prices)
    for number, product_id in enumerate(rows["product_id"]):
        if product_id in not_ok:
            continue
        rows["ok"][number] = 1
        rows["mid"][number] = rows["mark"][number] = prices[product_id]
        rows["funding_index"][number] = -0.5
        rows["volatility"][number] = 0.01
    return rows


def row(tick_ms: int, price: float = 100.0, source: TickSource = "live") -> TickRow:
    content = unpack(b"") if source == "missing" else samples({1: price, 2: 2 * price})
    return TickRow(INTERVAL, tick_ms, "v1", source, content, tick_ms + 3)


def insert(engine: Engine, *rows: TickRow) -> list[bool]:
    with UnitOfWork(engine) as uow:
        written = [TickInputStore(uow.conn).insert(r) for r in rows]
        uow.commit()
    return written


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(
        st.integers(1, 2**31 - 1),
        st.tuples(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), finite, finite, st.booleans()),
        max_size=50,
    )
)
def test_packing_keeps_every_bit(
    content: dict[int, tuple[float, float, float, float, bool]],
) -> None:
    rows = empty_samples(content)
    for number, product_id in enumerate(rows["product_id"]):
        mid, mark, funding, volatility, ok = content[int(product_id)]
        rows[number] = (product_id, ok, mid, mark, funding, volatility)
    back = unpack(pack(rows))
    assert back.tobytes() == rows.tobytes()
    assert not back.flags.writeable


def test_a_row_of_two_hundred_products_stays_small() -> None:
    assert TICK_DTYPE.itemsize == 37
    assert len(pack(samples(dict.fromkeys(range(1, 201), 1.0)))) == 7_401


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r[::-1],
        lambda r: r.repeat(2),
        lambda r: r["mid"],
        lambda r: _with(r, "mid", 0.0),
        lambda r: _with(r, "mid", -1.0),
        lambda r: _with(r, "mark", np.nan),
        lambda r: _with(r, "mark", np.inf),
        lambda r: _with(r, "ok", 2),
    ],
)
def test_impossible_samples_cannot_be_packed(damage) -> None:
    with pytest.raises(ValueError, match=r"expected|rise|ok"):
        pack(damage(samples({1: 10.0, 2: 20.0})))


def _with(rows: np.ndarray, name: str, value: float) -> np.ndarray:
    rows[name][0] = value
    return rows


@pytest.mark.parametrize("payload", [b"\x02" + bytes(37), b"\x01" + bytes(36), b"x"])
def test_foreign_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(TickLayoutError):
        unpack(payload)


def test_a_tick_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        row(INTERVAL + 1)


def test_the_first_writer_wins_and_nothing_changes_afterwards(engine: Engine) -> None:
    assert insert(engine, row(INTERVAL, 100.0)) == [True]
    assert insert(engine, row(INTERVAL, 999.0), row(2 * INTERVAL, 101.0)) == [False, True]
    with UnitOfWork(engine) as uow:
        stored = TickInputStore(uow.conn).rows(INTERVAL, 0, 10 * INTERVAL)
    assert [r.samples["mid"][0] for r in stored] == [100.0, 101.0]
    assert stored[0].samples["product_id"].tolist() == [1, 2]


def test_two_writers_at_once_give_one_row_per_tick(engine: Engine) -> None:
    written: list[list[bool]] = [[], []]
    start = threading.Barrier(2)

    def write(number: int) -> None:
        start.wait()
        for tick in range(1, 41):
            written[number] += insert(engine, row(tick * INTERVAL, 100.0 + number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(pair) for pair in zip(*written, strict=True)] == [1] * 40
    with engine.connect() as conn:
        assert conn.execute(select(func.count()).select_from(tick_inputs)).scalar_one() == 40


def test_series_of_different_intervals_do_not_mix(engine: Engine) -> None:
    insert(engine, row(2 * INTERVAL))
    with UnitOfWork(engine) as uow:
        store = TickInputStore(uow.conn)
        other = TickRow(1_000, 12_000, "v1", "live", samples({1: 5.0}), 0)
        assert store.insert(other)
        assert store.latest_tick(INTERVAL) == 2 * INTERVAL
        assert store.latest_tick(1_000) == 12_000
        assert store.latest_tick(7) is None
        assert store.latest(7) is None
        newest = store.latest(1_000)
        assert newest is not None
        assert newest.samples["mid"].tolist() == [5.0]


def test_a_window_lays_rows_on_the_grid_and_gaps_are_not_ok(engine: Engine) -> None:
    later = TickRow(INTERVAL, 5 * INTERVAL, "v2", "backfill", samples({1: 104.0, 3: 7.0}, [3]), 0)
    insert(engine, row(INTERVAL, 100.0), row(2 * INTERVAL, source="missing"), later)
    with UnitOfWork(engine) as uow:
        store = TickInputStore(uow.conn)
        window = store.window(INTERVAL, INTERVAL, 6 * INTERVAL)
        chosen = store.window(INTERVAL, INTERVAL, 6 * INTERVAL, [3, 1, 9])
        gaps = store.gaps(INTERVAL, INTERVAL, 6 * INTERVAL)
    assert window.tick_ms.tolist() == [INTERVAL * t for t in range(1, 7)]
    assert window.present.tolist() == [True, False, False, False, True, False]
    assert window.config_version == ("v1", "v1", "", "", "v2", "")
    assert window.product_ids.tolist() == [1, 2, 3]
    assert window.ok.tolist() == [
        [True, True, False],
        *[[False] * 3] * 3,
        [True, False, False],
        [False] * 3,
    ]
    assert window.mid[0].tolist()[:2] == [100.0, 200.0]
    assert np.isnan(window.mid[1:4]).all()
    assert window.mid[4, 0] == 104.0
    assert window.volatility[4, 0] == 0.01
    assert gaps == [2 * INTERVAL, 3 * INTERVAL, 4 * INTERVAL, 6 * INTERVAL]
    assert chosen.product_ids.tolist() == [1, 3, 9]
    assert chosen.ok[:, 0].tolist() == [True, False, False, False, True, False]
    assert not chosen.ok[:, 2].any()
    with pytest.raises(ValueError, match="read-only"):
        window.mid[0, 0] = 1.0


@pytest.mark.parametrize(
    ("first", "last"), [(1, INTERVAL), (INTERVAL, 7), (2 * INTERVAL, INTERVAL)]
)
def test_a_range_that_is_not_of_ticks_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="multiples of the interval"):
        TickWindow.from_rows(INTERVAL, first, last, [])


def test_an_empty_window_has_no_products() -> None:
    window = TickWindow.from_rows(INTERVAL, 0, INTERVAL, [])
    assert len(window) == 2
    assert window.mid.shape == (2, 0)


def test_configurations_are_stored_once_under_their_hash(engine: Engine) -> None:
    content = {"b": [1, 2.5], "a": {"x": None}}
    with UnitOfWork(engine) as uow:
        store = TickInputStore(uow.conn)
        first = store.save_config(content, 1)
        assert store.save_config({"a": {"x": None}, "b": [1, 2.5]}, 2) == first
        other = store.save_config({"a": 1}, 3)
        uow.commit()
        stored = {r.version: r.content for r in uow.conn.execute(select(config_versions))}
    assert first == config_version(content)
    assert len(first) == 16
    assert stored == {first: content, other: {"a": 1}}
