"""One demo from start to end: tier after tier up, watched, and down again in reverse."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests

from demo.credentials import (
    Credentials,
    keep_credentials,
    write_accounts,
    write_secrets_files,
)
from demo.layout import DemoPlan
from demo.log_errors import LogErrors
from demo.processes import (
    ProcessRecord,
    end_group,
    kill_group,
    record,
    save_records,
    survivors,
)
from demo.readings import Readings, Snapshot
from demo.research import prepare_research
from demo.summary import Summary, is_reconciled, summarise
from demo.supervisor import FATAL, PAGES, ProcessInfo, Supervisor, Tier, tiers
from demo.web import prepare_pages
from shared.config import load_secrets
from shared.database import make_engine, make_redis
from shared.native_servers import RedisServerConfig, prepare_schema

SUPERVISORD = "supervisord"
POLL_SECS = 1.0
SETTLE_SECS = 20.0
_READY_SECS = 60.0


class SessionError(RuntimeError):
    """The demo could not go on; the message says what happened and where to look."""


@dataclass(frozen=True)
class State:
    """What there is to show at one moment."""

    plan: DemoPlan
    started_ms: int
    stage: str
    snapshot: Snapshot = field(default_factory=Snapshot)
    processes: tuple[ProcessInfo, ...] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0


Show = Callable[[State], None]


class Session:
    """The processes of one demo; ``show`` is called with the state about once a second.

    ``stop_asked`` ends the session at the next occasion, whatever it is doing.
    """

    def __init__(self, plan: DemoPlan, show: Show, stop_asked: threading.Event) -> None:
        self._plan = plan
        self._show = show
        self._stop_asked = stop_asked
        self._tiers = tiers(plan)
        self._supervisor = Supervisor(plan, self._tiers)
        self._records: dict[str, ProcessRecord] = {}
        self._past: list[ProcessRecord] = []
        self._log_errors = LogErrors(_log_files(plan, self._tiers))
        self._readings: Readings | None = None
        self._state = State(plan, _now_ms(), "starting")

    @property
    def log_errors(self) -> LogErrors:
        """Errors in the processes' logs so far."""
        return self._log_errors

    def run(self, duration_secs: float | None) -> Summary:
        """Start everything, watch it until the time is over or a stop is asked, and stop it.

        Raises SessionError when something essential does not start or supervisord dies; then, too,
        everything is stopped.
        """
        deadline = None if duration_secs is None else time.monotonic() + duration_secs
        try:
            self._start()
            self._watch(deadline)
            if deadline is not None:
                self._settle()
        finally:
            self._stop()
        return self.summary()

    def summary(self) -> Summary:
        """The session as last read; all errors logged until now."""
        engine = self._plan.settings.reconciliation_engine
        stuck = sum(1 for info in self._state.processes if info.state == FATAL)
        return summarise(
            self._state.snapshot,
            engine.symbols,
            engine.minimum_trade_threshold,
            self._log_errors.read() + stuck,
        )

    def _start(self) -> None:
        credentials = prepare_home(self._plan)
        self._supervisor.start()
        self._remember(SUPERVISORD, self._supervisor.pid)
        for tier in self._tiers:
            if self._stop_asked.is_set():
                return
            self._enter(f"starting {tier.name}")
            self._supervisor.start_tier(tier)
            self._look()
            if tier.name == "servers":
                self._servers_ready(credentials)
            elif tier.name == "venue":
                self._venue_ready()
        self._enter("running")

    def _servers_ready(self, credentials: Credentials) -> None:
        plan = self._plan
        redis_config = _redis_config(plan, credentials)
        self._wait_until(redis_config.is_ready, "Redis", "redis")
        self._wait_until(plan.mariadb.is_ready, "MariaDB", "mariadb")
        if self._stop_asked.is_set():
            return
        self._enter("migrating the schema")
        prepare_schema(
            plan.mariadb,
            {**plan.environ, "T3_SECRETS": str(plan.paths.migrate_secrets)},
            {
                "app_password": credentials.app_password,
                "migrate_password": credentials.migrate_password,
            },
        )
        if plan.research:
            prepare_research(plan, credentials)
        secrets = load_secrets(plan.paths.service_secrets)
        self._readings = Readings(
            plan.settings,
            make_engine(plan.settings, secrets),
            make_redis(plan.settings, secrets),
            self._state.started_ms,
        )

    def _venue_ready(self) -> None:
        url = self._plan.settings.paper_exchange.url + "/info"

        def answers() -> bool:
            try:
                return requests.post(url, json={"type": "exchangeStatus"}, timeout=2).ok
            except requests.RequestException:
                return False

        self._wait_until(answers, "the paper exchange", "paper_exchange")

    def _watch(self, deadline: float | None) -> None:
        while not self._stop_asked.is_set():
            self._look()
            left = POLL_SECS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            self._stop_asked.wait(min(POLL_SECS, left))

    def _settle(self) -> None:
        """Give the account a last chance to be looked at right after a trade."""
        engine = self._plan.settings.reconciliation_engine
        deadline = time.monotonic() + SETTLE_SECS
        self._enter("settling")
        while not self._stop_asked.is_set() and time.monotonic() < deadline:
            self._look()
            snapshot = self._state.snapshot
            reached = is_reconciled(
                snapshot.positions, engine.symbols, engine.minimum_trade_threshold
            )
            if reached and snapshot.counts.unknown == 0 and not snapshot.faults:
                return
            self._stop_asked.wait(POLL_SECS)

    def _look(self) -> None:
        """Read everything once, note which processes there are, and show it."""
        if not self._supervisor.is_alive():
            raise SessionError(
                f"supervisord ended; see {self._plan.paths.logs / 'supervisord.log'}"
            )
        infos = tuple(self._supervisor.processes())
        for info in infos:
            if info.pid:
                self._remember(info.name, info.pid)
        snapshot = self._readings.read() if self._readings else self._state.snapshot
        self._state = replace(
            self._state,
            snapshot=snapshot,
            processes=infos,
            restarts=Counter(one.name for one in self._past),
            errors=self._log_errors.read(),
        )
        self._show(self._state)

    def _enter(self, stage: str) -> None:
        self._state = replace(self._state, stage=stage)
        self._show(self._state)

    def _remember(self, name: str, pid: int) -> None:
        """Record a new process at once; end what is left of the group of the one it replaces."""
        known = self._records.get(name)
        if known is not None and known.pid == pid:
            return
        found = record(name, pid)
        if found is None:
            return
        if known is not None:
            self._past.append(known)
            kill_group(known.pid)
        self._records[name] = found
        save_records(self._plan.paths.processes, list(self._records.values()))

    def _wait_until(self, ready: Callable[[], bool], what: str, process: str) -> None:
        deadline = time.monotonic() + _READY_SECS
        while not self._stop_asked.is_set() and not ready():
            self._look()
            info = next(i for i in self._state.processes if i.name == process)
            if info.state == FATAL or time.monotonic() > deadline:
                raise SessionError(
                    f"{what} did not get ready; see {self._plan.paths.logs / (process + '.log')}"
                )
            self._stop_asked.wait(0.1)

    def _stop(self) -> None:
        self._enter("stopping")
        self._supervisor.stop()
        left = survivors([*self._records.values(), *self._past])
        for one in reversed(left):
            end_group(one, patience_secs=10.0)
        self._plan.paths.processes.unlink(missing_ok=True)


def prepare_home(plan: DemoPlan) -> Credentials:
    """Write every file that the demo's processes read; secrets only where there are none yet."""
    paths = plan.paths
    credentials = keep_credentials(paths)
    write_secrets_files(paths, credentials)
    write_accounts(paths, credentials)
    write_environment(plan)
    for folder in (paths.metrics_targets, paths.pool_metrics):
        folder.mkdir(parents=True, exist_ok=True)
    for address in paths.metrics_targets.glob("*.json"):
        address.unlink()
    prepare_pages(plan, credentials)
    _redis_config(plan, credentials).prepare()
    plan.mariadb.prepare()
    return credentials


def write_environment(plan: DemoPlan) -> None:
    """A shell file with the settings of the demo's processes; paths and numbers, no secret."""
    lines = [
        "# . .local/demo/environment && .venv/bin/python -m exchange_observer --help",
        *(
            f"export {name}='{value}'"
            for name, value in sorted(plan.environ.items())
            if name.startswith(("T3_", "NUMBA_CACHE_DIR"))
        ),
    ]
    plan.paths.environment.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _redis_config(plan: DemoPlan, credentials: Credentials) -> RedisServerConfig:
    return replace(plan.redis, password=credentials.redis_password)


def _log_files(plan: DemoPlan, all_tiers: tuple[Tier, ...]) -> list[Path]:
    """Of everything that is ours: an error of a page is none of the platform."""
    ours = [tier for tier in all_tiers if tier.name != PAGES]
    return [plan.paths.logs / f"{p.name}.log" for tier in ours for p in tier.programs]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
