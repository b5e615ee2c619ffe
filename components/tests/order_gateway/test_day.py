"""The day's loss, whoever was down when the day began and whatever the venue's ledger says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from order_gateway import day_keeper
from order_gateway.audit_writer import AuditWriter
from order_gateway.day_keeper import DayKeeper
from order_gateway.guard import RiskGuard
from order_gateway.kept_switch import SwitchFile
from order_gateway.ledger import TransferReader
from order_gateway.readiness import Readiness
from order_gateway.risk_gate import limits_of
from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.errors import TransientVenueError
from shared.exchange.payloads import AccountSnapshot
from shared.observation import Known
from shared.risk.audit import AuditTrail
from shared.storage.balances import Balance, BalanceStore
from shared.storage.risk_state import RiskState, RiskStateStore, UnknownEntry

MIDNIGHT = 1_700_006_400_000
HOUR = 3_600_000
WALLET = "0x" + "ab" * 20


@dataclass
class Venue:
    """The account and its ledger, as the gateway reads them."""

    at_ms: int = MIDNIGHT
    value: Decimal = Decimal(1_000)
    entries: list[dict[str, Any]] = field(default_factory=list)
    ledger_fails: bool = False
    ledger_reads: int = 0
    wallet: str = WALLET
    dexes: tuple[str, ...] = ("",)

    def refresh(self) -> Known[AccountSnapshot]:
        zero = Decimal(0)
        account = AccountSnapshot("", {}, self.value, zero, zero, zero, zero, self.at_ms)
        return Known(account, self.at_ms)

    def info(self, kind: str, **params: Any) -> list[dict[str, Any]]:
        assert kind == "userNonFundingLedgerUpdates"
        self.ledger_reads += 1
        if self.ledger_fails:
            raise TransientVenueError("the ledger cannot be read")
        return [e for e in self.entries if params["startTime"] <= e["time"] <= params["endTime"]]

    def entry(self, at_ms: int, kind: str, **delta: Any) -> None:
        self.entries.append({"time": at_ms, "hash": "0x0", "delta": {"type": kind, **delta}})


class Scene:
    """A gateway's risk guard on a real database; every round is a minute after the one before."""

    def __init__(self, engine: Engine, settings: Settings, folder: Path) -> None:
        self.engine = engine
        self.venue = Venue()
        self.audit_file = folder / "audit.jsonl"
        readiness = Readiness()
        audit = AuditWriter(AuditTrail(self.audit_file), readiness, self._now_ms)
        venue: Any = self.venue
        self.guard = RiskGuard(
            engine=engine,
            account=venue,
            day=DayKeeper(
                engine=engine,
                transfers=TransferReader(venue, engine),
                audit=audit,
                clock_ms=self._now_ms,
            ),
            limits=limits_of(settings.risk.model_copy(update={"max_daily_loss": 0.1})),
            audit=audit,
            readiness=readiness,
            switch_file=SwitchFile(folder / "kill_switch.json"),
            clock_ms=self._now_ms,
        )

    def _now_ms(self) -> int:
        return self.venue.at_ms

    def recorded(self, at_ms: int, value: int) -> None:
        """The worker has read and stored the account."""
        usd, zero = Decimal(value), Decimal(0)
        with UnitOfWork(self.engine) as uow:
            BalanceStore(uow.conn).add(Balance(usd, zero, zero, zero, at_ms, at_ms))
            uow.commit()

    def watch(self, at_ms: int, value: int) -> bool:
        """The gateway's account round."""
        self.venue.at_ms, self.venue.value = at_ms, Decimal(value)
        return self.guard.watch()

    def state(self) -> RiskState:
        with UnitOfWork(self.engine) as uow:
            return RiskStateStore(uow.conn).load()

    @property
    def baseline(self) -> Decimal:
        stored = self.state().baseline
        assert stored is not None
        return stored.account_value

    def audited(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.audit_file.read_text().splitlines())
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def scene(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    monkeypatch.setattr(day_keeper, "LEDGER_INTERVAL_SECS", -1.0)  # always due
    return Scene(engine, settings, tmp_path)


def test_a_loss_while_the_gateway_was_down_over_midnight_counts(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - 2_000, 1_000)
    scene.recorded(MIDNIGHT + HOUR, 900)
    assert scene.watch(MIDNIGHT + 8 * HOUR, 850)
    assert scene.state().kill_switch.reason.startswith("daily loss 15.00%")
    (started,) = scene.audited("day_started")
    assert started["account_value"] == "1000"
    assert started["reading_ms"] == MIDNIGHT - 2_000
    assert started["source"] == "last recorded reading before the UTC day"


def test_deposits_while_it_was_down_are_no_profit(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - 2_000, 1_000)
    scene.venue.entry(MIDNIGHT - 9_000, "deposit", usdc="5000")  # is in the recorded reading
    scene.venue.entry(MIDNIGHT + HOUR, "deposit", usdc="200")
    scene.venue.entry(MIDNIGHT + 2 * HOUR, "withdraw", usdc="49", fee="1")
    assert not scene.watch(MIDNIGHT + 8 * HOUR, 1_050)
    assert scene.baseline == 1_150
    assert scene.audited("day_started")[0]["net_transfers_usd"] == "150"


def test_a_gateway_that_runs_over_midnight_takes_its_own_reading(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - HOUR, 5_000)
    scene.venue.ledger_fails = True
    assert not scene.watch(MIDNIGHT + 2_000, 1_000)
    assert scene.baseline == 1_000
    assert scene.audited("day_started")[0]["source"] == "first reading of the UTC day"
    assert scene.venue.ledger_reads == 0


def test_the_first_recorded_reading_of_the_day_is_earlier_than_the_gateways(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - 48 * HOUR, 7_000)
    scene.recorded(MIDNIGHT + 3_000, 1_000)
    assert scene.watch(MIDNIGHT + 8 * HOUR, 850)
    assert scene.audited("day_started")[0]["reading_ms"] == MIDNIGHT + 3_000


@pytest.mark.parametrize(("recorded", "baseline"), [(1_000, 1_000), (500, 700)])
def test_when_everything_was_down_no_loss_is_overlooked(
    scene: Scene, recorded: int, baseline: int
) -> None:
    scene.recorded(MIDNIGHT - 2 * HOUR, recorded)
    scene.watch(MIDNIGHT + 2 * HOUR, 700)
    assert scene.baseline == baseline


def test_on_an_empty_database_the_first_reading_is_the_baseline(scene: Scene) -> None:
    assert not scene.watch(MIDNIGHT + 8 * HOUR, 850)
    assert scene.baseline == 850
    assert scene.venue.ledger_reads == 0


def test_without_the_ledger_the_start_of_the_day_stays_unknown(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - 2_000, 1_000)
    scene.venue.ledger_fails = True
    assert not scene.watch(MIDNIGHT + 8 * HOUR, 500)
    assert scene.state().baseline is None
    scene.venue.ledger_fails = False
    scene.watch(MIDNIGHT + 8 * HOUR + 1, 999)
    assert scene.baseline == 1_000


def test_an_entry_of_an_unknown_kind_is_neither_profit_nor_loss(scene: Scene) -> None:
    scene.watch(MIDNIGHT + 1_000, 1_000)
    scene.recorded(MIDNIGHT + HOUR - 1_000, 950)
    scene.venue.entry(MIDNIGHT + HOUR, "borrowLend", token="USDC", amount="250.0")
    scene.recorded(MIDNIGHT + HOUR + 1_000, 1_200)
    scene.venue.entry(MIDNIGHT + 2 * HOUR, "deposit", usdc="100")
    assert not scene.watch(MIDNIGHT + 3 * HOUR, 1_290)
    assert scene.baseline == 1_350  # the 50 lost before it and the 10 after it are still lost
    assert scene.watch(MIDNIGHT + 3 * HOUR + 1, 1_215)
    assert scene.state().kill_switch.reason.startswith("daily loss 10.00%")


def test_an_unknown_outflow_does_not_set_the_switch(scene: Scene) -> None:
    scene.watch(MIDNIGHT + 1_000, 1_000)
    scene.venue.entry(MIDNIGHT + HOUR, "somethingNew", usdc="600")
    assert not scene.watch(MIDNIGHT + HOUR + 500, 400)
    assert scene.baseline == 400


def test_an_unknown_entry_is_remembered_and_audited_once(scene: Scene) -> None:
    scene.watch(MIDNIGHT + 1_000, 1_000)
    scene.venue.entry(MIDNIGHT + HOUR, "somethingNew")
    scene.watch(MIDNIGHT + HOUR + 500, 990)
    scene.watch(MIDNIGHT + HOUR + 900, 980)
    assert scene.state().unknown_entry == UnknownEntry("somethingNew", MIDNIGHT + HOUR)
    (line,) = scene.audited("ledger_entry_unknown")
    assert (line["kind"], line["time_ms"]) == ("somethingNew", MIDNIGHT + HOUR)
    assert scene.baseline == 990  # what was lost until the first reading after it is uncertain


def test_an_unknown_entry_before_the_first_reading_of_the_day_is_audited_once(scene: Scene) -> None:
    scene.recorded(MIDNIGHT - 2 * HOUR, 1_000)
    scene.recorded(MIDNIGHT + HOUR, 1_010)
    scene.venue.entry(MIDNIGHT + HOUR + 1, "somethingNew")
    assert not scene.watch(MIDNIGHT + 2 * HOUR, 1_500)
    assert len(scene.audited("ledger_entry_unknown")) == 1
    assert scene.baseline == 1_500


def test_a_switch_that_is_set_does_not_read_the_ledger_every_round(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.watch(MIDNIGHT + 1_000, 1_000)
    monkeypatch.setattr(day_keeper, "LEDGER_INTERVAL_SECS", 60.0)
    assert scene.watch(MIDNIGHT + HOUR, 800)
    reads = scene.venue.ledger_reads
    for n in range(5):
        assert not scene.watch(MIDNIGHT + HOUR + n, 800)
    assert scene.venue.ledger_reads == reads
