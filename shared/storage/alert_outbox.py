"""The ``alert_outbox`` table: what is to be told to people, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from shared.alerts.alert import Alert, AlertKind, Severity
from shared.alerts.rules import Episode, EpisodeState, Judgement, judge
from shared.storage.tables import alert_outbox as t

MAX_ERROR = 255
ROWS_PER_DELETE = 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """A row that is to be delivered; ``delivered`` names the channels that have it already."""

    id: int
    kind: AlertKind
    severity: Severity
    title: str
    body: str
    repeats: int
    attempts: int
    delivered: tuple[str, ...]
    first_ms: int


class AlertOutbox:
    """The outbox over one connection; the caller commits."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def put(self, alert: Alert, now_ms: int, *, hold_ms: int, cooldown_ms: int) -> Judgement:
        """Begin an episode or count a repetition, by ``rules.judge``.

        Two who raise the same alert at once make one episode: the database refuses the second
        (``IntegrityError``), and a second call then finds the first's.
        """
        last = self._last(alert.kind, alert.subject)
        episode = None if last is None else _episode(last)
        judgement = judge(episode, now_ms, hold_ms, cooldown_ms)
        if last is None or judgement in (Judgement.HOLD, Judgement.SEND):
            number = 1 if last is None else last.episode + 1
            self._begin(alert, number, now_ms, held=judgement is Judgement.HOLD)
            return judgement
        values: dict[str, Any] = {"repeats": t.c.repeats + 1, "last_ms": now_ms, "settled": False}
        if last.state in (EpisodeState.HELD, EpisodeState.PENDING):
            values |= {"title": alert.title, "body": alert.body, "severity": alert.severity}
        if judgement is Judgement.PROMOTE:
            values |= {"state": EpisodeState.PENDING.value, "next_attempt_ms": now_ms}
        self._conn.execute(update(t).where(t.c.id == last.id).values(**values))
        return judgement

    def settle(self, kinds: Collection[AlertKind], lasting: Collection[tuple[str, str]]) -> int:
        """The conditions of these kinds are over, but for the ``lasting`` (kind, subject).

        Returns how many were.
        """
        open_rows = self._conn.execute(
            select(t.c.id, t.c.kind, t.c.subject, t.c.state).where(
                t.c.kind.in_(sorted(kinds)),
                t.c.settled.is_(False),
                t.c.state != EpisodeState.ENDED.value,
            )
        ).all()
        over = [row for row in open_rows if (row.kind, row.subject) not in lasting]
        held = [row.id for row in over if row.state == EpisodeState.HELD]
        if over:
            ids = [row.id for row in over]
            self._conn.execute(update(t).where(t.c.id.in_(ids)).values(settled=True))
        if held:
            ended = EpisodeState.ENDED.value
            self._conn.execute(update(t).where(t.c.id.in_(held)).values(state=ended))
        return len(over)

    def due(self, now_ms: int, limit: int = 20) -> list[Message]:
        """Messages whose next attempt is due, oldest first."""
        rows = self._conn.execute(
            select(t)
            .where(t.c.state == EpisodeState.PENDING.value, t.c.next_attempt_ms <= now_ms)
            .order_by(t.c.id)
            .limit(limit)
        )
        return [_message(row) for row in rows]

    def claim(self, message: Message, until_ms: int) -> bool:
        """Take a due message for one attempt; False if another sender was faster."""
        changed = self._conn.execute(
            update(t)
            .where(
                t.c.id == message.id,
                t.c.state == EpisodeState.PENDING.value,
                t.c.attempts == message.attempts,
            )
            .values(attempts=message.attempts + 1, next_attempt_ms=until_ms)
        )
        return changed.rowcount == 1

    def finish(
        self,
        message: Message,
        state: EpisodeState,
        now_ms: int,
        *,
        delivered: Sequence[str],
        error: str = "",
        next_attempt_ms: int = 0,
    ) -> None:
        """Record what came of an attempt."""
        self._conn.execute(
            update(t)
            .where(t.c.id == message.id)
            .values(
                state=state.value,
                delivered=list(delivered),
                error=error[:MAX_ERROR],
                next_attempt_ms=next_attempt_ms,
                sent_ms=now_ms if state is EpisodeState.SENT else None,
            )
        )

    def forget(self, before_ms: int) -> int:
        """Delete messages that were last raised before ``before_ms`` and wait for nothing."""
        old = (
            select(t.c.id)
            .where(t.c.last_ms < before_ms, t.c.state.not_in(("held", "pending")))
            .limit(ROWS_PER_DELETE)
        )
        ids = self._conn.execute(old).scalars().all()
        if ids:
            self._conn.execute(delete(t).where(t.c.id.in_(ids)))
        return len(ids)

    def counts(self) -> dict[str, int]:
        """Rows by state."""
        rows = self._conn.execute(select(t.c.state, func.count()).group_by(t.c.state))
        return {str(state): int(count) for state, count in rows}

    def _last(self, kind: AlertKind, subject: str) -> Any:
        return self._conn.execute(
            select(t.c.id, t.c.episode, t.c.state, t.c.first_ms, t.c.settled)
            .where(t.c.kind == kind.value, t.c.subject == subject)
            .order_by(t.c.episode.desc())
            .limit(1)
        ).one_or_none()

    def _begin(self, alert: Alert, number: int, now_ms: int, *, held: bool) -> None:
        state = EpisodeState.HELD if held else EpisodeState.PENDING
        self._conn.execute(
            insert(t).values(
                kind=alert.kind.value,
                subject=alert.subject,
                episode=number,
                severity=alert.severity,
                title=alert.title,
                body=alert.body,
                state=state.value,
                next_attempt_ms=now_ms,
                delivered=[],
                first_ms=now_ms,
                last_ms=now_ms,
            )
        )


def _episode(row: Row[Any]) -> Episode:
    return Episode(EpisodeState(row.state), int(row.first_ms), bool(row.settled))


def _message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        kind=AlertKind(row.kind),
        severity=row.severity,
        title=row.title,
        body=row.body,
        repeats=row.repeats,
        attempts=row.attempts,
        delivered=tuple(row.delivered),
        first_ms=int(row.first_ms),
    )
