"""Runs migrations as the schema's owner, with the settings and secrets of the platform."""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError

from shared.config import ConfigError, load_secrets, load_settings
from shared.database import make_engine
from shared.storage.tables import metadata


def run() -> None:
    """Apply the migrations over one direct connection."""
    try:
        secrets = load_secrets(require=["database.migrate_password"])
        engine = make_engine(load_settings(), secrets, migrate=True)
    except ConfigError as error:
        raise CommandError(str(error)) from None
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("migrations run against the database only: drop --sql")
run()
