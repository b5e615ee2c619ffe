"""Empty the outbox: claim, send, record. At least once to each channel, retried with back-off.

No transaction is open while a channel is talked to. A sender that dies in between leaves a claim
that runs out, and the message is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import Engine

from shared.alerts.channels import Channel
from shared.alerts.rules import EpisodeState, retry_after_ms
from shared.database import UnitOfWork
from shared.ports import Clock
from shared.storage.alert_outbox import AlertOutbox, Message

log = structlog.get_logger(__name__)

CLAIM_MS = 120_000
GIVE_UP_AFTER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one delivery did: messages sent, to be tried again, and given up."""

    sent: int = 0
    retried: int = 0
    given_up: int = 0


def deliver(engine: Engine, channels: Sequence[Channel], clock: Clock) -> Delivered:
    """Attempt every due message once. Raises ``SQLAlchemyError`` without a database."""
    with UnitOfWork(engine) as uow:
        due = AlertOutbox(uow.conn).due(clock.now_ms())
    outcomes = [_attempt(engine, channels, message, clock) for message in due]
    return Delivered(
        sent=outcomes.count(EpisodeState.SENT),
        retried=outcomes.count(EpisodeState.PENDING),
        given_up=outcomes.count(EpisodeState.GIVEN_UP),
    )


def _attempt(
    engine: Engine, channels: Sequence[Channel], message: Message, clock: Clock
) -> EpisodeState | None:
    with UnitOfWork(engine) as uow:
        if not AlertOutbox(uow.conn).claim(message, clock.now_ms() + CLAIM_MS):
            return None
        uow.commit()
    delivered, problems = list(message.delivered), []
    for channel in channels:
        if channel.name in delivered:
            continue
        problem = channel.send(message.title, _text(message), message.severity)
        if problem:
            problems.append(problem)
        else:
            delivered.append(channel.name)
    return _record(engine, message, delivered, problems, clock, has_channels=bool(channels))


def _record(
    engine: Engine,
    message: Message,
    delivered: Sequence[str],
    problems: Sequence[str],
    clock: Clock,
    *,
    has_channels: bool,
) -> EpisodeState:
    now_ms = clock.now_ms()
    if not has_channels:
        state, error = EpisodeState.GIVEN_UP, "alerts.urls lists no channel"
    elif not problems:
        state, error = EpisodeState.SENT, ""
    elif now_ms - message.first_ms > GIVE_UP_AFTER_MS:
        state, error = EpisodeState.GIVEN_UP, "; ".join(problems)
    else:
        state, error = EpisodeState.PENDING, "; ".join(problems)
    with UnitOfWork(engine) as uow:
        AlertOutbox(uow.conn).finish(
            message,
            state,
            now_ms,
            delivered=delivered,
            error=error,
            next_attempt_ms=now_ms + retry_after_ms(message.attempts + 1),
        )
        uow.commit()
    if problems:
        log.warning(
            "alert_not_delivered",
            kind=message.kind.value,
            attempts=message.attempts + 1,
            state=state.value,
            problems=list(problems),
        )
    return state


def _text(message: Message) -> str:
    began = datetime.fromtimestamp(message.first_ms / 1000, UTC)
    again = f"; raised {message.repeats + 1} times" if message.repeats else ""
    return f"{message.body}\n\n3T, since {began:%Y-%m-%d %H:%M:%S} UTC{again}"
