"""Everything that can be known to be wrong before anything is started, all of it at once."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from demo.credentials import CredentialsError, read_credentials
from demo.layout import DemoPaths, DemoPlan, Port, load_plan, running_demo
from demo.processes import load_records, survivors
from demo.web import pages_of
from paper_exchange.replay import DataFileError, load_recording, split_argument
from shared.config import ConfigError, load_secrets
from shared.native_servers import LOOPBACK, ServerMissingError, find_program

MIN_SPEED, MAX_SPEED = 0.01, 10_000.0
MIN_FREE_MB = 500
"""A demo of some minutes takes 150 MB; the rest is for its first hours."""
_LISTEN = "0A"
_LIVE_SECRETS = (
    "exchanges.hyperliquid.walletAddress",
    "exchanges.hyperliquid.privateKey",
    "database.app_password",
    "order_gateway.token",
)


class PreflightError(Exception):
    """The demo cannot start; ``faults`` holds one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def check(
    paths: DemoPaths, environ: Mapping[str, str], data: tuple[str, ...], speed: float | None
) -> DemoPlan:
    """The plan of a demo that can start; raises PreflightError with every fault found.

    Starts, writes and changes nothing. Ports are not looked at when what was left behind by a
    killed demo of this folder is about to be cleared from them.
    """
    faults = [*_program_faults(), *_disk_faults(paths), *_secrets_faults(paths)]
    plan: DemoPlan | None = None
    try:
        plan = load_plan(paths, environ, data, 1.0 if speed is None else speed)
    except ConfigError as error:
        faults.append(str(error))
    if plan is not None:
        plan = replace(plan, pages=pages_of(plan.settings))
        faults += _mode_faults(plan, environ)
        faults += _port_faults(plan)
        checked, data_faults = _check_data(plan)
        faults += data_faults
        plan = replace(plan, data=checked)
    if speed is not None and not data:
        faults.append("--speed (SPEED=): needs a file to replay: --data (DATA=)")
    if speed is not None and not MIN_SPEED <= speed <= MAX_SPEED:
        faults.append(f"--speed (SPEED=): {speed:g} is not in {MIN_SPEED:g} to {MAX_SPEED:g}")
    if faults or plan is None:
        raise PreflightError(faults)
    return plan


@contextmanager
def only_one(paths: DemoPaths) -> Iterator[None]:
    """Hold the folder for this process; PreflightError names the demo that holds it already.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    paths.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with paths.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PreflightError([_running_already(paths)]) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _running_already(paths: DemoPaths) -> str:
    return (
        f"a demo is running already (process {running_demo(paths)}); "
        "stop it with Ctrl-C in its terminal or with 'make demo-stop'"
    )


def _program_faults() -> list[str]:
    faults = []
    for names in (
        ("redis-server",),
        ("mariadbd", "mysqld"),
        ("mariadb", "mysql"),
        ("mariadb-install-db", "mysql_install_db"),
    ):
        try:
            find_program(*names)
        except ServerMissingError as error:
            faults.append(str(error))
    return faults


def _disk_faults(paths: DemoPaths) -> list[str]:
    place = next(folder for folder in (paths.home, *paths.home.parents) if folder.exists())
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb >= MIN_FREE_MB:
        return []
    return [f"{paths.home}: the disk has {free_mb} MB free, and a demo needs {MIN_FREE_MB}"]


def _secrets_faults(paths: DemoPaths) -> list[str]:
    try:
        read_credentials(paths)
        load_records(paths.processes)
    except (CredentialsError, ValueError) as error:
        return [str(error)]
    return []


def _mode_faults(plan: DemoPlan, environ: Mapping[str, str]) -> list[str]:
    """The demo is for paper; what a real venue would lack is said as well."""
    mode = plan.settings.mode
    if mode == "paper":
        return []
    faults = [f"mode: the demo runs in paper mode only, and it is {mode}; set 'mode: paper'"]
    try:
        load_secrets(require=_LIVE_SECRETS, environ=environ)
    except ConfigError as error:
        faults.append(f"{mode} mode: {error}")
    return faults


def _check_data(plan: DemoPlan) -> tuple[tuple[str, ...], list[str]]:
    """The data arguments as ``SYMBOL=path`` with absolute paths, and what is wrong with them."""
    symbols = list(plan.settings.reconciliation_engine.symbols)
    checked: dict[str, Path] = {}
    faults = []
    for argument in plan.data:
        try:
            symbol, path = split_argument(argument, symbols)
            if symbol in checked:
                faults.append(f"{path}: {symbol} is replayed from {checked[symbol]} already")
                continue
            checked[symbol] = path.resolve()
            load_recording(symbol, path)
        except DataFileError as error:
            faults.append(str(error))
    return tuple(f"{symbol}={path}" for symbol, path in checked.items()), faults


def _port_faults(plan: DemoPlan) -> list[str]:
    ports = plan.ports()
    faults = [
        f"port {number} is asked for by {', '.join(users)}: each needs its own"
        for number, users in _shared_ports(ports).items()
    ]
    # The orphans of this folder's last demo hold its ports until they are cleared.
    if survivors(load_records(plan.paths.processes)):
        return faults
    for port in ports:
        if _in_use(port.number):
            holder = port_holder(port.number)
            held = f" by {holder}" if holder else ""
            faults.append(
                f"port {port.number} ({port.purpose}) is in use{held}; "
                f"free it or set {port.setting} ({_variable(port.setting)}=…)"
            )
    return faults


def _shared_ports(ports: list[Port]) -> dict[int, list[str]]:
    users: dict[int, list[str]] = {}
    for port in ports:
        users.setdefault(port.number, []).append(port.purpose)
    return {number: names for number, names in users.items() if len(names) > 1}


def _variable(setting: str) -> str:
    return "T3__" + setting.replace(".", "__")


def _in_use(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the past in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
        return False


def port_holder(port: int) -> str | None:
    """Name and id of the process that listens on a port, where this user may know it."""
    if platform.system() == "Linux":
        return _linux_port_holder(port)
    lsof = shutil.which("lsof") or "/usr/sbin/lsof"
    if not Path(lsof).exists():
        return None
    completed = subprocess.run(
        [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"^p(\d+)\nc(.+)$", completed.stdout, re.MULTILINE)
    return f"{match[2]} (process {match[1]})" if match else None


def _linux_port_holder(port: int) -> str | None:
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(one.readlink()) in inodes for one in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue  # ended meanwhile, or belongs to another user
    return None
