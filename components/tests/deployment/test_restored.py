"""What a restored database must not go on with, on a real MariaDB."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy import Engine

from deployment import restored
from shared.database import UnitOfWork
from shared.storage.risk_state import RiskStateStore


@pytest.fixture
def old_journal(
    engine: Engine, service_environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """A database whose journal is named ``old``, and the environment of a service that uses it."""
    with UnitOfWork(engine) as uow:
        RiskStateStore(uow.conn).journal_id("old", 1)
        uow.commit()
    for name, value in service_environ.items():
        if name.startswith("T3"):
            monkeypatch.setenv(name, value)
    return engine


@pytest.mark.parametrize(("mode", "engaged"), [("paper", False), ("testnet", True)])
def test_journal_gets_a_new_name_and_a_real_venue_waits_for_a_person(
    old_journal: Engine, monkeypatch: pytest.MonkeyPatch, mode: str, engaged: bool
) -> None:
    monkeypatch.setenv("T3__mode", mode)
    assert restored.main() == 0
    with UnitOfWork(old_journal) as uow:
        state = RiskStateStore(uow.conn)
        assert state.load().kill_switch.engaged is engaged
        assert state.journal_id("new", 2) == "new"


def test_database_that_does_not_answer_is_said(
    old_journal: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T3__database__port", "9")
    assert restored.main() == 1
    assert "cannot be used" in capsys.readouterr().err
