"""The composition root: once per process, afresh after a fork, nothing opened too early."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from celery.signals import eventlet_pool_started, worker_process_init

from shared.config import ConfigError, Secrets, Settings
from worker import wiring


@pytest.fixture(autouse=True)
def _no_wiring_left_behind() -> Iterator[None]:
    wiring.use(None)
    yield
    wiring.use(None)


@pytest.fixture
def _environment(service_environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service_environ.items():
        if name.startswith("T3_"):
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_environment")
def test_one_wiring_per_process() -> None:
    first = wiring.get()
    assert wiring.get() is first
    assert first.runs is first.runs
    assert first.redis.connection_pool is not first.redis_raw.connection_pool


@pytest.mark.usefixtures("_environment")
def test_forked_child_gets_its_own_wiring() -> None:
    parent = wiring.get()
    child = os.fork()
    if child == 0:
        os._exit(0 if wiring.get() is not parent and wiring.get() is wiring.get() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wiring.get() is parent


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("signal", [worker_process_init, eventlet_pool_started])
def test_pool_start_wires_afresh(signal) -> None:
    before = wiring.get()
    signal.send(sender=None)
    assert wiring.get() is not before


def test_building_opens_no_connection(settings: Settings, secrets: Secrets) -> None:
    nowhere = settings.model_copy(
        update={
            "database": settings.database.model_copy(update={"port": 1}),
            "redis": settings.redis.model_copy(update={"port": 1}),
        }
    )
    built = wiring.build(nowhere, secrets)
    assert built.iterations is built.iterations
    assert built.worker.endswith(f":{os.getpid()}")
    built.close()


@pytest.mark.usefixtures("_environment")
def test_changed_file_is_taken_up_and_a_broken_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path(os.environ["T3_CONFIG"]).read_text(encoding="utf-8")
    mine = tmp_path / "config.yml"
    mine.write_text(original, encoding="utf-8")
    monkeypatch.setenv("T3_CONFIG", str(mine))
    before = wiring.get().settings.providence.desired_run_count
    mine.write_text(
        original.replace(f"desired_run_count: {before}", "desired_run_count: 4321"),
        encoding="utf-8",
    )
    assert wiring.refresh_settings().providence.desired_run_count == 4321
    mine.write_text(
        original.replace(f"desired_run_count: {before}", "desired_run_count: -1"), encoding="utf-8"
    )
    assert wiring.refresh_settings().providence.desired_run_count == before


def test_missing_configuration_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T3_CONFIG", str(tmp_path / "absent.yml"))
    with pytest.raises(ConfigError, match=r"absent\.yml"):
        wiring.get()
