"""The account follows the population: exact orders, and none on what is not known."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from sqlalchemy import select, update

from shared.database import UnitOfWork
from shared.observation import Known, Stale, Unknown
from shared.orders.states import OrderState
from shared.reconciliation.intents import Decision
from shared.reconciliation.plan import PlannedOrder
from shared.reconciliation.progress import HALT_AFTER
from shared.storage.reconciliation_log import ReconciliationLog, WhyEntry
from shared.storage.redis_keys import price
from shared.storage.refusals import RefusalStore
from shared.storage.risk_state import RiskStateStore
from shared.storage.tables import (
    iteration_shards,
    order_execution_log,
    order_fills,
    plan_epochs,
    products,
)
from shared.testing.http_server import LocalServer, Reply
from worker.services.gateway_client import GatewayClient, Outcome

# 100,000 USD x 0.5 (probationary) x 40 / 100 runs = 20,000 USD
LONG, SHORT = 40.0, -40.0


def legs(scene: Any) -> list[tuple[str, str, str, bool]]:
    return [(o["symbol"], o["side"], o["size"], o["reduce_only"]) for o in scene.world.asked]


def why(scene: Any, symbol: str) -> WhyEntry:
    with UnitOfWork(scene.engine) as uow:
        return ReconciliationLog(uow.conn).of_symbol(symbol, limit=1)[0]


def resume(scene: Any, symbol: str) -> None:
    """As the gateway does for a person."""
    now_ms = scene.world.clock.now_ms()
    with UnitOfWork(scene.engine) as uow:
        risk = RiskStateStore(uow.conn)
        risk.set_pause(symbol, False, now_ms, reason="mended", actor="somebody")
        RefusalStore(uow.conn).forget(symbol)
        uow.commit()


def decisions(scene: Any) -> set[Decision]:
    return {x.verdict.decision for x in scene.reconciler.look().looked}


def test_flat_to_long_and_short_takes_one_order_each(scene: Any) -> None:
    scene.want(BTC=LONG, ETH=SHORT)
    scene.cycle(4)
    assert sorted(legs(scene)) == [("BTC", "buy", "0.4", False), ("ETH", "sell", "10", False)]
    assert scene.world.sizes == {"BTC": Decimal("0.4"), "ETH": Decimal(-10)}


def test_long_to_flat_takes_one_reduce_only_order(scene: Any) -> None:
    scene.world.sizes = {"BTC": Decimal("0.4")}
    scene.want(BTC=0.0)
    scene.cycle(3)
    assert legs(scene) == [("BTC", "sell", "0.4", True)]
    assert scene.world.sizes == {"BTC": Decimal(0)}


@pytest.mark.parametrize(
    ("held", "wanted", "first", "second"),
    [("0.4", SHORT, "sell", "sell"), ("-0.4", LONG, "buy", "buy")],
)
def test_a_reversal_closes_first_and_opens_on_the_evidence_of_that(
    scene: Any, held: str, wanted: float, first: str, second: str
) -> None:
    scene.world.sizes = {"BTC": Decimal(held)}
    scene.want(BTC=wanted)
    scene.cycle()
    assert legs(scene) == [("BTC", first, "0.4", True)]
    scene.cycle(3)
    assert legs(scene)[1:] == [("BTC", second, "0.4", False)]
    assert scene.world.sizes["BTC"] == -Decimal(held)


def test_partial_fills_are_completed_by_new_intents(scene: Any) -> None:
    scene.world.fill_share = Decimal("0.5")
    scene.want(BTC=LONG)
    scene.cycle(3)
    assert [o["intent_id"] for o in scene.world.asked] == ["BTC:0:open", "BTC:1:open", "BTC:2:open"]
    assert scene.world.sizes["BTC"] == Decimal("0.35")


def test_nothing_is_planned_before_every_voter_has_seen_the_last_fill(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.cycle()
    scene.want(BTC=SHORT)
    report = scene.reconciler.reconcile()
    assert report.looked[0].verdict.decision is Decision.WAIT
    assert "last fill or resolution" in report.looked[0].verdict.reason
    assert len(scene.world.asked) == 1
    assert scene.requested


def test_a_fill_that_is_not_recorded_yet_is_waited_for_whatever_the_clocks_say(scene: Any) -> None:
    """The venue's clock runs ahead: readings from before the fill look later than its end."""
    scene.want(BTC=LONG)
    scene.freshen()
    scene.reconciler.reconcile()
    with UnitOfWork(scene.engine) as uow:
        (fill,) = uow.conn.execute(select(order_fills)).all()
        uow.conn.execute(order_fills.delete())
        uow.commit()
    held, scene.world.sizes = scene.world.sizes, {}
    scene.cycle(3)
    assert len(scene.world.asked) == 1
    assert "not all recorded" in why(scene, "BTC").detail["reason"]
    with UnitOfWork(scene.engine) as uow:
        uow.conn.execute(order_fills.insert().values(**fill._mapping))
        uow.commit()
    scene.world.sizes = held
    scene.cycle(2)
    assert len(scene.world.asked) == 1
    assert why(scene, "BTC").decision == "hold"


def test_readings_from_while_the_venues_clock_ran_ahead_are_no_newer_than_they_are(
    scene: Any,
) -> None:
    """Its clock is right again when the order fills; nobody has read the account since."""
    scene.want(BTC=LONG)
    scene.world.venue_ahead_ms = 4_000
    scene.freshen()
    for observer in ("one", "two"):
        before = scene.world.report(observer)
        scene.world.lenses[observer] = lambda _, before=before: (200, before)
    scene.world.venue_ahead_ms = 0
    scene.reconciler.reconcile()
    assert len(scene.world.asked) == 1
    for _ in range(3):
        scene.world.clock.advance(500)
        report = scene.reconciler.reconcile()
        assert report.looked[0].verdict.decision is Decision.WAIT
    assert len(scene.world.asked) == 1


def dead(_: dict[str, Any]) -> None:
    """Ends the connection without a reply."""


def stale(_: dict[str, Any]) -> tuple[int, Any]:
    return 503, {"error": "the last complete reading is old"}


def lying(report: dict[str, Any]) -> tuple[int, Any]:
    return 200, {**report, "positions": {"BTC": {"size": "-3", "entry_price": "1"}}}


def lagging(report: dict[str, Any]) -> tuple[int, Any]:
    return 200, {**report, "venue_time": report["venue_time"] - 8_000}


def partial(report: dict[str, Any]) -> tuple[int, Any]:
    return 200, {**report, "complete": False}


def other_dex(report: dict[str, Any]) -> tuple[int, Any]:
    return 200, {**report, "dexes": ["xyz"]}


def slow(report: dict[str, Any]) -> tuple[int, Any]:
    time.sleep(0.8)
    return 200, report


def garbage(_: dict[str, Any]) -> tuple[int, Any]:
    return 200, b"<html>"


def twin(report: dict[str, Any]) -> tuple[int, Any]:
    return 200, {**report, "observer_id": "one"}


FAULTS = [dead, stale, lying, lagging, partial, other_dex, slow, garbage]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_one_faulty_observer_of_three_voters_moves_nothing(
    scene: Any, fault: Callable[[dict[str, Any]], Any]
) -> None:
    scene.world.lenses["two"] = fault
    scene.want(BTC=LONG)
    scene.cycle(3)
    assert legs(scene) == [("BTC", "buy", "0.4", False)]
    assert scene.world.sizes == {"BTC": Decimal("0.4")}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_without_quorum_there_is_no_order_in_any_direction(
    scene: Any, fault: Callable[[dict[str, Any]], Any]
) -> None:
    scene.world.sizes = {"BTC": Decimal("0.2")}
    scene.world.lenses["one"] = fault
    scene.world.lenses["two"] = dead
    for wanted in (LONG, 0.0, SHORT):
        scene.want(BTC=wanted)
        scene.cycle()
        assert scene.world.asked == []
        assert why(scene, "BTC").decision == "unknown"
        assert "no value has 2 of 3 voters" in why(scene, "BTC").detail["reason"]


def test_two_observers_on_one_route_do_not_count(scene: Any) -> None:
    scene.world.lenses["two"] = twin
    scene.want(BTC=LONG)
    scene.cycle(2)
    assert scene.world.asked == []
    assert "also calls itself" in why(scene, "BTC").detail["reason"]


def test_a_lost_quorum_asks_for_a_new_reading(scene: Any) -> None:
    scene.world.lenses = {"one": dead, "two": dead}
    scene.want(BTC=LONG)
    scene.cycle()
    assert scene.requested


def test_a_stale_local_reading_does_not_vote(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    scene.world.clock.advance(11_000)
    scene.world.lenses["two"] = dead
    assert Decision.TRADE not in decisions(scene)


def test_a_stale_balance_is_no_balance(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    scene.world.clock.advance(31_000)
    assert isinstance(scene.inputs.gather().balance, Stale)
    assert Decision.TRADE not in decisions(scene)


def test_an_account_that_was_never_read_is_unknown(scene: Any) -> None:
    inputs = scene.inputs.gather()
    assert isinstance(inputs.balance, Unknown)
    assert all(isinstance(d, Unknown) for d in inputs.demands.values())
    scene.reconciler.reconcile()
    assert scene.world.asked == []


def test_old_sums_of_one_shard_stop_every_symbol(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    with UnitOfWork(scene.engine) as uow:
        row = uow.conn.execute(select(iteration_shards)).one()
        uow.conn.execute(
            iteration_shards.insert().values(**{**row._mapping, "id": 1, "sums_tick": 5})
        )
        uow.conn.execute(
            iteration_shards.update().where(iteration_shards.c.id == 1).values(sums_tick=5)
        )
        _add_run(uow.conn, shard_id=1)
        uow.commit()
    scene.reconciler.reconcile()
    assert scene.world.asked == []
    assert "shard 1" in why(scene, "BTC").detail["reason"]


def test_an_old_shard_without_runs_does_not(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    with UnitOfWork(scene.engine) as uow:
        row = uow.conn.execute(select(iteration_shards)).one()
        empty = {**row._mapping, "id": 1, "sums_tick": 0, "sums": {}}
        uow.conn.execute(iteration_shards.insert().values(**empty))
        uow.commit()
    scene.reconciler.reconcile()
    assert legs(scene) == [("BTC", "buy", "0.4", False)]


def _add_run(conn: Any, shard_id: int) -> None:
    from shared.storage.tables import runs

    conn.execute(
        runs.insert().values(
            shard_id=shard_id, product_id=1, symbol="BTC", status="active",
            interpretation="direct", generation=0, spawn_tick=0, start_balance=1.0, live_pnl=0.0,
            fill_count=0, run_state={}, created_ms=0,
        )
    )  # fmt: skip


def test_a_symbol_without_a_fresh_price_waits_while_others_trade(scene: Any) -> None:
    scene.want(BTC=LONG, ETH=LONG)
    scene.freshen()
    scene.client.hset(price("BTC"), "received_ms", scene.world.clock.now_ms() - 6_000)
    scene.reconciler.reconcile()
    assert [o["symbol"] for o in scene.world.asked] == ["ETH"]
    assert "the price is stale" in why(scene, "BTC").detail["reason"]


def test_a_symbol_that_is_not_listed_any_more_is_left_alone(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    with UnitOfWork(scene.engine) as uow:
        uow.conn.execute(update(products).values(active=False))
        uow.commit()
    scene.reconciler.reconcile()
    assert scene.world.asked == []


def test_an_open_intent_holds_its_symbol_only(scene: Any) -> None:
    def never_answers(order: dict[str, Any]) -> Any:
        if order["symbol"] == "BTC":
            scene.gateway.execute(order)
            with UnitOfWork(scene.engine) as uow:
                uow.conn.execute(
                    update(order_execution_log)
                    .where(order_execution_log.c.symbol == "BTC")
                    .values(state="UNKNOWN")
                )
                uow.commit()
            return None
        return scene.gateway.execute(order)

    scene.world.fail_gateway = never_answers
    scene.want(BTC=LONG, ETH=LONG)
    scene.cycle(3)
    assert sorted(o["symbol"] for o in scene.world.asked) == ["BTC", "ETH"]
    assert why(scene, "BTC").decision == "wait"
    assert "is still open" in why(scene, "BTC").detail["reason"]


def test_closes_are_asked_for_before_opens(scene: Any) -> None:
    scene.world.sizes = {"BTC": Decimal("0.4"), "SOL": Decimal(-50)}
    scene.want(BTC=0.0, SOL=0.0, ETH=LONG)
    scene.cycle()
    assert [o["reduce_only"] for o in scene.world.asked] == [True, True, False]


def test_an_opening_order_waits_for_room_under_the_total_cap(scene: Any) -> None:
    def refuses_closes(order: dict[str, Any]) -> Any:
        return (503, {}) if order["reduce_only"] else scene.gateway.execute(order)

    scene.world.fail_gateway = refuses_closes
    scene.world.sizes = {"BTC": Decimal(2), "SOL": Decimal(1_990)}  # 299,000 of 300,000 USD
    scene.want(BTC=0.0, SOL=0.0, ETH=LONG)
    scene.cycle()
    assert [o["symbol"] for o in scene.world.asked if not o["reduce_only"]] == []
    assert why(scene, "ETH").decision == "wait"
    assert "max_total_exposure" in why(scene, "ETH").detail["reason"]
    scene.world.fail_gateway = None
    scene.cycle(3)
    assert scene.world.sizes["ETH"] == Decimal(10)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((403, {"error": "risk_blocked", "rule": "kill_switch"}), "blocked"),
        ((409, {"error": "conflict"}), "conflict"),
        ((422, {"error": "invalid_order"}), "refused"),
        ((503, {"error": "not_ready"}), "unavailable"),
        ((500, {"error": "error"}), "unanswered"),
        ((200, b"not json"), "accepted"),
        (None, "unanswered"),
    ],
)
def test_every_answer_of_the_gateway_is_kept_as_a_reason(
    scene: Any, answer: Any, outcome: str
) -> None:
    scene.world.fail_gateway = lambda _: answer
    scene.want(BTC=LONG)
    scene.cycle()
    entry = why(scene, "BTC")
    assert entry.decision == "trade"
    assert entry.intent_id == "BTC:0:open"
    assert entry.detail["reply"]["outcome"] == outcome


@pytest.mark.parametrize("part", ["headers", "body"])
def test_an_answer_that_trickles_keeps_no_look(part: Any) -> None:
    order = PlannedOrder("open", "buy", Decimal(1))
    with LocalServer(lambda _: Reply(body="x" * 1_000, trickle=part)) as gateway:
        client = GatewayClient(gateway.url, SecretStr("token"), 0.5)
        begun = time.monotonic()
        reply = client.execute("BTC:0:open", "BTC", 0, order)
        assert time.monotonic() - begun < 5
        client.close()
    assert reply.outcome is Outcome.UNANSWERED


def test_refusals_in_a_row_halt_the_symbol_and_a_person_resumes_it(scene: Any) -> None:
    scene.world.fail_gateway = lambda _: (422, {"error": "invalid_order", "message": "tick"})
    scene.want(BTC=LONG, ETH=LONG)
    scene.cycle(HALT_AFTER + 3)
    assert len([o for o in scene.world.asked if o["symbol"] == "BTC"]) == HALT_AFTER
    entry = why(scene, "BTC")
    assert entry.decision == "wait"
    assert "5 orders in a row were refused; the last: tick" in entry.detail["reason"]
    scene.world.fail_gateway = None
    scene.cycle(2)
    assert scene.world.sizes == {}
    resume(scene, "BTC")
    scene.cycle(2)
    assert scene.world.sizes == {"BTC": Decimal("0.4")}


def test_a_halted_symbol_still_closes(scene: Any) -> None:
    scene.world.sizes = {"BTC": Decimal("0.4")}
    with UnitOfWork(scene.engine) as uow:
        RiskStateStore(uow.conn).set_pause("BTC", True, 1, reason="by hand", actor="me")
        uow.commit()
    scene.want(BTC=SHORT)
    scene.cycle(3)
    assert legs(scene) == [("BTC", "sell", "0.4", True)]


def test_an_emptied_database_beside_a_venue_that_holds_positions_touches_nothing(
    scene: Any,
) -> None:
    """Runs are new, and the journal knows of no fill: a person says whose those positions are."""
    scene.world.sizes = {"BTC": Decimal("0.4"), "ETH": Decimal(-10)}
    with UnitOfWork(scene.engine) as uow:
        uow.conn.execute(plan_epochs.delete())
        uow.commit()
    scene.want(BTC=0.0, ETH=LONG, SOL=LONG)
    scene.cycle(3)
    assert legs(scene) == [("SOL", "buy", "200", False)]
    entry = why(scene, "BTC")
    assert entry.decision == "wait"
    assert "0.4 BTC were held before this journal began" in entry.detail["reason"]
    with UnitOfWork(scene.engine) as uow:
        assert set(RiskStateStore(uow.conn).load().pauses) == {"BTC", "ETH"}
    resume(scene, "BTC")
    scene.cycle(3)
    assert legs(scene)[1:] == [("BTC", "sell", "0.4", True)]
    assert scene.world.sizes["ETH"] == Decimal(-10)


def test_a_symbol_that_is_taken_out_of_the_configuration_is_closed(scene: Any) -> None:
    scene.want(BTC=LONG, ETH=LONG)
    scene.cycle(2)
    scene.world.asked.clear()
    reconciler = scene.restart(scene.adjusted(symbols=("BTC", "SOL")))
    scene.want(BTC=LONG)
    scene.client.delete(price("ETH"))  # nobody subscribes to it any more
    for _ in range(3):
        scene.freshen(without_price=("ETH",))
        report = reconciler.reconcile()
    assert legs(scene) == [("ETH", "sell", "10", True)]
    assert [x.symbol for x in report.looked] == ["BTC", "SOL"]
    assert why(scene, "ETH").detail["reason"].endswith("it is not configured any more")


def test_what_somebody_else_traded_last_is_not_closed_with_its_symbol(scene: Any) -> None:
    scene.want(ETH=LONG)
    scene.cycle(2)
    with UnitOfWork(scene.engine) as uow:  # as a trade on the venue's page is stored
        by_hand = {"tid": 99, "time_ms": scene.world.clock.now_ms(), "intent_id": None}
        row = uow.conn.execute(select(order_fills)).mappings().one()
        uow.conn.execute(order_fills.insert(), {**row, **by_hand, "cloid": None, "oid": 99})
        uow.commit()
    scene.world.sizes["ETH"] = Decimal(20)
    scene.world.asked.clear()
    reconciler = scene.restart(scene.adjusted(symbols=("BTC", "SOL")))
    for _ in range(2):
        scene.freshen()
        report = reconciler.reconcile()
    assert legs(scene) == []
    assert [x.symbol for x in report.looked] == ["BTC", "SOL"]


def test_after_a_refusal_the_account_is_read_again_before_the_next_plan(scene: Any) -> None:
    scene.world.fail_gateway = lambda _: (422, {"error": "invalid_order"})
    scene.want(BTC=LONG)
    scene.cycle()
    assert scene.reconciler.look().looked[0].verdict.decision is Decision.WAIT
    assert scene.requested


@pytest.mark.parametrize(
    "answer", [(401, {}), (403, {"rule": "kill_switch"}), (409, {}), (503, {}), (500, {}), None]
)
def test_what_is_no_refusal_halts_nothing(scene: Any, answer: Any) -> None:
    scene.world.fail_gateway = lambda _: answer
    scene.want(BTC=LONG)
    scene.cycle(HALT_AFTER + 2)
    assert len(scene.world.asked) == HALT_AFTER + 2


def lose_one(scene: Any, state: OrderState, filled: str = "0") -> None:
    """An order of BTC whose reply is lost, and which the gateway settles before the next look."""
    scene.world.fail_gateway = scene.gateway.lose
    scene.cycle()
    scene.gateway.end(scene.world.asked[-1]["intent_id"], state, Decimal(filled), after_ms=500)


def count(scene: Any) -> int:
    refusals: int = scene.inputs.gather().refusals["BTC"].count
    return refusals


def test_orders_that_are_sent_and_never_taken_halt_the_symbol(scene: Any) -> None:
    scene.want(BTC=LONG)
    for number in range(HALT_AFTER):
        assert count(scene) == number
        lose_one(scene, OrderState.NOT_PLACED)
    asked = len(scene.world.asked)
    assert asked == HALT_AFTER
    scene.cycle(3)
    assert len(scene.world.asked) == asked
    entry = why(scene, "BTC")
    assert entry.decision == "wait"
    assert "5 orders in a row were refused; the last: NOT_PLACED" in entry.detail["reason"]
    with UnitOfWork(scene.engine) as uow:
        assert set(RiskStateStore(uow.conn).load().pauses) == {"BTC"}
    resume(scene, "BTC")
    assert count(scene) == 0  # what a person has looked into is not counted again
    scene.world.fail_gateway = None
    scene.cycle(2)
    assert scene.world.sizes == {"BTC": Decimal("0.4")}


def test_orders_that_do_not_get_out_halt_nothing(scene: Any) -> None:
    scene.world.fail_gateway = scene.gateway.not_out
    scene.want(BTC=LONG)
    scene.cycle(HALT_AFTER + 2)
    assert len(scene.world.asked) == HALT_AFTER + 2
    assert count(scene) == 0


def test_what_became_of_an_order_after_its_answer_counts_once(scene: Any) -> None:
    scene.want(BTC=LONG)
    lose_one(scene, OrderState.REJECTED)
    scene.world.fail_gateway = lambda _: (422, {"error": "invalid_order", "message": "tick"})
    scene.cycle()
    assert count(scene) == 2
    scene.world.fail_gateway = lambda _: (503, {})
    scene.cycle(3)
    assert count(scene) == 2


def test_a_fill_that_is_found_later_ends_a_row_of_refusals(scene: Any) -> None:
    scene.want(BTC=LONG)
    lose_one(scene, OrderState.NOT_PLACED)
    assert count(scene) == 1
    lose_one(scene, OrderState.FILLED, scene.world.asked[-1]["size"])
    assert count(scene) == 0


def test_a_fill_ends_a_row_of_refusals(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.world.fail_gateway = lambda _: (422, {"error": "invalid_order"})
    scene.cycle(HALT_AFTER - 1)
    scene.world.fail_gateway = None
    scene.cycle()
    assert scene.inputs.gather().refusals["BTC"].count == 0


def test_a_gateway_that_is_not_there_is_unavailable(scene: Any) -> None:
    nowhere = scene.settings.reconciliation_engine.model_copy(
        update={"order_gateway_url": "http://127.0.0.1:9"}
    )
    scene.want(BTC=LONG)
    scene.freshen()
    scene.restart(scene.settings.model_copy(update={"reconciliation_engine": nowhere})).reconcile()
    assert why(scene, "BTC").detail["reply"]["outcome"] == "unavailable"


def test_looks_at_the_same_time_lead_to_one_order(scene: Any) -> None:
    scene.want(BTC=LONG, ETH=SHORT)
    scene.freshen()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: scene.reconciler.reconcile(), range(4)))
    scene.cycle(3)
    assert scene.world.sizes == {"BTC": Decimal("0.4"), "ETH": Decimal(-10)}


def test_the_reason_of_a_trade_names_everything_it_was_made_from(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.cycle()
    detail = why(scene, "BTC").detail
    assert detail["balance_usd"]["value"] == "100000"
    assert detail["runs"]["value"] == {
        "weighted_direction": LONG, "cohort_factor": 0.5, "active": 50, "qualifying": 50,
    }  # fmt: skip
    assert detail["target"]["notional_usd"]["value"] == "20000.0000"
    assert len(detail["quorum"]["backers"]) == 3
    assert detail["plan"]["orders"] == [
        {"leg": "open", "side": "buy", "size": "0.4", "reduce_only": False}
    ]
    assert detail["reply"]["body"]["state"] == "FILLED"
    assert why(scene, "ETH").decision == "hold"


def test_clamps_are_kept(scene: Any) -> None:
    scene.want(BTC=1_000.0)
    scene.cycle()
    (clamp,) = why(scene, "BTC").detail["target"]["clamps"]
    assert clamp["rule"] == "max_symbol_exposure"
    assert scene.world.sizes["BTC"] == Decimal(2)


def test_orders_carry_the_trace_of_the_look(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("reconcile") as span:
        scene.reconciler.reconcile()
        wanted = format(span.get_span_context().trace_id, "032x")
    (headers,) = scene.world.headers
    assert headers["traceparent"].split("-")[1] == wanted
    assert why(scene, "BTC").detail["trace_id"] == wanted
    assert trace.get_current_span().get_span_context().is_valid is False


def test_looking_alone_writes_and_sends_nothing(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    assert Decision.TRADE in decisions(scene)
    assert scene.world.asked == []
    with UnitOfWork(scene.engine) as uow:
        assert ReconciliationLog(uow.conn).newest() == []


def test_everything_known_is_marked_with_its_time(scene: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    inputs = scene.inputs.gather()
    now_ms = scene.world.clock.now_ms()
    assert isinstance(inputs.balance, Known)
    assert inputs.balance.as_of_ms == now_ms
    assert inputs.quorum["BTC"].position == Known(Decimal(0), now_ms)


def test_two_hundred_symbols_at_their_targets_are_held(scene: Any) -> None:
    symbols = scene.list_symbols(200)
    r = scene.settings.reconciliation_engine.model_copy(update={"symbols": symbols})
    many = scene.restart(scene.settings.model_copy(update={"reconciliation_engine": r}))
    scene.world.sizes = dict.fromkeys(symbols, Decimal(10))
    scene.want(**dict.fromkeys(symbols, 2.0))
    scene.freshen()
    report = many.reconcile()
    assert [x.verdict.decision for x in report.looked] == [Decision.HOLD] * 200
