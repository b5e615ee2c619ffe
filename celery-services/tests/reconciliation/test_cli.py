"""The commands by hand: what they print, and their exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.database import UnitOfWork
from worker import cli

LONG = 40.0


@pytest.fixture
def run(
    scene: Any,
    service_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Any,
) -> Any:
    """Run a command line; returns (exit code, stdout, stderr)."""
    r = scene.settings.reconciliation_engine
    environ = {
        **service_environ,
        "COLUMNS": "200",
        "T3__risk__audit_trail": str(tmp_path / "audit.jsonl"),
        "T3__reconciliation_engine__symbols": json.dumps(list(r.symbols)),
        "T3__reconciliation_engine__observer_nodes": json.dumps(list(r.observer_nodes)),
        "T3__reconciliation_engine__order_gateway_url": r.order_gateway_url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_why_an_order_tells_its_whole_story(scene: Any, run: Any, tmp_path: Any) -> None:
    scene.want(BTC=LONG)
    scene.cycle()
    allowed = {"seq": 4, "event": "order_allowed", "intent_id": "BTC:0:open"}
    (tmp_path / "audit.jsonl").write_text(json.dumps(allowed) + "\n" + '{"torn BTC:0:open')
    for name in ("BTC:0:open", scene_cloid(scene)):
        code, printed, _ = run("why", "--order", name)
        assert code == 0
        for told in ("buy 0.4 BTC", "FILLED", "weighted_direction 40.0", "order_allowed", "Fills"):
            assert told in printed


def test_why_an_order_asks_the_gateway_for_a_trail_that_is_not_here(scene: Any, run: Any) -> None:
    scene.want(BTC=LONG)
    scene.cycle()
    asked: list[str] = []

    def audit(path: str) -> Any:
        asked.append(path)
        return 200, [{"seq": 4, "event": "order_allowed", "intent_id": "BTC:0:open"}]

    scene.world.audit = audit
    code, printed, _ = run("why", "--order", "BTC:0:open")
    assert (code, asked) == (0, ["/audit?intent_id=BTC%3A0%3Aopen"])
    assert "order_allowed" in printed
    scene.world.audit = lambda _: None  # it does not answer
    code, printed, _ = run("why", "--order", "BTC:0:open")
    assert code == 0
    assert "the gateway gave no audit trail (ConnectionError)" in printed


def scene_cloid(scene: Any) -> str:
    from sqlalchemy import select

    from shared.storage.tables import order_execution_log

    with UnitOfWork(scene.engine) as uow:
        return str(uow.conn.execute(select(order_execution_log.c.cloid)).scalar_one())


def test_why_a_symbol_tells_why_there_was_no_order(scene: Any, run: Any) -> None:
    scene.world.lenses = {"one": lambda _: None, "two": lambda _: (503, {"error": "old"})}
    scene.want(BTC=LONG)
    scene.cycle(2)
    code, printed, _ = run("why", "--symbol", "BTC")
    assert code == 0
    assert "unknown" in printed
    assert "abstains: answered 503" in printed
    assert "found 2 times since" in printed
    scene.world.lenses = {}
    scene.cycle()
    _, printed, _ = run("why", "--symbol", "BTC")
    assert "Before that" in printed


def test_why_nothing_is_known(run: Any) -> None:
    assert run("why", "--order", "BTC:9:open")[0] == 1
    code, _, told = run("why", "--symbol", "DOGE")
    assert code == 1
    assert told.startswith(
        "why: no decision about 'DOGE' is recorded; reconciliation_engine.symbols "
    )


def test_a_dry_run_shows_and_does_nothing(scene: Any, run: Any) -> None:
    scene.want(BTC=LONG)
    scene.freshen()
    code, printed, _ = run("reconcile", "--dry-run")
    assert code == 0
    assert "BTC" in printed
    assert scene.world.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["why"],
        ["why", "--symbol", "BTC", "--limit", "0"],
        ["why", "--symbol", "BTC", "--order", "x"],
    ],
)
def test_bad_arguments_are_exit_code_2(run: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2


def test_a_bad_configuration_is_exit_code_2(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T3__reconciliation_engine__nonsense", "1")
    code, _, told = run("why", "--symbol", "BTC")
    assert code == 2
    assert "reconciliation_engine.nonsense: unknown key" in told


def test_a_database_that_is_away_is_one_sentence(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T3__database__port", "1")
    code, _, told = run("why", "--symbol", "BTC")
    assert code == 1
    assert told.startswith("why: the database cannot be used: ")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "reconcile: interrupted; what was sent is settled by the"),
        (RedisConnectionError("refused"), 1, "reconcile: Redis cannot be used: refused"),
    ],
)
def test_a_broken_off_reconciliation_is_one_sentence(
    run: Any, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    def broken(*_: Any, **__: Any) -> int:
        raise raised

    monkeypatch.setattr(cli, "_reconcile", broken)
    ended, printed, told = run("reconcile")
    assert (ended, printed) == (code, "")
    assert told.startswith(said)
    assert told.count("\n") == 1
