"""One-shot: database, users and schema brought up to date. ``python -m deployment.migrate``.

Runs ``database/init.sql`` and ``database/users.sql`` as MariaDB's root, then Alembic as the owner
of the schema. Safe to run again; passwords that were changed in ``secrets.yml`` take effect.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mysql.connector
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy.exc import SQLAlchemyError

from shared.config import ConfigError, Secrets, Settings, load_secrets, load_settings

BAD_CONFIGURATION, FAILED = 2, 1
REQUIRED = (
    "database.root_password",
    "database.app_password",
    "database.migrate_password",
    "database.reader_password",
    "database.research_password",
    "database.exporter_password",
)
ATTEMPTS, PAUSE_SECS = 30, 1.0
SCRIPTS = ("init.sql", "users.sql", "research.sql")
_END_OF_STATEMENT = re.compile(r";[ \t]*(?:\n|\Z)")


def main(folder: Path = Path("database")) -> int:
    """Exit code: 0 up to date, 1 the database refused, 2 bad configuration."""
    try:
        settings, secrets = load_settings(), load_secrets(require=REQUIRED)
    except ConfigError as error:
        sys.stderr.write(f"migrate: {error}\n")
        return BAD_CONFIGURATION
    try:
        create_users(settings, secrets, folder)
        command.upgrade(AlembicConfig(str(folder / "alembic.ini")), "head")
    except mysql.connector.Error as error:
        sys.stderr.write(f"migrate: {settings.database.host}: {error.msg}{_advice(error)}\n")
        return FAILED
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        sys.stderr.write(f"migrate: the schema could not be changed: {reason}\n")
        return FAILED
    sys.stdout.write("migrate: users and schema are up to date\n")
    return 0


def create_users(settings: Settings, secrets: Secrets, folder: Path) -> None:
    """Run the scripts as root with the passwords as session variables."""
    passwords = {
        "app_password": secrets.database.app_password.get_secret_value(),
        "migrate_password": secrets.database.migrate_password.get_secret_value(),
        "reader_password": secrets.database.reader_password.get_secret_value(),
        "research_password": secrets.database.research_password.get_secret_value(),
        "exporter_password": secrets.database.exporter_password.get_secret_value(),
    }
    connection = _connect(settings, secrets.database.root_password.get_secret_value())
    try:
        cursor = connection.cursor()
        _set_variables(cursor, passwords)
        for script in SCRIPTS:
            for statement in statements((folder / script).read_text(encoding="utf-8")):
                cursor.execute(statement)
        connection.commit()
    finally:
        connection.close()


def statements(script: str) -> Iterator[str]:
    """The statements of a script in which each ends with a semicolon at the end of a line."""
    lines = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    for statement in _END_OF_STATEMENT.split("\n".join(lines)):
        if statement.strip():
            yield statement.strip()


def _set_variables(cursor: Any, passwords: Mapping[str, str]) -> None:
    cursor.execute(
        "SET @app_password = %(app_password)s, @migrate_password = %(migrate_password)s, "
        "@reader_password = %(reader_password)s, @exporter_password = %(exporter_password)s, "
        "@research_password = %(research_password)s",
        dict(passwords),
    )


def _connect(settings: Settings, password: str) -> Any:
    """A connection as root; waits for a server that is still starting."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return mysql.connector.connect(
                host=settings.database.host,
                port=settings.database.port,
                user="root",
                password=password,
                connection_timeout=settings.database.connect_timeout_secs,
                collation="utf8mb4_bin",
                use_pure=True,
            )
        except mysql.connector.Error as error:
            if _refused_login(error) or attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE_SECS)
    raise AssertionError("attempts must be at least 1")


def _refused_login(error: mysql.connector.Error) -> bool:
    return error.errno == mysql.connector.errorcode.ER_ACCESS_DENIED_ERROR


def _advice(error: mysql.connector.Error) -> str:
    if not _refused_login(error):
        return ""
    return (
        "; the volume 3t_mariadb_data was made with another database.root_password: put that one "
        "back into secrets.yml, or forget the data with 'make clean VOLUMES=yes'"
    )


if __name__ == "__main__":
    sys.exit(main())
