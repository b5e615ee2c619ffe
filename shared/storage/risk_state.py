"""State of the risk manager in MariaDB: it survives every restart.

One row per name, with the value as JSON, why it was last changed, and by whom.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select
from sqlalchemy.dialects.mysql import insert

from shared.risk.day_start import ValueReading
from shared.risk.limits import DayBaseline, KillSwitch
from shared.storage.tables import risk_state

KILL_SWITCH = "kill_switch"
DAY_BASELINE = "day_baseline"
FILLS_CURSOR = "fills_cursor"
LEDGER_CURSOR = "ledger_cursor"
LEDGER_UNKNOWN = "ledger_unknown"
JOURNAL_ID = "journal_id"
COOL_DOWN_PREFIX = "cool_down:"
PAUSE_PREFIX = "pause:"
ROUND_TRIP_PREFIX = "round_trip:"
MAX_REASON = 255
_EVERYTHING = select(
    risk_state.c.name,
    risk_state.c.value,
    risk_state.c.reason,
    risk_state.c.actor,
    risk_state.c.updated_ms,
)
_NAMED = _EVERYTHING.where(risk_state.c.name.in_(bindparam("names", expanding=True)))
_HELD = _NAMED.with_for_update(read=True)


@dataclass(frozen=True, slots=True)
class SymbolPause:
    """A symbol on which nothing new is opened until a person lifts it."""

    symbol: str
    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class UnknownEntry:
    """The newest entry of the venue's ledger of which nobody knows what it did to the account."""

    kind: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class RiskState:
    """All of it, as one consistent reading.

    Transfers up to ``ledger_cursor`` are in the baseline: the account as it was then.
    """

    kill_switch: KillSwitch
    baseline: DayBaseline | None
    cool_down_until_ms: Mapping[str, int]
    pauses: Mapping[str, SymbolPause]
    fills_cursor_ms: int | None
    fills_floor_ms: int
    ledger_cursor: ValueReading | None
    unknown_entry: UnknownEntry | None

    def pause_reason(self, symbol: str) -> str:
        """Why the symbol waits for a person; empty if it does not."""
        pause = self.pauses.get(symbol)
        return "" if pause is None else pause.reason


NOTHING_STORED = RiskState(KillSwitch(), None, {}, {}, None, 0, None, None)
"""The state of an empty database."""


class RiskStateStore:
    """Reads and writes over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def load(self) -> RiskState:
        """Everything, in one statement."""
        return _state(self._conn.execute(_EVERYTHING))

    def load_for(self, symbol: str) -> RiskState:
        """What an order on ``symbol`` is held against; nothing of other symbols."""
        names = [KILL_SWITCH, DAY_BASELINE, COOL_DOWN_PREFIX + symbol, PAUSE_PREFIX + symbol]
        return _state(self._conn.execute(_NAMED, {"names": names}))

    def hold_for(self, symbol: str) -> RiskState:
        """Kill switch and the symbol's pause, which nobody changes before this transaction ends.

        Whoever sets one of them waits for the orders that are being marked as sent, and finds
        that every later one has seen it.
        """
        names = [KILL_SWITCH, PAUSE_PREFIX + symbol]
        return _state(self._conn.execute(_HELD, {"names": names}))

    def resumed_ms(self, symbols: Collection[str]) -> dict[str, int]:
        """When a person last let a symbol be traded, for those that are not paused."""
        names = [PAUSE_PREFIX + symbol for symbol in symbols]
        rows = self._conn.execute(_EVERYTHING.where(risk_state.c.name.in_(names)))
        return {
            row.name.removeprefix(PAUSE_PREFIX): int(row.updated_ms)
            for row in rows
            if not row.value["paused"]
        }

    def journal_id(self, fresh: str, now_ms: int) -> str:
        """The name of this database; ``fresh`` becomes it if it has none yet."""
        statement = insert(risk_state).values(
            name=JOURNAL_ID, value={"id": fresh}, reason="", actor="", updated_ms=now_ms
        )
        self._conn.execute(statement.on_duplicate_key_update(name=JOURNAL_ID))
        value = self._conn.execute(
            select(risk_state.c.value).where(risk_state.c.name == JOURNAL_ID)
        ).scalar_one()
        return str(value["id"])

    def forget_journal_id(self) -> None:
        """The next reader draws a new name: for a database that has gone back in time."""
        self._conn.execute(delete(risk_state).where(risk_state.c.name == JOURNAL_ID))

    def set_kill_switch(self, engaged: bool, *, reason: str, actor: str, now_ms: int) -> None:
        """Set or lift the kill switch; why and by whom is part of the state."""
        self._put(KILL_SWITCH, {"engaged": engaged}, now_ms, reason=reason, actor=actor)

    def set_baseline(self, baseline: DayBaseline, now_ms: int, reason: str) -> None:
        """Store what the day's loss is measured from."""
        value = {"day": baseline.day, "account_value": str(baseline.account_value)}
        self._put(DAY_BASELINE, value, now_ms, reason=reason)

    def set_cool_down(self, symbol: str, until_ms: int, now_ms: int, reason: str) -> None:
        """No opening order on ``symbol`` before ``until_ms``; 0 clears it."""
        self._put(COOL_DOWN_PREFIX + symbol, {"until_ms": until_ms}, now_ms, reason=reason)

    def round_trip_usd(self, symbol: str) -> Decimal:
        """What the symbol's round trip under way has made so far, in USD."""
        value = self._conn.execute(
            select(risk_state.c.value).where(risk_state.c.name == ROUND_TRIP_PREFIX + symbol)
        ).scalar_one_or_none()
        return Decimal(0) if value is None else Decimal(value["open_usd"])

    def set_round_trip(self, symbol: str, open_usd: Decimal, now_ms: int) -> None:
        """Store what the symbol's round trip under way has made so far, in USD."""
        self._put(ROUND_TRIP_PREFIX + symbol, {"open_usd": str(open_usd)}, now_ms)

    def set_pause(self, symbol: str, paused: bool, now_ms: int, *, reason: str, actor: str) -> None:
        """Stop or resume opening orders on one symbol."""
        self._put(PAUSE_PREFIX + symbol, {"paused": paused}, now_ms, reason=reason, actor=actor)

    def set_fills_cursor(self, time_ms: int, floor_ms: int, now_ms: int) -> None:
        """Fills in [``floor_ms``, ``time_ms``] (venue time) are stored; older ones never are."""
        self._put(FILLS_CURSOR, {"time_ms": time_ms, "floor_ms": floor_ms}, now_ms)

    def set_ledger_cursor(self, account: ValueReading, now_ms: int) -> None:
        """All deposits and withdrawals up to this reading of the account are in the baseline."""
        value = {"time_ms": account.at_ms, "account_value": str(account.usd)}
        self._put(LEDGER_CURSOR, value, now_ms)

    def set_unknown_entry(self, entry: UnknownEntry, now_ms: int) -> None:
        """Remember that the ledger has an entry which is not understood."""
        self._put(LEDGER_UNKNOWN, {"kind": entry.kind, "time_ms": entry.time_ms}, now_ms)

    def _put(
        self, name: str, value: dict[str, Any], now_ms: int, *, reason: str = "", actor: str = ""
    ) -> None:
        columns = {
            "value": value,
            "reason": reason[:MAX_REASON],
            "actor": actor,
            "updated_ms": now_ms,
        }
        statement = insert(risk_state).values(name=name, **columns)
        self._conn.execute(statement.on_duplicate_key_update(**columns))


def _state(found: Iterable[Row[Any]]) -> RiskState:
    rows = {row.name: row for row in found}
    return RiskState(
        kill_switch=_kill_switch(rows.get(KILL_SWITCH)),
        baseline=_baseline(rows.get(DAY_BASELINE)),
        cool_down_until_ms={
            name.removeprefix(COOL_DOWN_PREFIX): int(row.value["until_ms"])
            for name, row in rows.items()
            if name.startswith(COOL_DOWN_PREFIX)
        },
        pauses={
            (symbol := name.removeprefix(PAUSE_PREFIX)): SymbolPause(
                symbol, row.reason, row.updated_ms
            )
            for name, row in rows.items()
            if name.startswith(PAUSE_PREFIX) and row.value["paused"]
        },
        fills_cursor_ms=_cursor(rows.get(FILLS_CURSOR)),
        fills_floor_ms=_floor(rows.get(FILLS_CURSOR)),
        ledger_cursor=_ledger_cursor(rows.get(LEDGER_CURSOR), rows.get(DAY_BASELINE)),
        unknown_entry=_unknown_entry(rows.get(LEDGER_UNKNOWN)),
    )


def _kill_switch(row: Any) -> KillSwitch:
    if row is None:
        return KillSwitch()
    return KillSwitch(
        engaged=bool(row.value["engaged"]),
        reason=row.reason,
        actor=row.actor,
        since_ms=row.updated_ms,
    )


def _baseline(row: Any) -> DayBaseline | None:
    if row is None:
        return None
    return DayBaseline(str(row.value["day"]), Decimal(row.value["account_value"]))


def _cursor(row: Any) -> int | None:
    return None if row is None else int(row.value["time_ms"])


def _ledger_cursor(row: Any, baseline: Any) -> ValueReading | None:
    """Where the cursor has no value, as older versions wrote it, the baseline stands for it."""
    if row is None or baseline is None:
        return None
    usd = row.value.get("account_value", baseline.value["account_value"])
    return ValueReading(int(row.value["time_ms"]), Decimal(usd))


def _unknown_entry(row: Any) -> UnknownEntry | None:
    if row is None:
        return None
    return UnknownEntry(str(row.value["kind"]), int(row.value["time_ms"]))


def _floor(row: Any) -> int:
    return 0 if row is None else int(row.value["floor_ms"])
