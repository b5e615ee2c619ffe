"""The one-shot migration on a real MariaDB: users, passwords and schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from deployment import migrate
from shared.native_servers import PROJECT_ROOT, write_private
from shared.testing.servers import MariaDbServer

ROOT_PASSWORD = "root-password-of-a-test"


@pytest.fixture
def server(database: MariaDbServer) -> Iterator[MariaDbServer]:
    """The test server with a root that may come over TCP, as in the official image."""
    user = "`root`@`127.0.0.1`"
    database.execute_sql(
        f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{ROOT_PASSWORD}';"
        f"GRANT ALL PRIVILEGES ON *.* TO {user} WITH GRANT OPTION;"
    )
    yield database
    database.execute_sql(
        f"DROP USER {user}; DROP USER IF EXISTS `3t_reader`@`%`, `3t_exporter`@`%`, "
        "`3t_research`@`%`; DROP DATABASE IF EXISTS `3t_research`;"
    )


def _secrets(tmp_path: Path, secrets_file: Path, root_password: str, reader: str) -> Path:
    passwords = yaml.safe_load(secrets_file.read_text(encoding="utf-8"))["database"]
    passwords |= {
        "root_password": root_password,
        "reader_password": reader,
        "exporter_password": reader,
        "research_password": reader,
    }
    path = tmp_path / "secrets.yml"
    write_private(path, yaml.safe_dump({"database": passwords}))
    return path


def _environment(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str], secrets: Path) -> None:
    for name, value in values.items():
        if name.startswith("T3"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("T3_SECRETS", str(secrets))


def test_migration_is_repeatable_and_puts_changed_passwords_to_use(
    server: MariaDbServer,
    tmp_path: Path,
    secrets_file: Path,
    service_environ: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for reader in ("first's \\ password", "second"):
        secrets = _secrets(tmp_path, secrets_file, ROOT_PASSWORD, reader)
        _environment(monkeypatch, service_environ, secrets)
        assert migrate.main(PROJECT_ROOT / "database") == 0
    url = f"mariadb+mysqlconnector://3t_reader:second@127.0.0.1:{server.port}/3t"
    engine = create_engine(url, connect_args={"use_pure": True, "collation": "utf8mb4_bin"})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM runs")).scalar_one() == 0
        with pytest.raises(DBAPIError, match="denied"):
            connection.execute(text("DELETE FROM runs"))
    engine.dispose()
    url = f"mariadb+mysqlconnector://3t_exporter:second@127.0.0.1:{server.port}"
    engine = create_engine(url, connect_args={"use_pure": True, "collation": "utf8mb4_bin"})
    with engine.connect() as connection:
        assert connection.execute(text("SHOW GLOBAL STATUS LIKE 'Queries'")).all()
        with pytest.raises(DBAPIError, match="denied"):
            connection.execute(text("SELECT COUNT(*) FROM `3t`.runs"))
    engine.dispose()


def test_foreign_root_password_says_what_to_do(
    server: MariaDbServer,
    tmp_path: Path,
    secrets_file: Path,
    service_environ: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secrets = _secrets(tmp_path, secrets_file, "another", "reader")
    _environment(monkeypatch, service_environ, secrets)
    assert migrate.main(PROJECT_ROOT / "database") == 1
    error = capsys.readouterr().err
    assert "3t_mariadb_data was made with another database.root_password" in error
    assert "Traceback" not in error


def test_missing_password_is_bad_configuration(
    tmp_path: Path, secrets_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = _secrets(tmp_path, secrets_file, "", "reader")
    _environment(monkeypatch, {"T3_CONFIG": str(PROJECT_ROOT / "config.yml")}, secrets)
    assert migrate.main(PROJECT_ROOT / "database") == 2


def test_statements_are_told_apart() -> None:
    script = "-- a; comment\nSET @a = 'x;y';\nSELECT 1,\n  2;\n\n-- end\n"
    assert list(migrate.statements(script)) == ["SET @a = 'x;y'", "SELECT 1,\n  2"]
