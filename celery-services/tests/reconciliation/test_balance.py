"""update_balance: complete readings only, stored and told once, in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, func, select

from shared.database import UnitOfWork
from shared.exchange.errors import VenueTimeout
from shared.exchange.payloads import AccountSnapshot
from shared.storage.balances import BalanceStore
from shared.storage.positions import PositionStore
from shared.storage.redis_keys import BALANCE_STREAM, lease
from shared.storage.tables import balance_history
from worker.services.balance import update_balance
from worker.services.work_lease import work_lease


class FailingVenue:
    dexes = ("",)

    def whole_account(self) -> AccountSnapshot:
        raise VenueTimeout("info:clearinghouseState: no reply in time")


class FixedVenue:
    dexes = ("",)

    def __init__(self, account: AccountSnapshot) -> None:
        self._account = account

    def whole_account(self) -> AccountSnapshot:
        return self._account


def stored(engine: Engine) -> int:
    with UnitOfWork(engine) as uow:
        count = select(func.count()).select_from(balance_history)
        return int(uow.conn.execute(count).scalar_one())


def test_a_complete_reading_is_stored_and_told(
    scene: Any, engine: Engine, redis_client: redis.Redis
) -> None:
    scene.world.sizes = {"BTC": Decimal("0.4")}
    scene.freshen()
    with UnitOfWork(engine) as uow:
        snapshot = PositionStore(uow.conn).snapshot("local")
        balance = BalanceStore(uow.conn).latest()
    assert snapshot is not None
    assert balance is not None
    assert snapshot.positions == {"BTC": Decimal("0.4")}
    ((_, fields),) = redis_client.xrange(BALANCE_STREAM)
    assert fields == {
        "status": "Known",
        "account_value": "100000",
        "withdrawable": "100000",
        "margin_used": "0",
        "venue_ms": str(balance.venue_ms),
        "as_of_ms": str(balance.read_ms),
    }


def test_a_failed_reading_changes_nothing(
    scene: Any, engine: Engine, redis_client: redis.Redis
) -> None:
    scene.world.sizes = {"BTC": Decimal("0.4")}
    scene.freshen()
    with pytest.raises(VenueTimeout):
        update_balance(FailingVenue(), engine, redis_client, scene.world.clock)
    with UnitOfWork(engine) as uow:
        snapshot = PositionStore(uow.conn).snapshot("local")
    assert snapshot is not None
    assert snapshot.positions == {"BTC": Decimal("0.4")}
    assert stored(engine) == 1
    assert redis_client.xlen(BALANCE_STREAM) == 1


def test_the_same_reading_twice_is_one(
    scene: Any, engine: Engine, redis_client: redis.Redis
) -> None:
    venue = FixedVenue(scene.world.account())
    assert update_balance(venue, engine, redis_client, scene.world.clock) is not None
    assert update_balance(venue, engine, redis_client, scene.world.clock) is None
    assert stored(engine) == 1
    assert redis_client.xlen(BALANCE_STREAM) == 1


def test_only_one_holder_has_the_work_until_it_lets_go(redis_client: redis.Redis) -> None:
    with (
        work_lease(redis_client, "work", 60) as first,
        work_lease(redis_client, "work", 60) as second,
    ):
        assert (first, second) == (True, False)
    with work_lease(redis_client, "work", 60) as again:
        assert again


def test_a_late_holder_does_not_release_its_successors_lease(redis_client: redis.Redis) -> None:
    with work_lease(redis_client, "work", 60) as held:
        assert held
        redis_client.set(lease("work"), "successor")
    assert redis_client.get(lease("work")) == "successor"


def test_without_redis_the_work_is_done_all_the_same() -> None:
    nowhere = redis.Redis(host="127.0.0.1", port=1)
    with work_lease(nowhere, "work", 60) as held:
        assert held
