"""An account that keeps its collateral elsewhere is refused, not traded on a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from order_gateway.account_mode import CHECK_SECS, CONDITION, RETRY_SECS, AccountModeCheck
from order_gateway.readiness import Readiness
from shared.config import Settings
from shared.exchange.errors import TransientVenueError
from shared.exchange_manager import ExchangeManager
from shared.testing.servers import wait_until


class Scene:
    """A check whose venue answers ``answer``, and whose clock the test moves."""

    def __init__(self) -> None:
        self.answer: str | Exception = "default"
        self.asked = 0
        self.now = 1_000.0
        self.readiness = Readiness()
        manager: Any = self
        self.check = AccountModeCheck(manager, self.readiness, lambda: self.now)

    def account_mode(self) -> str:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def problem(self) -> str | None:
        return self.readiness.reasons().get(CONDITION)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("mode", ["default", "disabled", "dexAbstraction"])
def test_a_standard_account_is_taken(scene: Scene, mode: str) -> None:
    assert scene.problem() == "not checked yet"
    scene.answer = mode
    scene.check.step()
    assert scene.problem() is None


@pytest.mark.parametrize("mode", ["unifiedAccount", "portfolioMargin", "somethingNew"])
def test_any_other_account_is_refused_until_it_is_a_standard_one(scene: Scene, mode: str) -> None:
    scene.answer = mode
    scene.check.step()
    assert f"the account is in mode '{mode}'" in str(scene.problem())
    scene.answer = "disabled"
    scene.check.step()
    assert scene.asked == 1
    scene.now += RETRY_SECS
    scene.check.step()
    assert scene.problem() is None


def test_a_mode_that_changes_later_is_noticed(scene: Scene) -> None:
    scene.check.step()
    scene.answer = "unifiedAccount"
    scene.now += CHECK_SECS - 1
    scene.check.step()
    assert scene.problem() is None
    scene.now += 1
    scene.check.step()
    assert scene.problem() is not None


def test_an_unanswered_question_changes_nothing_and_is_asked_again(scene: Scene) -> None:
    scene.answer = TransientVenueError("no answer")
    with pytest.raises(TransientVenueError):
        scene.check.step()
    assert scene.problem() == "not checked yet"
    scene.check.step()
    assert scene.asked == 1
    scene.answer, scene.now = "default", scene.now + RETRY_SECS
    scene.check.step()
    assert scene.problem() is None


def test_the_paper_exchange_answers_as_the_venue_does(settings: Settings, venue: Any) -> None:
    paper = settings.paper_exchange.model_copy(update={"url": venue.url})
    manager = ExchangeManager(settings.model_copy(update={"paper_exchange": paper}), venue.wallet)
    assert manager.account_mode() == "default"
    manager.close()


def test_a_gateway_of_a_unified_account_is_not_ready(
    gateway: Any, wire: Any, tmp_path: Path
) -> None:
    wire.account_mode = "unifiedAccount"
    second = gateway.sibling(tmp_path)
    try:
        second.start(ready=False)
        wait_until(lambda: "unifiedAccount" in _unmet(second), 20, "the refusal of the account")
        reply = requests.get(f"{second.url}/ready", timeout=5)
        assert reply.status_code == 503
    finally:
        wire.account_mode = "default"
        second.stop()


def _unmet(gateway: Any) -> str:
    reason: str = gateway.get("/ready").json()["unmet"].get(CONDITION, "")
    return reason
