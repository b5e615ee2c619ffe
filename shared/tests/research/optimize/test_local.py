"""Servers and workers of the checkout's own: there for the block, and gone after it."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

from shared.research.errors import ResearchError
from shared.research.optimize.local import LocalPlatform
from shared.research.optimize.outcome import outcome_of
from shared.research.optimize.outputs import write_all
from shared.research.optimize.search import run
from shared.research.optimize.senders import CelerySender
from shared.research.optimize.studies import open_storage
from shared.research.statistics_text import STATISTICS
from shared.testing.servers import free_port
from shared.tests.research.optimize import small
from shared.tests.research.samples import ROOT


@pytest.fixture
def environ() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("T3_")}
    ports = {"T3__redis__port": str(free_port()), "T3__database__port": str(free_port())}
    return {**inherited, **small.OVERRIDES, **ports}


def test_a_search_without_a_platform_makes_its_own(environ: dict[str, str], tmp_path: Path) -> None:
    wanted = small.search(tmp_path, trials=4, folds=1)
    local = LocalPlatform(environ, ROOT / "config.yml", workers=1, home=tmp_path / "home")
    with local as connected:
        storage = open_storage(connected.settings, connected.secrets)
        sender = CelerySender(connected.settings, connected.secrets)
        studies = run(wanted, storage, sender, lambda *_: None)
        outcome = outcome_of(wanted.folds, studies, wanted.settings)
        second = LocalPlatform(environ, ROOT / "config.yml", 1, home=tmp_path / "home")
        with pytest.raises(ResearchError, match="another optimisation uses"), second:
            pass
    with pytest.raises(ResearchError, match="cannot be used as 3t_research"):
        open_storage(connected.settings, connected.secrets)
    assert (tmp_path / "home" / "secrets.yml").stat().st_mode & 0o077 == 0
    text = (ROOT / "config.yml").read_text()
    line = write_all(tmp_path / "out", wanted, outcome, 1.0, text)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "trials.parquet", "walk.parquet", "stats.csv", "report.html"} <= names
    stats = dict(csv.reader((tmp_path / "out" / "stats.csv").open()))
    names = {name.removeprefix("fold_1_") for name in stats}
    assert names - {"statistic", "optimisation"} <= set(STATISTICS)
    page = Path(line["report"]).read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "bps a day, in their tests" in page
    assert connected.secrets.database.research_password.get_secret_value() not in page


def test_a_port_of_someone_else_is_named(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.research.optimize.local.WORKER_PATIENCE_SECS", -20.0)
    monkeypatch.setattr("shared.research.optimize.local._answers", lambda port: True)
    local = LocalPlatform(environ, ROOT / "config.yml", 1, home=tmp_path / "home")
    with pytest.raises(ResearchError, match="set T3__redis__port to a free one"), local:
        pass


def test_a_worker_that_was_killed_ends_the_search_with_a_sentence(
    environ: dict[str, str], tmp_path: Path
) -> None:
    local = LocalPlatform(environ, ROOT / "config.yml", workers=1, home=tmp_path / "home")
    with local as connected:
        connected.check()
        worker = local._running[-1]
        os.kill(worker.pid, signal.SIGKILL)
        worker._process.wait(10.0)
        with pytest.raises(ResearchError, match=r"the worker of this search has ended; see .*log"):
            connected.check()
