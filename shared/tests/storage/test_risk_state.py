"""The risk manager's state on a real MariaDB."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Engine

from shared.database import UnitOfWork
from shared.risk.limits import DayBaseline, KillSwitch
from shared.storage.risk_state import RiskStateStore, SymbolPause


def test_nothing_stored_means_switch_off_and_baseline_unknown(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        state = RiskStateStore(uow.conn).load()
    assert state.kill_switch == KillSwitch()
    assert state.baseline is None
    assert state.fills_cursor_ms is None


def test_everything_survives_another_connection(engine: Engine) -> None:
    with UnitOfWork(engine) as uow:
        store = RiskStateStore(uow.conn)
        store.set_kill_switch(True, reason="r" * 300, actor="tester", now_ms=5)
        store.set_baseline(DayBaseline("2026-01-02", Decimal("1234.56789")), 6, "first")
        store.set_cool_down("BTC", 99, 7, "lost")
        store.set_pause("ETH", True, 8, reason="external trade", actor="gateway")
        store.set_pause("SOL", True, 8, reason="x", actor="gateway")
        store.set_pause("SOL", False, 9, reason="looked at it", actor="tester")
        store.set_fills_cursor(10, 9, 11)
        store.set_round_trip("BTC", Decimal("-1.5"), 12)
        uow.commit()
    with UnitOfWork(engine) as uow:
        store = RiskStateStore(uow.conn)
        state = store.load()
        assert store.round_trip_usd("BTC") == Decimal("-1.5")
        assert store.round_trip_usd("ETH") == 0
    assert state.kill_switch == KillSwitch(True, "r" * 255, "tester", 5)
    assert state.baseline == DayBaseline("2026-01-02", Decimal("1234.56789"))
    assert state.cool_down_until_ms == {"BTC": 99}
    assert state.pauses == {"ETH": SymbolPause("ETH", "external trade", 8)}
    assert (state.fills_cursor_ms, state.fills_floor_ms) == (10, 9)


def test_a_database_is_named_once(engine: Engine) -> None:
    for fresh in ("first", "second"):
        with UnitOfWork(engine) as uow:
            assert RiskStateStore(uow.conn).journal_id(fresh, 1) == "first"
            uow.commit()
