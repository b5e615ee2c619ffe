"""Raising and delivering on a real database, to a real HTTP service."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, select

from shared.alerts.alert import Alert, AlertKind, breaker_open, kill_switch, quorum_lost
from shared.alerts.channels import channels_of
from shared.alerts.delivery import GIVE_UP_AFTER_MS, deliver
from shared.alerts.raising import Alerts
from shared.alerts.rules import Judgement
from shared.config import ConfigError, Settings
from shared.database import UnitOfWork, make_engine
from shared.storage.alert_outbox import AlertOutbox
from shared.storage.tables import alert_outbox
from shared.testing.clock import FrozenClock

SWITCH = kill_switch("daily loss of 12 %", "risk", 1_700_000_000_000)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def alerts(engine: Engine, settings: Settings, clock: FrozenClock) -> Alerts:
    return Alerts(engine, settings.alerts, clock.now_ms)


def rows(engine: Engine) -> list[Any]:
    with UnitOfWork(engine) as uow:
        return list(uow.conn.execute(select(alert_outbox).order_by(alert_outbox.c.id)))


def test_an_alert_reaches_the_channel_once(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    alerts.raise_alert(SWITCH)
    channels = channels_of([chat.url], 2)
    assert deliver(engine, channels, clock).sent == 1
    assert deliver(engine, channels, clock).sent == 0
    (message,) = chat.received
    assert message["title"] == "Kill switch set: nothing new is opened"
    assert "daily loss of 12 %" in message["message"]
    assert message["type"] == "failure"


def test_repetitions_count_until_the_cooldown_is_over(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    channels = channels_of([chat.url], 2)
    for _ in range(10):
        alerts.raise_alert(SWITCH)
        deliver(engine, channels, clock)
        clock.advance(300_000)
    assert len(chat.received) == 1
    clock.advance(3_600_000)
    alerts.raise_alert(SWITCH)
    deliver(engine, channels, clock)
    assert len(chat.received) == 2
    assert [row.repeats for row in rows(engine)] == [9, 0]


def test_a_new_occurrence_is_told_within_the_cooldown(alerts: Alerts, engine: Engine) -> None:
    alerts.raise_alert(SWITCH)
    alerts.raise_alert(kill_switch("by hand", "anna", 1_700_000_060_000))
    assert [row.state for row in rows(engine)] == ["pending", "pending"]


def test_a_condition_is_told_only_when_it_has_lasted(
    alerts: Alerts, engine: Engine, clock: FrozenClock
) -> None:
    lost = quorum_lost("BTC", "one voter")
    assert alerts.raise_alert(lost, hold_secs=60) is Judgement.HOLD
    clock.advance(30_000)
    alerts.settle([AlertKind.QUORUM_LOST], [])
    clock.advance(1_000)
    assert alerts.raise_alert(lost, hold_secs=60) is Judgement.HOLD
    clock.advance(60_000)
    alerts.settle([AlertKind.QUORUM_LOST], [lost])
    assert alerts.raise_alert(lost, hold_secs=60) is Judgement.PROMOTE
    assert [row.state for row in rows(engine)] == ["ended", "pending"]


def test_a_refused_message_is_tried_again_with_growing_pauses(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    chat.status = 500
    channels = channels_of([chat.url], 2)
    alerts.raise_alert(SWITCH)
    attempts = []
    for second in range(60):
        if deliver(engine, channels, clock).retried:
            attempts.append(second)
        clock.advance(1_000)
    assert attempts == [0, 5, 15, 35]
    chat.status = 200
    clock.advance(60_000)
    assert deliver(engine, channels, clock).sent == 1
    assert len(chat.received) == 1


def test_a_channel_that_has_it_is_not_told_again_for_another_that_has_not(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any, other_chat: Any
) -> None:
    other_chat.status = 503
    channels = channels_of([chat.url, other_chat.url], 2)
    alerts.raise_alert(SWITCH)
    assert deliver(engine, channels, clock).retried == 1
    other_chat.status = 200
    clock.advance(5_000)
    assert deliver(engine, channels, clock).sent == 1
    assert (len(chat.received), len(other_chat.received)) == (1, 1)


def test_a_message_nobody_takes_for_a_day_is_given_up(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    chat.status = 500
    alerts.raise_alert(SWITCH)
    clock.advance(GIVE_UP_AFTER_MS + 1)
    assert deliver(engine, channels_of([chat.url], 2), clock).given_up == 1
    (row,) = rows(engine)
    assert row.state == "given_up"
    assert row.error


def test_without_a_channel_the_outbox_says_so(
    alerts: Alerts, engine: Engine, clock: FrozenClock
) -> None:
    alerts.raise_alert(SWITCH)
    assert deliver(engine, [], clock).given_up == 1
    assert rows(engine)[0].error == "alerts.urls lists no channel"


def test_a_sender_that_died_leaves_the_message_to_the_next(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    alerts.raise_alert(SWITCH)
    with UnitOfWork(engine) as uow:
        outbox = AlertOutbox(uow.conn)
        (message,) = outbox.due(clock.now_ms())
        assert outbox.claim(message, clock.now_ms() + 60_000)
        assert not outbox.claim(message, clock.now_ms() + 60_000)
        uow.commit()
    channels = channels_of([chat.url], 2)
    assert deliver(engine, channels, clock).sent == 0
    clock.advance(60_000)
    assert deliver(engine, channels, clock).sent == 1


def test_many_who_raise_the_same_alert_at_once_make_one_message(
    alerts: Alerts, engine: Engine
) -> None:
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        alerts.raise_alert(SWITCH)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (row,) = rows(engine)
    assert row.repeats <= 5


def test_a_dead_chat_service_does_not_hold_up_who_raises(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    chat.hangs = True
    alerts.raise_alert(SWITCH)
    sender = threading.Thread(target=deliver, args=(engine, channels_of([chat.url], 2), clock))
    sender.start()
    alerts.raise_alert(breaker_open("gateway", 5))
    assert sender.is_alive()
    sender.join(20)
    assert not sender.is_alive()
    assert rows(engine)[0].attempts == 1
    assert rows(engine)[0].state == "pending"


def test_a_dead_database_is_not_the_callers_trouble(
    settings: Settings, secrets: Any, clock: FrozenClock
) -> None:
    nowhere = settings.model_copy(
        update={"database": settings.database.model_copy(update={"port": 1})}
    )
    alerts = Alerts(make_engine(nowhere, secrets), settings.alerts, clock.now_ms)
    assert alerts.raise_alert(SWITCH) is None


def test_kinds_that_are_not_enabled_are_not_kept(
    engine: Engine, settings: Settings, clock: FrozenClock
) -> None:
    quiet = settings.alerts.model_copy(update={"enabled": ("kill_switch",)})
    alerts = Alerts(engine, quiet, clock.now_ms)
    assert alerts.raise_alert(quorum_lost("BTC", "one voter")) is None
    assert rows(engine) == []


def test_texts_are_cut_to_what_the_outbox_holds(alerts: Alerts, engine: Engine) -> None:
    long = Alert(AlertKind.TEST, "s" * 999, "info", "t" * 999, "b" * 9_999)
    assert alerts.raise_alert(long) is Judgement.SEND
    (row,) = rows(engine)
    assert (len(row.subject), len(row.title), len(row.body)) == (128, 255, 2_000)


def test_old_messages_are_forgotten_but_none_that_waits(
    alerts: Alerts, engine: Engine, clock: FrozenClock, chat: Any
) -> None:
    alerts.raise_alert(SWITCH)
    deliver(engine, channels_of([chat.url], 2), clock)
    alerts.raise_alert(breaker_open("gateway", 5))
    with UnitOfWork(engine) as uow:
        assert AlertOutbox(uow.conn).forget(clock.now_ms() + 1) == 1
        uow.commit()
    assert [row.kind for row in rows(engine)] == ["breaker_open"]


def test_a_url_nobody_understands_is_named_by_its_scheme_alone() -> None:
    from pydantic import SecretStr

    with pytest.raises(ConfigError, match="nosuch://") as raised:
        channels_of([SecretStr("nosuch://token-of-mine")], 2)
    assert "token-of-mine" not in str(raised.value)
