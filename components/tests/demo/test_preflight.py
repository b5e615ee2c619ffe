"""A demo that cannot start says everything that is wrong, and starts and writes nothing."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import web
from demo.layout import DemoPaths, running_demo
from demo.preflight import PreflightError, check, only_one, port_holder
from demo.processes import record, save_records
from shared.native_servers import PROJECT_ROOT

HOLDER = """
import pathlib, sys
from demo.layout import DemoPaths
from demo.preflight import only_one
with only_one(DemoPaths(pathlib.Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""
HEADER = "timestamp_ms,open,high,low,close,volume\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def faults(
    paths: DemoPaths,
    environ: dict[str, str],
    data: tuple[str, ...] = (),
    speed: float | None = None,
) -> list[str]:
    with pytest.raises(PreflightError) as caught:
        check(paths, environ, data, speed)
    assert not paths.home.exists() or not any(paths.home.iterdir())
    return caught.value.faults


def candles(path: Path, rows: list[str]) -> Path:
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def minute(number: int, close: float = 100.5) -> str:
    return f"{number * 60_000},100,101,99,{close},5"


def test_a_sound_configuration_passes_and_leaves_no_trace(
    paths: DemoPaths, environ: dict[str, str]
) -> None:
    plan = check(paths, environ, (), None)
    assert plan.settings.mode == "paper"
    assert plan.settings.interval_ms == 1000
    assert plan.settings.price_sampler.warm_history
    assert not paths.home.exists()


def test_the_callers_own_variables_win_over_the_demos(
    paths: DemoPaths, environ: dict[str, str]
) -> None:
    environ["T3__celery__schedules__providence_iteration_scheduler"] = "2.0"
    assert check(paths, environ, (), None).settings.interval_ms == 2000


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("T3__providence__desired_run_cuont", "5", "providence.desired_run_cuont: unknown key"),
        ("T3__providence__desired_run_count", "many", "providence.desired_run_count"),
        ("T3__providence__desired_run_count", "-1", "allowed is 0 to 10,000,000, found -1"),
        ("T3__reconciliation_engine__symbols", "[]", "reconciliation_engine.symbols"),
    ],
)
def test_a_bad_configuration_is_named_by_its_path(
    paths: DemoPaths, environ: dict[str, str], variable: str, value: str, expected: str
) -> None:
    environ[variable] = value
    (fault,) = faults(paths, environ)
    assert expected in fault


def test_live_mode_is_refused_and_its_missing_secrets_are_named(
    paths: DemoPaths, environ: dict[str, str], tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text("redis:\n  password: x\n")
    environ |= {
        "T3__mode": "live",
        "T3__live_acknowledgement": "I trade real money at my own risk",
        "T3_SECRETS": str(secrets),
    }
    mode, missing = faults(paths, environ)
    assert "paper mode only" in mode
    for name in ("privateKey", "walletAddress", "app_password", "order_gateway.token"):
        assert name in missing


def test_a_port_in_use_is_named_with_its_holder(
    paths: DemoPaths, environ: dict[str, str], listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    environ["T3__redis__port"] = str(port)
    (fault,) = faults(paths, environ)
    assert f"port {port} (Redis) is in use by" in fault
    assert f"process {os.getpid()}" in fault
    assert "T3__redis__port" in fault


def test_a_page_keeps_to_its_port_and_says_who_has_it(
    paths: DemoPaths, environ: dict[str, str], listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    environ["T3__demo__flower_port"] = str(port)
    (fault,) = faults(paths, environ)
    assert f"port {port} (Flower) is in use by" in fault
    assert "set demo.flower_port (T3__demo__flower_port=…)" in fault


def test_prometheus_needs_its_port_only_where_it_is_installed(
    paths: DemoPaths,
    environ: dict[str, str],
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ["T3__demo__prometheus_port"] = str(listener.getsockname()[1])
    monkeypatch.setattr(web, "prometheus_program", lambda: Path("/usr/bin/prometheus"))
    (fault,) = faults(paths, environ)
    assert "(Prometheus) is in use by" in fault
    monkeypatch.setattr(web, "prometheus_program", lambda: None)
    assert check(paths, environ, (), None).pages == web.WebPages(
        int(environ["T3__demo__flower_port"]), None
    )


def test_one_port_for_two_servers_is_refused(paths: DemoPaths, environ: dict[str, str]) -> None:
    environ["T3__database__port"] = environ["T3__redis__port"]
    (fault,) = faults(paths, environ)
    assert "Redis, MariaDB" in fault


def test_a_gateway_url_that_names_another_port_is_refused(
    paths: DemoPaths, environ: dict[str, str]
) -> None:
    environ["T3__reconciliation_engine__order_gateway_url"] = "http://127.0.0.1:9"
    (fault,) = faults(paths, environ)
    assert "order_gateway_url names port 9" in fault


def test_nobody_holds_a_free_port(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert port_holder(port) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([minute(1), minute(2), minute(4), minute(5)], "row 4: gap"),
        ([minute(1), minute(2), minute(2)], "row 4: duplicate timestamp"),
        ([minute(1), "120000,100,101,-99,100,5"], "row 3: low must be above 0"),
        ([minute(1), "120000,100,101,99,cheap,5"], "row 3: close is not a number"),
        ([], "no rows"),
    ],
)
def test_an_unsound_data_file_is_named_with_its_row(
    paths: DemoPaths, environ: dict[str, str], tmp_path: Path, rows: list[str], expected: str
) -> None:
    path = candles(tmp_path / "BTC_1m.csv", rows)
    (fault,) = faults(paths, environ, (str(path),))
    assert str(path) in fault
    assert expected in fault


def test_a_data_file_that_cannot_be_read_is_named(
    paths: DemoPaths, environ: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "ETH_1m.csv.gz"
    broken.write_bytes(b"not gzip at all")
    missing = tmp_path / "BTC_1m.csv"
    found = faults(paths, environ, (str(broken), str(missing)))
    assert len(found) == 2
    assert str(broken) in found[0]
    assert "No such file" in found[1]


def test_a_sound_data_file_is_passed_on_with_symbol_and_full_path(
    paths: DemoPaths, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with gzip.open("prices_ETHUSDT_1m.csv.gz", "wt") as stream:
        stream.write(HEADER + "\n".join(minute(n) for n in range(1, 9)) + "\n")
    plan = check(paths, environ, ("prices_ETHUSDT_1m.csv.gz",), 60.0)
    assert plan.data == (f"ETH={tmp_path / 'prices_ETHUSDT_1m.csv.gz'}",)
    assert plan.speed == 60.0


def test_two_files_for_one_symbol_are_refused(
    paths: DemoPaths, environ: dict[str, str], tmp_path: Path
) -> None:
    rows = [minute(n) for n in range(1, 4)]
    first, second = candles(tmp_path / "a.csv", rows), candles(tmp_path / "b.csv", rows)
    (fault,) = faults(paths, environ, (f"BTC={first}", f"BTC={second}"))
    assert str(second) in fault
    assert "already" in fault


def test_speed_without_data_and_speed_out_of_range_are_refused(
    paths: DemoPaths, environ: dict[str, str]
) -> None:
    without_data, out_of_range = faults(paths, environ, (), 1e9)
    assert "needs a file" in without_data
    assert "is not in" in out_of_range


def test_all_faults_are_told_at_once(
    paths: DemoPaths, environ: dict[str, str], listener: socket.socket, tmp_path: Path
) -> None:
    environ["T3__redis__port"] = str(listener.getsockname()[1])
    found = faults(paths, environ, (f"BTC={tmp_path / 'none.csv'}",), 1e9)
    assert len(found) == 3


def test_a_missing_server_program_says_how_to_install_it(
    paths: DemoPaths, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.native_servers._EXTRA_BIN_DIRS", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    found = faults(paths, environ)
    assert len(found) == 4
    assert all("setup/native/bootstrap.sh" in fault for fault in found)


def test_damaged_credentials_are_named_and_left_alone(
    paths: DemoPaths, environ: dict[str, str]
) -> None:
    paths.home.mkdir()
    paths.credentials.write_text('{"app_password": "x"}')
    with pytest.raises(PreflightError, match="lacks a secret") as caught:
        check(paths, environ, (), None)
    assert str(paths.credentials) in str(caught.value)
    assert paths.credentials.read_text() == '{"app_password": "x"}'


def test_ports_held_by_our_own_orphans_are_no_fault(
    paths: DemoPaths, environ: dict[str, str], listener: socket.socket
) -> None:
    environ["T3__redis__port"] = str(listener.getsockname()[1])
    paths.home.mkdir()
    own = record("redis", os.getpid())
    assert own is not None
    save_records(paths.processes, [own])
    assert check(paths, environ, (), None).settings.redis.port == listener.getsockname()[1]


def test_a_second_demo_is_refused_while_the_first_runs(paths: DemoPaths) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            str(paths.home),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert running_demo(paths) == holder.pid
        refused = pytest.raises(PreflightError, match=f"running already .process {holder.pid}")
        with refused, only_one(paths):
            pytest.fail("two demos hold one folder")
        holder.kill()
    # the kernel lets go of the lock of a killed demo
    assert running_demo(paths) is None
    with only_one(paths):
        assert running_demo(paths) is not None


def test_a_full_disk_is_told_before_anything_starts(
    paths: DemoPaths, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(paths.home.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=24_000_000))
    (fault,) = faults(paths, environ)
    assert fault == f"{paths.home}: the disk has 24 MB free, and a demo needs 500"
