"""Holding, repetition, cooldown and back-off."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.alerts.rules import Episode, EpisodeState, Judgement, judge, retry_after_ms

HOLD, COOLDOWN = 60_000, 3_600_000


@pytest.mark.parametrize(
    ("state", "settled", "age_ms", "hold_ms", "expected"),
    [
        (EpisodeState.PENDING, False, 10**9, 0, Judgement.REPEAT),
        (EpisodeState.SENT, False, COOLDOWN - 1, 0, Judgement.REPEAT),
        (EpisodeState.SENT, True, COOLDOWN - 1, 0, Judgement.REPEAT),
        (EpisodeState.SENT, False, COOLDOWN, HOLD, Judgement.SEND),
        (EpisodeState.SENT, True, COOLDOWN, HOLD, Judgement.HOLD),
        (EpisodeState.SENT, True, COOLDOWN, 0, Judgement.SEND),
        (EpisodeState.GIVEN_UP, False, COOLDOWN, 0, Judgement.SEND),
        (EpisodeState.HELD, False, HOLD - 1, HOLD, Judgement.REPEAT),
        (EpisodeState.HELD, False, HOLD, HOLD, Judgement.PROMOTE),
        (EpisodeState.ENDED, True, 1, HOLD, Judgement.HOLD),
        (EpisodeState.ENDED, True, 1, 0, Judgement.SEND),
    ],
)
def test_what_raising_again_means(
    state: EpisodeState, settled: bool, age_ms: int, hold_ms: int, expected: Judgement
) -> None:
    assert judge(Episode(state, 1_000, settled), 1_000 + age_ms, hold_ms, COOLDOWN) is expected


def test_the_first_alert_of_a_subject_is_sent_or_held() -> None:
    assert judge(None, 0, 0, COOLDOWN) is Judgement.SEND
    assert judge(None, 0, HOLD, COOLDOWN) is Judgement.HOLD


@given(st.lists(st.integers(0, 600_000), max_size=60))
def test_messages_about_one_subject_are_a_cooldown_apart(pauses_ms: list[int]) -> None:
    last: Episode | None = None
    now_ms, sent = 0, []
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        if judge(last, now_ms, 0, COOLDOWN) is Judgement.SEND:
            sent.append(now_ms)
            last = Episode(EpisodeState.SENT, now_ms, settled=False)
    assert all(later - earlier >= COOLDOWN for earlier, later in pairwise(sent))
    assert not pauses_ms or sent


def test_retries_grow_to_ten_minutes() -> None:
    assert [retry_after_ms(n) for n in (1, 2, 3, 8, 200)] == [
        5_000, 10_000, 20_000, 600_000, 600_000,
    ]  # fmt: skip
