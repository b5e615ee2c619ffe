"""When an alert becomes a message: pure rules of holding, repetition, cooldown and back-off.

An *episode* is one message about one subject. A condition that must last first is HELD; it becomes
PENDING when it has lasted, or ENDED when it was over sooner. What is raised again while an episode
is under way, or within the cooldown after it began, only counts. A condition that still lasts after
the cooldown is told again, as a reminder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FIRST_RETRY_MS = 5_000
LONGEST_RETRY_MS = 600_000


class EpisodeState(StrEnum):
    """Where a message is."""

    HELD = "held"
    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given_up"
    ENDED = "ended"


class Judgement(StrEnum):
    """What raising an alert means."""

    HOLD = "hold"
    """Begin an episode that waits whether the condition lasts."""
    SEND = "send"
    """Begin an episode that is to be delivered."""
    PROMOTE = "promote"
    """The held episode has lasted: deliver it."""
    REPEAT = "repeat"
    """Count it on the episode there is."""


@dataclass(frozen=True, slots=True)
class Episode:
    """The last episode of a subject; ``settled``: its condition has been over since. UTC ms."""

    state: EpisodeState
    first_ms: int
    settled: bool


def judge(last: Episode | None, now_ms: int, hold_ms: int, cooldown_ms: int) -> Judgement:
    """What an alert that is raised now means, after the subject's ``last`` episode."""
    fresh = Judgement.HOLD if hold_ms > 0 else Judgement.SEND
    if last is None or last.state is EpisodeState.ENDED:
        return fresh
    lasted_ms = now_ms - last.first_ms
    if last.state is EpisodeState.HELD:
        return Judgement.PROMOTE if lasted_ms >= hold_ms else Judgement.REPEAT
    if last.state is EpisodeState.PENDING or lasted_ms < cooldown_ms:
        return Judgement.REPEAT
    return fresh if last.settled else Judgement.SEND


def retry_after_ms(attempts: int) -> int:
    """Pause after so many failed deliveries (1, 2, …): 5 s, doubled each time, up to 10 min."""
    return int(min(FIRST_RETRY_MS * 2 ** min(attempts - 1, 20), LONGEST_RETRY_MS))
