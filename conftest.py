"""Fixtures for every test: real Redis and MariaDB servers, an empty migrated database, settings and
secrets.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis
import structlog
import yaml
from sqlalchemy import Engine

from shared.config import Config, Secrets, Settings, load_secrets, load_settings
from shared.database import make_engine, make_redis
from shared.native_servers import PROJECT_ROOT, prepare_schema, write_private
from shared.storage.tables import metadata
from shared.testing.schema import SchemaSnapshot
from shared.testing.servers import MariaDbServer, RedisServer

APP_PASSWORD = "test-app-password"
MIGRATE_PASSWORD = "test-migrate-password"
# A key for tests only, and the address that belongs to it.
TEST_PRIVATE_KEY = "0x" + "11" * 32
TEST_WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


def pytest_configure() -> None:
    """Compiled kernels are kept where the demo keeps them: no test compiles what another has.

    Programs that tests start can be interrupted, even where a shell runs the tests behind it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("NUMBA_CACHE_DIR", str(PROJECT_ROOT / ".local" / "numba"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis on a free loopback port, for the whole session."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDbServer]:
    """A real, empty MariaDB on a free loopback port, for the whole session."""
    with MariaDbServer(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def secrets_file(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete secrets.yml for the test servers."""
    path = tmp_path_factory.mktemp("secrets") / "secrets.yml"
    content = {
        "exchanges": {
            "hyperliquid": {
                "apiKey": "",
                "walletAddress": TEST_WALLET,
                "privateKey": TEST_PRIVATE_KEY,
            }
        },
        "database": {"app_password": APP_PASSWORD, "migrate_password": MIGRATE_PASSWORD},
        "redis": {"password": redis_server.password},
        "order_gateway": {"token": "test-gateway-token-" + "x" * 32},
        "paper_exchange": {"admin_token": "test-admin-token-" + "x" * 32},
    }
    write_private(path, yaml.safe_dump(content))
    return path


@pytest.fixture(scope="session")
def service_environ(
    redis_server: RedisServer, mariadb_server: MariaDbServer, secrets_file: Path
) -> Mapping[str, str]:
    """Environment with which a service, run as a process, finds the test servers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("T3__")}
    return inherited | {
        "T3_CONFIG": str(PROJECT_ROOT / "config.yml"),
        "T3_SECRETS": str(secrets_file),
        "T3__database__port": str(mariadb_server.port),
        "T3__redis__port": str(redis_server.port),
    }


@pytest.fixture(scope="session")
def settings(service_environ: Mapping[str, str]) -> Settings:
    """The project's config.yml, pointed at the test servers."""
    return load_settings(environ=service_environ)


@pytest.fixture(scope="session")
def secrets(service_environ: Mapping[str, str]) -> Secrets:
    """Every secret, for the test servers; wallet and key belong together and to no one."""
    return load_secrets(environ=service_environ)


@pytest.fixture(scope="session")
def _schema_owner(
    mariadb_server: MariaDbServer,
    settings: Settings,
    secrets: Secrets,
    service_environ: Mapping[str, str],
) -> Engine:
    passwords = {"app_password": APP_PASSWORD, "migrate_password": MIGRATE_PASSWORD}
    prepare_schema(mariadb_server.config, service_environ, passwords)
    return make_engine(settings, secrets, migrate=True)


@pytest.fixture(scope="session")
def _schema(_schema_owner: Engine) -> SchemaSnapshot:
    return SchemaSnapshot.take(_schema_owner, metadata)


@pytest.fixture
def database(
    mariadb_server: MariaDbServer, _schema_owner: Engine, _schema: SchemaSnapshot
) -> MariaDbServer:
    """The MariaDB server with database `3t` migrated and every table empty."""
    _schema.restore(_schema_owner)
    return mariadb_server


@pytest.fixture
def engine(database: MariaDbServer, settings: Settings, secrets: Secrets) -> Engine:
    """The application user's engine on an empty, migrated database."""
    return make_engine(settings, secrets)


@pytest.fixture
def migrate_engine(database: MariaDbServer, _schema_owner: Engine) -> Engine:
    """The schema owner's engine on an empty, migrated database."""
    return _schema_owner


@pytest.fixture
def redis_client(
    redis_server: RedisServer, settings: Settings, secrets: Secrets
) -> Iterator[redis.Redis]:
    """A client with decoded replies on an empty Redis."""
    client = make_redis(settings, secrets)
    client.flushall()
    yield client
    client.connection_pool.disconnect()


@pytest.fixture
def raw_redis_client(
    redis_client: redis.Redis, settings: Settings, secrets: Secrets
) -> Iterator[redis.Redis]:
    """A client with raw (bytes) replies on the same, empty Redis."""
    client = make_redis(settings, secrets, decode=False)
    yield client
    client.connection_pool.disconnect()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Neither the process-wide `Config` nor structlog's set-up goes from one test to the next.

    A service's entry point, called in a test, points structlog at the stderr of that test.
    """
    Config.reset()
    logging_before = structlog.get_config()
    yield
    structlog.configure(**logging_before)
    Config.reset()
