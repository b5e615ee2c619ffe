"""The migrated schema is the schema that the code believes in."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from shared.database import UnitOfWork
from shared.storage.tables import iteration_shards, metadata, order_execution_log


def _intent(intent_id: str, symbol: str, epoch: int, state: str = "PENDING") -> dict[str, object]:
    return {
        "intent_id": intent_id,
        "cloid": "0x" + intent_id.encode().hex().rjust(32, "0"),
        "symbol": symbol,
        "plan_epoch": epoch,
        "leg": "open",
        "origin": "reconcile",
        "side": "buy",
        "size": 1,
        "order_type": "market",
        "tif": "Ioc",
        "reduce_only": False,
        "limit_price": 10,
        "state": state,
        "request": {},
        "created_ms": 1,
        "updated_ms": 1,
    }


def test_migrations_end_at_the_tables_of_the_code(migrate_engine: Engine) -> None:
    with migrate_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [
            difference
            for difference in compare_metadata(context, metadata)
            if "computed" not in str(difference)
        ]
    assert differences == []


def test_candles_in_memory_and_everything_else_durable(migrate_engine: Engine) -> None:
    with migrate_engine.connect() as connection:
        engines = {
            name: inspect(connection).get_table_options(name)["mariadb_engine"]
            for name in metadata.tables
        }
    assert engines.pop("market_data") == "MEMORY"
    assert set(engines.values()) == {"InnoDB"}


def test_database_refuses_a_second_open_intent_on_a_symbol(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        uow.conn.execute(insert(order_execution_log), _intent("a", "BTC", 1))
        uow.commit()
    with pytest.raises(IntegrityError, match="open_symbol"), UnitOfWork(engine) as uow:
        uow.conn.execute(insert(order_execution_log), _intent("b", "BTC", 2))


def test_terminal_intent_makes_room_for_the_next(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        uow.conn.execute(insert(order_execution_log), _intent("a", "BTC", 1))
        uow.conn.execute(update(order_execution_log).values(state="FILLED"))
        uow.conn.execute(insert(order_execution_log), _intent("b", "BTC", 2))
        uow.conn.execute(insert(order_execution_log), _intent("c", "ETH", 1))
        uow.commit()
    with UnitOfWork(engine) as uow:
        found = uow.conn.execute(select(order_execution_log.c.intent_id)).scalars().all()
    assert sorted(found) == ["a", "b", "c"]


def test_leaving_a_unit_of_work_without_commit_changes_nothing(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        shard = {"id": 1, "interval_ms": 1_000, "last_tick": 5, "sums": {}}
        uow.conn.execute(insert(iteration_shards), shard)
    with UnitOfWork(engine) as uow:
        assert uow.conn.execute(select(iteration_shards.c.id)).all() == []


def test_application_user_cannot_change_the_schema(engine: Engine) -> None:
    with (
        pytest.raises((OperationalError, ProgrammingError), match="denied"),
        UnitOfWork(engine) as uow,
    ):
        uow.conn.exec_driver_sql("DROP TABLE runs")
