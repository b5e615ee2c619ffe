"""The stored record: size, first bytes, round trips, old layouts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.providence import run_state
from shared.providence.kernel import swap_bytes
from shared.providence.run_state import (
    KERNEL_DTYPE,
    LAYOUT,
    RUN_DTYPE,
    StateLayoutError,
    from_json,
    join,
    new_records,
    pack,
    to_json,
    unpack,
)
from shared.tests.providence.samples import plain_run


def test_record_is_small_and_starts_with_a_comparable_tick() -> None:
    assert RUN_DTYPE.itemsize == 288
    assert [RUN_DTYPE.fields[n][1] for n in ("tick", "layout", "run_id")] == [0, 8, 16]
    assert [KERNEL_DTYPE.fields[n][1] for n in KERNEL_DTYPE.names[1:]] == [
        RUN_DTYPE.fields[n][1] for n in RUN_DTYPE.names[1:]
    ]
    early, late = plain_run(tick=255), plain_run(tick=256)
    assert pack(early)[0][:8] < pack(late)[0][:8]
    assert int.from_bytes(pack(late)[0][:8], "big") == 256


@settings(deadline=None)
@given(tick=st.integers(-(2**63), 2**63 - 1))
def test_kernel_reads_the_big_endian_tick(tick: int) -> None:
    record = new_records(1)
    record["tick"] = tick
    assert int(swap_bytes(record.view(KERNEL_DTYPE)["tick_be"][0])) == tick


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_round_trips_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = new_records(5)
    for name in RUN_DTYPE.names or ():
        kind = RUN_DTYPE[name]
        if kind.kind == "f":
            records[name] = rng.normal(size=5) * 10.0 ** rng.integers(-300, 300, 5)
        elif name != "layout":
            info = np.iinfo(kind.newbyteorder("="))
            records[name] = rng.integers(info.min, info.max, 5, dtype=kind.newbyteorder("="))
    assert unpack(pack(records)).tobytes() == records.tobytes()
    text = json.dumps([to_json(record) for record in records], allow_nan=False)
    assert b"".join(from_json(v).tobytes() for v in json.loads(text)) == records.tobytes()


def test_unpacked_records_are_writable_and_empty_input_is_no_error() -> None:
    records = unpack(pack(plain_run()))
    records["tick"] = 5
    assert unpack([]).shape == (0,)
    assert pack(new_records(0)) == []


def test_join_keeps_the_type() -> None:
    joined = join([plain_run(run_id=1), new_records(0), plain_run(run_id=2)])
    assert joined.dtype == RUN_DTYPE
    assert joined["run_id"].tolist() == [1, 2]
    assert join([]).shape == (0,)


def test_older_layout_is_refused_with_its_run() -> None:
    old = plain_run(run_id=41)
    old["layout"] = 0
    with pytest.raises(StateLayoutError, match="run 41: record layout 0 cannot be read") as caught:
        unpack([pack(plain_run())[0], pack(old)[0]])
    assert caught.value.run_id == 41


@pytest.fixture
def migration() -> Iterator[None]:
    """Layout 0 as it might have been: without the last field."""
    run_state.MIGRATIONS[0] = lambda blob: blob[:8] + bytes([LAYOUT]) + blob[9:] + bytes(8)
    yield
    del run_state.MIGRATIONS[0]


@pytest.mark.usefixtures("migration")
def test_older_layout_with_a_migration_is_read() -> None:
    new = plain_run(run_id=41)[0]
    old = bytearray(new.tobytes()[:-8])
    old[8] = 0
    records = unpack([bytes(old), pack(plain_run(run_id=42))[0]])
    assert records[0].tobytes() == new.tobytes()
    assert records["run_id"].tolist() == [41, 42]


def test_cut_records_are_refused() -> None:
    whole = pack(plain_run(run_id=41))[0]
    with pytest.raises(StateLayoutError, match="run 41: record has 100 bytes; allowed is 288"):
        unpack([whole[:100]])
    with pytest.raises(StateLayoutError, match="has 10 bytes") as caught:
        unpack([whole[:10]])
    assert caught.value.run_id is None
    with pytest.raises(StateLayoutError, match="run 41"):
        unpack([whole + b"x", whole[:-1]])  # the right number of bytes in all


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": 0}, "run 7: JSON layout 0 cannot be read"),
        ({"theta": None}, "run 7: field theta is None; allowed is a finite number"),
        ({"theta": float("nan")}, "run 7: field theta is nan"),
        ({"theta": float("inf")}, "run 7: field theta is inf"),
        ({"theta": True}, "run 7: field theta is True"),
        ({"surplus": 1}, "run 7: JSON fields missing or unknown: surplus"),
    ],
)
def test_json_that_is_not_a_record_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StateLayoutError, match=message):
        from_json(to_json(plain_run()[0]) | changes)


def test_json_without_a_field_is_refused() -> None:
    values = to_json(plain_run()[0])
    del values["equity"]
    with pytest.raises(StateLayoutError, match="run 7: JSON fields missing or unknown: equity"):
        from_json(values)


def test_concatenated_records_are_stored_rightly_but_not_stepped() -> None:
    turned = np.concatenate([plain_run(tick=5), plain_run(tick=6)])
    assert pack(turned) == pack(join([plain_run(tick=5), plain_run(tick=6)]))
    with pytest.raises(ValueError, match="allowed are RUN_DTYPE's"):
        pack(plain_run().view(KERNEL_DTYPE))
    with pytest.raises(ValueError, match=r"use run_state\.join"):
        run_state.require_records(turned)
