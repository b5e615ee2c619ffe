"""The migrated schema is the schema that the code believes in."""

from __future__ import annotations

from inspect import getsource as inspect_source

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from shared.config import Secrets, Settings
from shared.database import UnitOfWork, make_engine
from shared.native_servers import PROJECT_ROOT
from shared.storage.tables import iteration_shards, metadata, order_execution_log
from shared.testing.servers import MariaDbServer


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


def test_a_migration_that_was_killed_before_it_was_noted_runs_again(
    mariadb_server: MariaDbServer, settings: Settings, secrets: Secrets, migrate_engine: Engine
) -> None:
    """MariaDB commits a change of the schema at once, the note that it was made a moment later."""
    name = "3t_killed"
    mariadb_server.execute_sql(
        f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"
        f"GRANT ALL PRIVILEGES ON `{name}`.* TO `3t_migrate`@`%`;"
    )
    own = settings.model_copy(
        update={"database": settings.database.model_copy(update={"name": name})}
    )
    script = ScriptDirectory(str(PROJECT_ROOT / "database" / "migrations"))
    migrations = [revision.module for revision in script.walk_revisions()][::-1]
    assert len(migrations) > 30
    try:
        with make_engine(own, secrets, migrate=True).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            with Operations.context(context):
                for migration in migrations:
                    migration.upgrade()
                    if "INSERT" not in inspect_source(migration):  # rows are undone by the kill
                        migration.upgrade()
            differences = compare_metadata(context, metadata)
            assert [d for d in differences if "computed" not in str(d)] == []
    finally:
        mariadb_server.execute_sql(f"DROP DATABASE `{name}`;")


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
