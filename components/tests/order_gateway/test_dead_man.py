"""When the venue's scheduled cancel is set, moved and called off."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from order_gateway.dead_man import AHEAD_MS, REFRESH_MS, REFUSED_PAUSE_MS, DeadManSwitch
from order_gateway.nonces import NonceAllocator
from order_gateway.signing_desk import SigningDesk
from shared.exchange.signing import ActionSigner, SignedAction


class FakeJournal:
    def __init__(self) -> None:
        self.nonces: list[int] = []

    def use_nonce(self, nonce: int) -> None:
        self.nonces.append(nonce)


class FakeSender:
    def __init__(self) -> None:
        self.times: list[int | None] = []
        self.refusal: str | None = None

    def other(self, action: SignedAction, name: str) -> str | None:
        assert name == "scheduleCancel"
        self.times.append(action.payload["action"].get("time"))
        return self.refusal


class Bench:
    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.journal, self.sender = FakeJournal(), FakeSender()
        self.switch = DeadManSwitch(
            desk=SigningDesk(
                ActionSigner.from_key(SecretStr("0x" + "11" * 32), mainnet=False),
                NonceAllocator(lambda: self.now_ms),
                self.journal,  # type: ignore[arg-type]
            ),
            sender=self.sender,  # type: ignore[arg-type]
            clock_ms=lambda: self.now_ms,
        )

    def after(self, ms: int, *, resting: bool) -> list[Any]:
        self.now_ms += ms
        self.sender.times.clear()
        self.switch.step(resting=resting)
        return list(self.sender.times)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_is_sent_while_nothing_rests(bench: Bench) -> None:
    assert bench.after(0, resting=False) == []
    assert bench.after(10 * REFRESH_MS, resting=False) == []


def test_it_is_kept_ahead_while_an_order_rests_and_then_called_off(bench: Bench) -> None:
    assert bench.after(0, resting=True) == [1_000_000 + AHEAD_MS]
    assert bench.after(REFRESH_MS - 1, resting=True) == []
    assert bench.after(1, resting=True) == [bench.now_ms + AHEAD_MS]
    assert bench.after(1, resting=False) == [None]
    assert bench.after(1, resting=False) == []
    assert bench.after(1, resting=True) == [bench.now_ms + AHEAD_MS]
    assert bench.journal.nonces == sorted(set(bench.journal.nonces))


def test_a_refusal_is_respected_for_an_hour(bench: Bench) -> None:
    bench.sender.refusal = "Cannot set scheduled cancel time until enough volume traded."
    assert len(bench.after(0, resting=True)) == 1
    assert bench.after(REFRESH_MS, resting=True) == []
    assert bench.after(REFRESH_MS, resting=False) == []
    assert len(bench.after(REFUSED_PAUSE_MS, resting=True)) == 1


def test_nonces_are_monotonic_under_a_clock_that_goes_back() -> None:
    times = iter([100, 50, 100, 300, 200])
    nonces = NonceAllocator(lambda: next(times))
    nonces.seed(120)
    assert [nonces.next() for _ in range(5)] == [121, 122, 123, 300, 301]
