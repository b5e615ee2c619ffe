"""The test servers are real, reset between tests, and leave nothing behind."""

import os
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from shared.storage.tables import balance_history, leases, market_data, run_fills
from shared.testing.servers import MariaDbServer, RedisServer, free_port

_BALANCE = {
    "account_value": 1,
    "withdrawable": 1,
    "margin_used": 0,
    "total_notional": 0,
    "venue_ms": 1,
    "read_ms": 1,
}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("turn", ["first", "second"])
def test_rows_written_by_one_test_are_gone_in_the_next(engine: Engine, turn: str) -> None:
    with engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(leases)) == 0
        connection.execute(insert(leases).values(name=turn, owner="a", expires_ms=1, fence=1))
        result = connection.execute(insert(balance_history).values(**_BALANCE))
        assert result.inserted_primary_key == (1,)


@pytest.mark.parametrize("turn", ["first", "second"])
def test_partitions_dropped_by_one_test_are_back_in_the_next(
    migrate_engine: Engine, turn: str
) -> None:
    partitions = text(
        "SELECT COUNT(*) FROM information_schema.partitions "
        "WHERE table_schema = '3t' AND table_name = :name"
    )
    with migrate_engine.begin() as connection:
        assert connection.scalar(partitions, {"name": run_fills.name}) == 1
        connection.execute(
            text(
                "ALTER TABLE run_fills REORGANIZE PARTITION p_future INTO ("
                "PARTITION p1 VALUES LESS THAN (1000), "
                "PARTITION p_future VALUES LESS THAN MAXVALUE)"
            )
        )
        assert connection.scalar(partitions, {"name": run_fills.name}) == 2


def test_application_user_cannot_change_the_schema(engine: Engine) -> None:
    with (
        engine.connect() as connection,
        pytest.raises((OperationalError, ProgrammingError), match="denied"),
    ):
        connection.execute(text("DROP TABLE leases"))


def test_market_data_is_a_memory_table(engine: Engine) -> None:
    query = text(
        "SELECT engine FROM information_schema.tables "
        "WHERE table_schema = '3t' AND table_name = :name"
    )
    with engine.connect() as connection:
        assert connection.scalar(query, {"name": market_data.name}) == "MEMORY"


def test_redis_is_emptied_before_each_test_and_never_evicts(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    assert redis_client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_raw_client_reads_bytes_of_the_same_server(
    redis_client: redis.Redis, raw_redis_client: redis.Redis
) -> None:
    redis_client.set("key", "value")
    assert raw_redis_client.get("key") == b"value"


def test_durable_redis_keeps_its_data_over_a_crash(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, durable=True)
    with server:
        client = redis.Redis(port=server.port, password=server.password)
        client.set("key", "value")
        client.config_set("appendfsync", "always")
        client.set("key", "newer")
        server.kill()
        server.start()
        assert redis.Redis(port=server.port, password=server.password).get("key") == b"newer"


def test_redis_refuses_a_client_without_password(redis_server: RedisServer) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=redis_server.port, retry=Retry(NoBackoff(), 0)).ping()


def test_mariadb_stops_with_its_block_and_keeps_its_data(tmp_path: Path) -> None:
    server = MariaDbServer(tmp_path, durable=True)
    with server:
        server.execute_sql("CREATE DATABASE kept;")
        pid = server.pid
    assert not _alive(pid)
    with server:
        server.execute_sql("USE kept;")


def test_variables_reach_sql_unharmed(mariadb_server: MariaDbServer) -> None:
    odd = "a'b\\c\"; DROP DATABASE x; -- ü"
    mariadb_server.execute_sql(
        "SELECT IF(@odd = CONVERT(0x"
        + odd.encode().hex()
        + " USING utf8mb4), 1, (SELECT 1 UNION SELECT 2));",
        {"odd": odd},
    )


def test_free_port_can_be_bound(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        assert free_port() != server.port


def test_no_port_is_handed_out_twice() -> None:
    ports = [free_port() for _ in range(2_000)]
    assert len(set(ports)) == len(ports)
