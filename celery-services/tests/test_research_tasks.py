"""A search through real servers and workers, which are killed, as is whoever runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared.config import load_secrets, load_settings
from shared.native_servers import PROJECT_ROOT, write_private
from shared.research.optimize.studies import load_study, open_storage
from shared.storage.redis_keys import RESEARCH_QUEUE
from shared.testing.servers import MariaDbServer, wait_until
from shared.tests.research.optimize import small

PASSWORD = "test-research-password"
TRIALS, FOLDS = 4, 2


@pytest.fixture
def environ(
    service_environ: Mapping[str, str],
    mariadb_server: MariaDbServer,
    redis_client: Redis,
    tmp_path: Path,
) -> Iterator[dict[str, str]]:
    """Of a platform whose research user may use the database of trials and nothing else."""
    script = (PROJECT_ROOT / "database" / "research.sql").read_text()
    mariadb_server.execute_sql(script, {"research_password": PASSWORD})
    redis_password = redis_client.connection_pool.connection_kwargs["password"]
    secrets = {
        "database": {"research_password": PASSWORD},
        "redis": {"password": redis_password},
    }
    write_private(tmp_path / "secrets.yml", yaml.safe_dump(secrets))
    yield {**service_environ, **small.OVERRIDES, "T3_SECRETS": str(tmp_path / "secrets.yml")}
    mariadb_server.execute_sql("DROP DATABASE `3t_research`;")


@pytest.fixture
def storage(environ: dict[str, str]) -> RDBStorage:
    return open_storage(load_settings(environ=environ), load_secrets(environ=environ))


class Processes:
    """Workers and commands of one test; none outlives it."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._environ, self._folder = environ, folder
        self._data = small.files(folder)
        self._started: list[subprocess.Popen[bytes]] = []

    def worker(self) -> subprocess.Popen[bytes]:
        command = ["-m", "celery", "-A", "shared.celery_app", "worker", "-Q", RESEARCH_QUEUE]
        return self._start("worker", [*command, "-P", "prefork", "-c", "2", "-n", "research@test"])

    def search(self) -> subprocess.Popen[bytes]:
        options = ["--data", *self._data, "--trials", str(TRIALS), "--out", str(self._folder)]
        return self._start("search", ["-m", "shared.research.optimize", *options, "--seed", "1"])

    def output(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def kill_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self._environ,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        self._started.append(process)
        return process


@pytest.fixture
def processes(environ: dict[str, str], tmp_path: Path) -> Iterator[Processes]:
    made = Processes(environ, tmp_path)
    yield made
    made.kill_all()
    for name in ("worker", "search"):
        if (tmp_path / f"{name}.log").exists():
            print(made.output(name)[-3_000:])  # noqa: T201  shown on failure


def trials(storage: RDBStorage, *wanted: TrialState) -> list[tuple[str, FrozenTrial]]:
    names = storage.get_all_studies()
    return [
        (study.study_name, trial)
        for study in names
        for trial in optuna.load_study(study_name=study.study_name, storage=storage).get_trials(
            states=wanted
        )
    ]


def test_search_survives_the_death_of_its_workers_and_of_its_command(
    processes: Processes, storage: RDBStorage, tmp_path: Path
) -> None:
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    processes.search()
    processes.worker()
    wait_until(lambda: len(trials(storage, *finished)) >= 2, 90, "some trials")
    wait_until(lambda: bool(trials(storage, TrialState.RUNNING)), 60, "a trial under way")
    processes.kill_all()
    kept = {(name, t.number): t for name, t in trials(storage, *finished)}
    assert len(kept) < TRIALS * FOLDS
    processes.worker()
    again = processes.search()
    assert again.wait(timeout=120) == 0
    done = {(name, t.number): t for name, t in trials(storage, *finished)}
    assert len(done) == TRIALS * FOLDS
    assert {key: done[key] for key in kept} == kept
    assert trials(storage, TrialState.RUNNING, TrialState.WAITING) == []
    output = processes.output("search")
    assert f"{len(kept)} trials of an earlier call are kept" in output
    line = json.loads(output.splitlines()[-1])
    assert line["trials"] == TRIALS * FOLDS
    assert Path(line["report"]).is_file()


def test_ctrl_c_leaves_what_waits_and_says_how_to_go_on(
    processes: Processes, storage: RDBStorage
) -> None:
    search = processes.search()
    wait_until(lambda: len(trials(storage, TrialState.WAITING)) == TRIALS * FOLDS, 60, "trials")
    time.sleep(0.5)
    search.send_signal(signal.SIGINT)
    assert search.wait(timeout=30) == 130
    assert "the same command goes on where it was" in processes.output("search")
    assert "Traceback" not in processes.output("search")
    assert len(trials(storage, TrialState.WAITING)) == TRIALS * FOLDS
    assert all(
        load_study(storage, study.study_name)[0].user_attrs["paused"]
        for study in storage.get_all_studies()
    )


def test_research_user_sees_nothing_of_the_platform(storage: RDBStorage) -> None:
    with storage.engine.connect() as conn, pytest.raises(ProgrammingError, match="denied"):
        conn.execute(text("SELECT * FROM `3t`.runs LIMIT 1"))
