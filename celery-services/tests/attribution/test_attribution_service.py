"""Fills of a real venue, attributed through MariaDB: complete, once, and equal to the account."""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import redis
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.utils.types import Cloid
from sqlalchemy import Engine, func, insert, select

from shared.config import Settings
from shared.database import UnitOfWork
from shared.exchange.payloads import Fill, parse_fills
from shared.exchange_manager import ExchangeManager
from shared.orders.attribution import HOUSE
from shared.storage.attribution import AttributionStore
from shared.storage.balances import Balance, BalanceStore
from shared.storage.orders import FillStore
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.tables import attribution, order_execution_log, order_fills
from shared.testing.clock import FrozenClock
from shared.testing.paper_venue import PaperVenue
from worker.services.attribution import Attribution
from worker.services.run_weights import Weights

KEY = "0x" + "11" * 32
WALLET = Account.from_key(KEY).address.lower()
DEPOSIT = Decimal(100000)
BALANCE, RUNS = 100_000.0, 20


class FixedWeights:
    def __init__(self, weights: Mapping[str, Mapping[int, float]]) -> None:
        self.weights = weights

    def of_symbol(self, symbol: str) -> Weights:
        own = sorted(self.weights.get(symbol, {}).items())
        return np.array([r for r, _ in own], dtype=np.int64), np.array([w for _, w in own])


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[PaperVenue]:
    with PaperVenue(tmp_path, {WALLET: str(DEPOSIT)}) as paper:
        yield paper


class Desk:
    """Trades by hand and for runs, as gateway and reconciliation would write it down."""

    def __init__(self, venue: PaperVenue, engine: Engine, settings: Settings, client: Any) -> None:
        self.venue = venue
        paper = settings.paper_exchange.model_copy(update={"url": venue.url})
        hyperliquid = settings.exchanges.hyperliquid
        fast = hyperliquid.model_copy(update={"rate_budget_per_minute": 1_000_000})
        changes = {
            "paper_exchange": paper,
            "exchanges": settings.exchanges.model_copy(update={"hyperliquid": fast}),
        }
        self.manager = ExchangeManager(settings.model_copy(update=changes), WALLET, client)
        self.exchange = Exchange(Account.from_key(KEY), venue.url, account_address=WALLET)
        self.engine = engine
        self.clock = FrozenClock()
        self.weights = FixedWeights({})
        self.use_case = Attribution(engine, self.weights, self.clock, 1.0, RUNS)
        self.number = 0
        self.read_ms = 0

    def trade(self, symbol: str, size: float, weights: Mapping[int, float] | None) -> None:
        """Trade a signed size; ``weights`` of the runs that asked, None: by hand."""
        self.number += 1
        cloid = Cloid.from_int(self.number)
        mid = float(self.manager.mids()[symbol])
        if weights is not None:
            self._journal(symbol, size, mid, cloid.to_raw(), weights)
        reply = self.exchange.market_open(symbol, size > 0, abs(size), cloid=cloid)
        assert reply["status"] == "ok", reply

    def attribute(self) -> int:
        """Store what the venue has filled, as the gateway does, and attribute it."""
        info = self.manager.info
        fills = parse_fills(info("userFillsByTime", user=WALLET, startTime=self.read_ms))
        self.read_ms = max((f.time_ms for f in fills), default=self.read_ms)
        with UnitOfWork(self.engine) as uow:
            FillStore(uow.conn).add(fills)
            uow.commit()
        return self.use_case.attribute_fills()

    def _journal(
        self, symbol: str, size: float, mid: float, cloid: str, weights: Mapping[int, float]
    ) -> None:
        self.weights.weights = {**self.weights.weights, symbol: weights}
        intent_id = f"{symbol}:{self.number}:open"
        wanted = BALANCE * 0.5 / RUNS * sum(weights.values())
        position = self.position(symbol) + size
        detail = {
            "balance_usd": {"status": "Known", "value": str(BALANCE)},
            "runs": {"status": "Known", "value": {"cohort_factor": 0.5}},
            "price_usd": {"status": "Known", "value": str(mid)},
            "target": {
                "wanted_usd": f"{wanted:.4f}",
                "notional_usd": {"status": "Known", "value": f"{wanted:.4f}"},
            },
            "plan": {"target_size": str(position)},
        }
        now_ms = self.clock.now_ms()
        with UnitOfWork(self.engine) as uow:
            ReconciliationLog(uow.conn).add(
                [WhyEntry(now_ms + self.number, symbol, "trade", intent_id, None, detail)]
            )
            uow.conn.execute(
                insert(order_execution_log).values(
                    intent_id=intent_id, cloid=cloid, symbol=symbol, plan_epoch=self.number,
                    leg="open", origin="reconcile", side="buy" if size > 0 else "sell",
                    size=abs(size), order_type="market", tif="Ioc", reduce_only=False,
                    limit_price=mid, state="FILLED", request={}, created_ms=now_ms,
                    updated_ms=now_ms,
                )
            )  # fmt: skip
            uow.commit()

    def position(self, symbol: str) -> float:
        held = self.manager.account().positions
        return float(held[symbol].size) if symbol in held else 0.0

    def books(self) -> dict[str, Any]:
        """Every row of every book."""
        with UnitOfWork(self.engine) as uow:
            return {s: b.shares.tolist() for s, b in AttributionStore(uow.conn).books().items()}

    def shares_usd(self) -> float:
        """Runs and house over all symbols at the marks the venue values the account with."""
        account = self.manager.account()
        with UnitOfWork(self.engine) as uow:
            store = AttributionStore(uow.conn)
            total = sum(store.ended_usd().values())
            for symbol, book in store.books().items():
                held = account.positions.get(symbol)
                mark = float(held.notional / abs(held.size)) if held else 0.0
                total += float(book.pnl(mark).sum())
        return total


@pytest.fixture
def desk(
    venue: PaperVenue, engine: Engine, settings: Settings, redis_client: redis.Redis
) -> Iterator[Desk]:
    venue.admin("faults", {"kind": "freeze"})  # one mark for the account and for the shares
    own = Desk(venue, engine, settings, redis_client)
    yield own
    own.manager.close()


def test_a_random_sequence_is_the_accounts_change_to_the_last_digit(desk: Desk) -> None:
    rng = random.Random(7)
    lots = {"BTC": 0.01, "ETH": 0.2, "SOL": 3.0}
    for step in range(36):
        symbol = rng.choice(sorted(lots))
        size = round(rng.choice([-3, -2, -1, 1, 2, 3]) * lots[symbol], 5)
        runs = {rng.randrange(1, 40): rng.uniform(-2, 2) for _ in range(rng.randrange(0, 15))}
        desk.trade(symbol, size, None if step % 5 == 4 else runs)
        if step % 6 == 0:
            desk.attribute()
    desk.attribute()
    change = float(desk.manager.account().account_value - DEPOSIT)
    assert change != 0
    assert desk.shares_usd() == pytest.approx(change, abs=1e-8, rel=0)
    with UnitOfWork(desk.engine) as uow:
        books = AttributionStore(uow.conn).books()
        rows = uow.conn.execute(select(attribution)).all()
    assert any(abs(row.runs_usd) > 1 for row in rows)
    assert any(len(book.shares) > 5 for book in books.values())
    assert all(
        row.runs_usd + row.house_usd == pytest.approx(float(row.account_usd), abs=1e-8)
        for row in rows
    )


class Life(NamedTuple):
    """One long life of an account: how often each thing happened, and what does not add up."""

    happened: Counter[str]
    largest_usd: float
    residual_usd: float


class LongLife:
    """Random trades by runs and people, time, funding, transfers, liquidations, births, deaths."""

    LOTS: ClassVar = {"BTC": 0.05, "ETH": 1.0, "SOL": 12.0}
    USUAL_USD = 100_000.0

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk, self.rng = desk, random.Random(seed)
        self.living = list(range(1, 30))
        self.happened: Counter[str] = Counter()
        self.largest_usd = 0.0
        for symbol in self.LOTS:
            desk.exchange.update_leverage(20, symbol)

    def live(self, steps: int) -> Life:
        """``steps`` things in a row; at the end everything is attributed and compared."""
        things = {
            self.trade_of_runs: 10, self.trade_by_hand: 2, self.let_time_pass: 4,
            self.move_money: 1, self.renew_runs: 2, self.be_liquidated: 0.2,
        }  # fmt: skip
        for _ in range(steps):
            (thing,) = self.rng.choices(list(things), list(things.values()))
            thing()
            self.happened[thing.__name__] += 1
            if self.rng.random() < 0.3:
                self.account()
        self.account()
        value = float(self.desk.manager.account().account_value)
        with UnitOfWork(self.desk.engine) as uow:
            by_the_venue = order_fills.c.cloid.is_(None)
            count = select(func.count()).select_from(order_fills).where(by_the_venue)
            self.happened["liquidation_fills"] = uow.conn.execute(count).scalar_one()
            moved = [float(usd) for _, usd in AttributionStore(uow.conn).transfers(0)]
        residual = self.desk.shares_usd() + math.fsum(moved) - value
        return Life(self.happened, self.largest_usd, residual)

    def account(self) -> None:
        """Attribute everything so far, as the tasks do."""
        self.desk.attribute()
        use_case, info = self.desk.use_case, self.desk.manager.info
        self.happened["payments"] += use_case.attribute_funding(info, WALLET)
        self.happened["transfers"] += use_case.attribute_transfers(info, WALLET, [""])

    def trade_of_runs(self) -> None:
        if self.rng.random() < 0.2:
            self.desk.venue.admin("faults", {"kind": "partial_fill", "count": 1})
            self.happened["in_part"] += 1
        weights = {run: self.rng.uniform(-2, 2) for run in self.living if self.rng.random() < 0.6}
        self.trade(weights)

    def trade_by_hand(self) -> None:
        self.trade(None)

    def trade(self, weights: Mapping[int, float] | None) -> None:
        symbol = self.rng.choice(sorted(self.LOTS))
        size = self.rng.choice([-1, 1]) * self.rng.randint(1, 4) * self.LOTS[symbol]
        self.desk.trade(symbol, round(size, 5), weights)
        self.largest_usd = max(self.largest_usd, float(self.desk.manager.account().total_notional))

    def let_time_pass(self) -> None:
        self.desk.venue.admin("time", {"advance_ms": self.rng.randint(1, 4) * 60_000})

    def move_money(self) -> None:
        rich = float(self.desk.manager.account().withdrawable) > self.USUAL_USD / 2
        kind = self.rng.choice(["deposit", "withdraw"]) if rich else "deposit"
        usd = self.rng.randint(1, 500)
        self.desk.venue.admin(kind, {"address": WALLET, "usdc": f"{usd}.123456"})

    def renew_runs(self) -> None:
        """Some runs end, as many are born; those that end ask for nothing from now on."""
        for run in self.rng.sample(self.living, 3):
            self.living.remove(run)
            self.living.append(max(self.living, default=0) + 1)

    def be_liquidated(self) -> None:
        """Take more than the account can bear, wait for the venue to close it, put money back."""
        side = self.rng.choice([-1, 1])
        for _ in range(8):
            self.desk.trade("BTC", side * 4.0, None)
        for _ in range(10):
            self.desk.venue.admin("time", {"advance_ms": 60_000})
            if "BTC" not in self.desk.manager.account().positions:
                break
        missing = self.USUAL_USD - float(self.desk.manager.account().account_value)
        if missing > 0:
            self.desk.venue.admin("deposit", {"address": WALLET, "usdc": f"{missing:.6f}"})


def _wild_prices(file: Path, from_ms: int, minutes: int) -> Path:
    rng, price = random.Random(1), 60_000.0
    lines = ["timestamp_ms,open,high,low,close,volume"]
    for minute in range(minutes):
        close = price * math.exp(rng.uniform(-0.03, 0.03) - 0.1 * math.log(price / 60_000))
        high, low = max(price, close), min(price, close)
        lines.append(f"{from_ms + minute * 60_000},{price},{high},{low},{close},1")
        price = close
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_long_life_of_the_account_is_its_runs_and_its_house(
    tmp_path: Path, engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    """``T3_ATTRIBUTION_STEPS=2000`` lives longer; ``-s`` shows what happened and the residual.

    The venue's time begins two minutes before the hour, and BTC moves by up to 3 % a minute, so
    that funding and liquidations come soon.
    """
    steps = int(os.environ.get("T3_ATTRIBUTION_STEPS", "40"))
    hour_ms = time.time_ns() // 3_600_000_000_000 * 3_600_000
    wild = _wild_prices(tmp_path / "btc.csv", hour_ms, minutes=60 + 5 * steps)
    arguments = (f"--data=BTC={wild}", f"--start-time={hour_ms - 120_000}", "--no-rate-limit")
    with PaperVenue(tmp_path, {WALLET: str(DEPOSIT)}, *arguments) as venue:
        desk = Desk(venue, engine, settings, redis_client)
        life = LongLife(desk, seed=steps).live(steps)
        desk.manager.close()
    sys.stdout.write(f"{life}\n")
    assert life.happened["payments"] > 0
    assert life.happened["liquidation_fills"] > 0 or steps < 300
    assert abs(life.residual_usd) < 1e-8


def test_attributing_again_changes_nothing(desk: Desk) -> None:
    desk.trade("BTC", 0.01, {1: 1.0, 2: 0.5})
    assert desk.attribute() > 0
    before = desk.books()
    assert desk.attribute() == 0
    assert desk.books() == before


def test_a_crash_between_fills_loses_and_doubles_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (0.01, 0.02, -0.01):
        desk.trade("BTC", size, {1: 1.0})
    real, calls = AttributionStore.save_book, []

    def dies(self: AttributionStore, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(AttributionStore, "save_book", dies)
    with pytest.raises(KeyboardInterrupt):
        desk.attribute()
    monkeypatch.undo()
    desk.attribute()
    with UnitOfWork(desk.engine) as uow:
        book = AttributionStore(uow.conn).book("BTC")
        count = uow.conn.execute(select(func.count()).select_from(attribution)).scalar_one()
        pending = AttributionStore(uow.conn).pending_fills(10)
    assert pending == []
    assert count >= 3
    assert book.position == pytest.approx(desk.position("BTC"))


def test_funding_and_transfers_are_noted_once(desk: Desk) -> None:
    desk.trade("ETH", 0.2, {1: 1.0, 2: -0.5})
    desk.attribute()
    now_ms = desk.clock.now_ms()

    def info(kind: str, **_: object) -> object:
        if kind == "userFunding":
            delta = {"type": "funding", "coin": "ETH", "usdc": "-1.25", "szi": "0.2"}
            return [{"time": now_ms, "hash": "0x0", "delta": delta}]
        deposit = {"type": "deposit", "usdc": "500.0"}
        return [{"time": now_ms, "hash": "0x0", "delta": deposit}] * 2

    assert desk.use_case.attribute_funding(info, WALLET) == 1
    assert desk.use_case.attribute_funding(info, WALLET) == 0
    assert desk.use_case.attribute_transfers(info, WALLET, [""]) == 2
    assert desk.use_case.attribute_transfers(info, WALLET, [""]) == 0
    with UnitOfWork(desk.engine) as uow:
        store = AttributionStore(uow.conn)
        assert store.book("ETH").shares["funding"].sum() == pytest.approx(-1.25)
        assert store.transfers(0) == [(now_ms, Decimal(500)), (now_ms, Decimal(500))]


def test_a_transfer_of_an_unknown_kind_is_what_the_account_changed_by(engine: Engine) -> None:
    use_case = Attribution(engine, FixedWeights({}), FrozenClock(), 1.0, RUNS)
    entries = [
        {"time": 40, "hash": "0x0", "delta": {"type": "deposit", "usdc": "5.0"}},
        {"time": 150, "hash": "0x0", "delta": {"type": "somethingNew"}},
        {"time": 160, "hash": "0x0", "delta": {"type": "somethingNew"}},
        {"time": 170, "hash": "0x0", "delta": {"type": "deposit", "usdc": "30.0"}},
    ]

    def moved() -> list[tuple[int, Decimal]]:
        use_case.attribute_transfers(lambda *_, **__: entries, WALLET, [""])
        with UnitOfWork(engine) as uow:
            return AttributionStore(uow.conn).transfers(0)

    record(engine, (100, 1_000))
    assert moved() == [(40, 5), (170, 30)]  # no reading shows yet what the others did
    record(engine, (200, 1_280), (300, 999))
    expected = [(40, 5), (150, 250), (160, 0), (170, 30)]
    assert moved() == expected
    assert moved() == expected


def record(engine: Engine, *readings: tuple[int, int]) -> None:
    """Store readings (time, USD) of the account, as the balance task does."""
    with UnitOfWork(engine) as uow:
        for at_ms, usd in readings:
            value, zero = Decimal(usd), Decimal(0)
            BalanceStore(uow.conn).add(Balance(value, zero, zero, zero, at_ms, at_ms))
        uow.commit()


def stored(engine: Engine, *fills: tuple[int, int, str, str, str]) -> None:
    """Store fills (time, tid, start, size, price) of BTC, as the gateway does."""
    with UnitOfWork(engine) as uow:
        FillStore(uow.conn).add(
            [
                Fill(
                    "BTC", Decimal(price), abs(Decimal(size)), "buy" if size[0] != "-" else "sell",
                    time_ms, Decimal(start), "Open Long", Decimal(0), tid, True, Decimal(1), "USDC",
                    tid, None,
                )
                for time_ms, tid, start, size, price in fills
            ]
        )  # fmt: skip
        uow.commit()


def test_fills_of_one_millisecond_are_taken_as_they_happened_not_by_their_ids(
    engine: Engine,
) -> None:
    use_case = Attribution(engine, FixedWeights({}), FrozenClock(), 1.0, RUNS)
    stored(engine, (1_000, 90, "0", "1", "100"), (1_000, 20, "1", "2", "101"))
    stored(engine, (1_000, 50, "3", "-1", "102"), (1_001, 10, "2", "1", "103"))
    assert use_case.attribute_fills() == 4
    with UnitOfWork(engine) as uow:
        book = AttributionStore(uow.conn).book("BTC")
    assert book.position == 3
    assert book.cash == pytest.approx(-100 - 202 + 102 - 103 - 4)


def test_a_fill_that_becomes_known_late_is_the_houses_and_breaks_no_sum(engine: Engine) -> None:
    use_case = Attribution(engine, FixedWeights({}), FrozenClock(), 1.0, RUNS)
    stored(engine, (2_000, 70, "1", "2", "101"), (2_000, 30, "3", "1", "104"))
    assert use_case.attribute_fills() == 2
    stored(engine, (1_500, 40, "0", "1", "100"))
    assert use_case.attribute_fills() == 1
    with UnitOfWork(engine) as uow:
        book = AttributionStore(uow.conn).book("BTC")
        rows = uow.conn.execute(select(attribution)).all()
    assert book.position == 4
    assert book.cash == pytest.approx(-100 - 202 - 104 - 3)
    assert sum(row.house_usd for row in rows) == pytest.approx(book.cash)


def test_the_first_payment_is_found_however_long_nobody_looked(engine: Engine) -> None:
    """The account was read, then the worker was away over the hour of the first payment."""
    clock, asked = FrozenClock(), []
    use_case = Attribution(engine, FixedWeights({}), clock, 1.0, RUNS)
    begun_ms = clock.now_ms()
    with UnitOfWork(engine) as uow:
        usd = Decimal(1_000)
        BalanceStore(uow.conn).add(Balance(usd, usd, Decimal(0), Decimal(0), begun_ms, begun_ms))
        uow.commit()
    clock.advance(3 * 3_600_000)

    def info(_: str, **params: Any) -> object:
        asked.append(params["startTime"])
        delta = {"type": "funding", "coin": "ETH", "usdc": "-1.25", "szi": "0.2"}
        payments = [{"time": begun_ms + 60_000, "hash": "0x0", "delta": delta}]
        return [payment for payment in payments if payment["time"] >= params["startTime"]]

    assert use_case.attribute_funding(info, WALLET) == 1
    assert use_case.attribute_funding(info, WALLET) == 0
    assert asked == [begun_ms, begun_ms]  # the second by the cursor, a minute back


def test_without_a_decision_a_fill_is_the_houses(desk: Desk) -> None:
    desk.trade("SOL", 3.0, None)
    desk.attribute()
    with UnitOfWork(desk.engine) as uow:
        assert AttributionStore(uow.conn).book("SOL").shares["run_id"].tolist() == [HOUSE]
