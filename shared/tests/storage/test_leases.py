"""Leases on a real MariaDB: one holder, judged by the database's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import Engine

from shared.database import UnitOfWork, retry_deadlocks
from shared.storage.leases import Lease, LeaseLost, LeaseStore

T = TypeVar("T")


def run(engine: Engine, work: Callable[[LeaseStore], T]) -> T:
    with UnitOfWork(engine) as uow:
        result = work(LeaseStore(uow.conn))
        uow.commit()
        return result


def taken(engine: Engine, owner: str, ttl_ms: int = 60_000) -> Lease | None:
    return run(engine, lambda store: store.acquire("gateway", owner, ttl_ms))


def test_second_owner_waits_until_the_lease_runs_out(engine: Engine) -> None:
    first = taken(engine, "a", 300)
    assert first == Lease("gateway", "a", 1)
    assert taken(engine, "b") is None
    time.sleep(0.4)
    assert taken(engine, "b") == Lease("gateway", "b", 2)
    with pytest.raises(LeaseLost):
        run(engine, lambda store: store.renew(first, 1_000))
    with pytest.raises(LeaseLost):
        run(engine, lambda store: store.require(first))


def test_renewal_keeps_it_and_release_frees_it_at_once(engine: Engine) -> None:
    lease = taken(engine, "a", 300)
    assert lease is not None
    run(engine, lambda store: store.renew(lease, 60_000))
    time.sleep(0.4)
    run(engine, lambda store: store.require(lease))
    assert taken(engine, "b") is None
    run(engine, lambda store: store.release(lease))
    assert taken(engine, "b") == Lease("gateway", "b", 2)


def test_lease_that_ran_out_cannot_be_renewed_even_if_nobody_took_it(engine: Engine) -> None:
    lease = taken(engine, "a", 100)
    assert lease is not None
    time.sleep(0.2)
    with pytest.raises(LeaseLost):
        run(engine, lambda store: store.renew(lease, 1_000))


def test_of_many_contenders_one_gets_it(engine: Engine) -> None:
    def attempt(number: int) -> bool:
        return retry_deadlocks(lambda: taken(engine, f"owner-{number}")) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1
