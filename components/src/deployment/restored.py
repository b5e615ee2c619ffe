"""After a restore, the journal lacks what was sent since: ``python -m deployment.restored``.

Run by `make restore` before anything trades. The database gets a new name for the journal, because
its plan epochs have gone back: under the old one, new orders would carry client order ids that the
venue has seen. On a real venue the kill switch is set until a person has compared the account; the
paper exchange was restored together with the journal.
"""

from __future__ import annotations

import sys
import time

from sqlalchemy.exc import SQLAlchemyError

from shared.config import ConfigError, load_secrets, load_settings
from shared.database import UnitOfWork, make_engine
from shared.storage.risk_state import RiskStateStore

BAD_CONFIGURATION, FAILED = 2, 1
REASON = "restored from a backup: compare the account with the venue, then lift"


def main() -> int:
    """Exit code: 0 done, 1 the database does not answer, 2 bad configuration."""
    try:
        settings, secrets = load_settings(), load_secrets(require=["database.app_password"])
        engine = make_engine(settings, secrets)
        with UnitOfWork(engine) as uow:
            state = RiskStateStore(uow.conn)
            state.forget_journal_id()
            if settings.mode != "paper":
                now_ms = time.time_ns() // 1_000_000
                state.set_kill_switch(True, reason=REASON, actor="restore", now_ms=now_ms)
            uow.commit()
    except ConfigError as error:
        sys.stderr.write(f"restored: {error}\n")
        return BAD_CONFIGURATION
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        sys.stderr.write(f"restored: the database cannot be used: {reason}\n")
        return FAILED
    if settings.mode != "paper":
        sys.stdout.write(
            "restored: the kill switch is set. Compare `make balance` with the venue's page; then "
            "make kill-switch DO=lift REASON=…\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
