"""supervisord: its configuration, its life, and what it knows about each process."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client  # nosec B411  # what answers is a supervisord of ours, on a socket of ours
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError

from supervisor.xmlrpc import SupervisorTransport

from demo.layout import DemoPlan
from demo.research import NAME, research_command
from demo.web import prometheus_command, prometheus_program
from shared.metrics_server import FOLDER_VARIABLE
from shared.native_servers import LOOPBACK, PROJECT_ROOT, write_private

PAGES = "pages"
"""The tier of what only a browser needs."""
RUNNING = "RUNNING"
FATAL = "FATAL"
_LOG_BYTES = 20_000_000


@dataclass(frozen=True)
class Program:
    """One process; ``command`` is what a person would type."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    stop_secs: int = 10
    # Celery's master tells its pool itself; a signal to the whole group would kill tasks midway.
    stop_group: bool = True


@dataclass(frozen=True)
class Tier:
    """Programs that start and stop together; tiers stop in the reverse order of their start."""

    name: str
    programs: tuple[Program, ...]


class SupervisorError(RuntimeError):
    """supervisord did not do what was asked; the message says what and why."""


def tiers(plan: DemoPlan) -> tuple[Tier, ...]:
    """Every process of the demo, in the order of start.

    Servers outlive the venue, the venue outlives those who trade on it, and those outlive the
    workers: whatever stops finds what it needs to stop cleanly.
    """
    return (
        Tier(
            "servers",
            (
                Program("redis", tuple(plan.redis.command()), stop_secs=20),
                Program("mariadb", tuple(plan.mariadb.command()), stop_secs=60),
            ),
        ),
        Tier("venue", (_paper_exchange(plan),)),
        Tier("execution", _execution(plan)),
        Tier(
            "feeds",
            (
                _service("price_producer", "price_producer_selector"),
                _service("price_sampler", "price_sampler"),
                _service("recorder", "recorder"),
                _service("price_consumer", "price_stream_consumer"),
                _service("balance_consumer", "example_balance_consumer"),
                _service("take_profit", "take_profit"),
                _service("platform_metrics", "platform_metrics"),
            ),
        ),
        Tier("workers", _workers(plan)),
        Tier("beat", (_beat(plan),)),
        *_research(plan),
        *_pages(plan),
    )


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def _service(name: str, module: str, *arguments: str) -> Program:
    return Program(name, _python("-m", module, *arguments))


def _paper_exchange(plan: DemoPlan) -> Program:
    paths = plan.paths
    options = [
        f"--port={plan.paper_port}",
        f"--state={paths.venue_state}",
        f"--accounts={paths.accounts}",
    ]
    for argument in plan.data:
        options += ["--data", argument]
    if plan.data:
        options.append(f"--speed={plan.speed:g}")
    # No --admin-token unless asked for: nobody can ask this venue for faults.
    options += plan.venue_options
    return _service("paper_exchange", "paper_exchange", *options)


def _execution(plan: DemoPlan) -> tuple[Program, ...]:
    gateway = Program(
        "order_gateway",
        _python("-m", "order_gateway"),
        {"T3_SECRETS": str(plan.paths.gateway_secrets)},
        stop_secs=20,
    )
    observers = [
        _service(
            f"exchange_observer_{number}",
            "exchange_observer",
            f"--observer-id=observer_{number}",
            f"--port={port}",
        )
        for number, port in enumerate(plan.observer_ports, start=1)
    ]
    return (gateway, *observers)


def _celery(name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Program:
    return Program(
        name,
        _python("-m", "celery", "-A", "shared.celery_app", *arguments),
        environ or {},
        stop_secs=30,
        stop_group=False,
    )


def _workers(plan: DemoPlan) -> tuple[Program, ...]:
    celery = plan.settings.celery
    return (
        _celery(
            "celery_worker_high",
            "worker",
            "--queues=high_priority",
            "--pool=eventlet",
            f"--autoscale={celery.high_priority_max_concurrency},10",
            "--hostname=high@%h",
            "--without-mingle",
            "--without-gossip",
        ),
        _celery(
            "celery_worker",
            "worker",
            "--queues=low_priority",
            "--pool=prefork",
            f"--concurrency={celery.low_priority_concurrency}",
            "--hostname=low@%h",
            "--without-mingle",
            "--without-gossip",
            environ={FOLDER_VARIABLE: str(plan.paths.pool_metrics)},
        ),
    )


def _research(plan: DemoPlan) -> tuple[Tier, ...]:
    if not plan.research:
        return ()
    environ = {"T3_SECRETS": str(plan.paths.research_secrets)}
    worker = Program(NAME, research_command(), environ, stop_secs=30, stop_group=False)
    return (Tier("research", (worker,)),)


def _beat(plan: DemoPlan) -> Program:
    schedule = plan.paths.home / "celerybeat-schedule"
    return _celery("celery_beat", "beat", f"--schedule={schedule}", "--pidfile=")


def _pages(plan: DemoPlan) -> tuple[Tier, ...]:
    if plan.pages is None:
        return ()
    options = (f"--address={LOOPBACK}", f"--port={plan.pages.flower}")
    flower = Program(
        "flower",
        _python("-m", "deployment.start", "flower", *options),
        {"T3_SECRETS": str(plan.paths.flower_secrets)},
    )
    program = prometheus_program()
    if plan.pages.prometheus is None or program is None:
        return (Tier(PAGES, (flower,)),)
    command = prometheus_command(plan, program, plan.pages.prometheus)
    return (Tier(PAGES, (flower, Program("prometheus", command))),)


def render_config(plan: DemoPlan, all_tiers: tuple[Tier, ...]) -> str:
    """The text of supervisord.conf.

    Nothing starts by itself: the demo starts tier after tier as each gets ready. What was started
    is restarted whenever it ends.
    """
    home = plan.paths.home
    lines = [
        "; Written by `python -m demo`; changes are lost.",
        "[supervisord]",
        f"logfile = {_escape(plan.paths.logs / 'supervisord.log')}",
        f"pidfile = {_escape(home / 'supervisord.pid')}",
        f"childlogdir = {_escape(plan.paths.logs)}",
        f"directory = {_escape(PROJECT_ROOT)}",
        "nodaemon = true",
        "silent = true",
        *(["user = root"] if os.geteuid() == 0 else []),
        "",
        "[unix_http_server]",
        f"file = {_escape(plan.paths.supervisor_socket)}",
        "chmod = 0700",
        "",
        "[supervisorctl]",
        f"serverurl = unix://{_escape(plan.paths.supervisor_socket)}",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for order, tier in enumerate(all_tiers, start=1):
        names = ",".join(program.name for program in tier.programs)
        lines += ["", f"[group:{tier.name}]", f"programs = {names}", f"priority = {order * 10}"]
        for program in tier.programs:
            lines += ["", *_program_lines(plan, program)]
    return "\n".join(lines) + "\n"


def _program_lines(plan: DemoPlan, program: Program) -> list[str]:
    environ = {"OTEL_SERVICE_NAME": program.name, **program.environ}
    return [
        f"[program:{program.name}]",
        f"command = {_escape(shlex.join(program.command))}",
        "environment = " + ",".join(f'{k}="{_escape(v)}"' for k, v in environ.items()),
        "autostart = false",
        "autorestart = true",
        "startsecs = 2",
        "startretries = 20",
        "stopsignal = TERM",
        f"stopwaitsecs = {program.stop_secs}",
        f"stopasgroup = {str(program.stop_group).lower()}",
        "killasgroup = true",
        "redirect_stderr = true",
        f"stdout_logfile = {_escape(plan.paths.logs / (program.name + '.log'))}",
        f"stdout_logfile_maxbytes = {_LOG_BYTES}",
        "stdout_logfile_backups = 3",
    ]


def _escape(value: object) -> str:
    """supervisord expands %(…)s in every value."""
    return str(value).replace("%", "%%")


@dataclass(frozen=True)
class ProcessInfo:
    """What supervisord says of a process; ``uptime_secs`` is 0 unless it runs."""

    name: str
    tier: str
    state: str
    pid: int
    uptime_secs: int
    description: str


class Supervisor:
    """A supervisord of the demo's own, and calls to it over its socket."""

    def __init__(self, plan: DemoPlan, all_tiers: tuple[Tier, ...]) -> None:
        self._plan = plan
        self._tiers = all_tiers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """supervisord's process id."""
        if self._process is None:
            raise SupervisorError("supervisord is not running")
        return self._process.pid

    def start(self) -> None:
        """Start supervisord, which starts nothing yet; raises SupervisorError."""
        paths = self._plan.paths
        paths.logs.mkdir(parents=True, exist_ok=True)
        write_private(paths.supervisor_config, render_config(self._plan, self._tiers))
        with (paths.logs / "supervisord.out").open("wb") as output:
            # A session of its own: Ctrl-C in the terminal is for the demo, which stops in order.
            self._process = subprocess.Popen(
                _python("-m", "supervisor.supervisord", "-n", "-c", str(paths.supervisor_config)),
                cwd=PROJECT_ROOT,
                env=dict(self._plan.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if not self.is_alive() or time.monotonic() > deadline:
                self.stop(5.0)
                words = (paths.logs / "supervisord.out").read_text(errors="replace")[-1000:]
                raise SupervisorError(f"supervisord did not start: {words.strip()}")
            time.sleep(0.05)

    def is_alive(self) -> bool:
        """Whether supervisord itself still runs."""
        return self._process is not None and self._process.poll() is None

    def start_tier(self, tier: Tier) -> None:
        """Start all programs of a tier without waiting for them."""
        self._call(lambda proxy: proxy.supervisor.startProcessGroup(tier.name, False))

    def processes(self) -> list[ProcessInfo]:
        """All programs in the order of start."""
        order = {p.name: i for i, p in enumerate(p for t in self._tiers for p in t.programs)}
        found = [
            ProcessInfo(
                name=row["name"],
                tier=row["group"],
                state=row["statename"],
                pid=row["pid"],
                uptime_secs=max(row["now"] - row["start"], 0) if row["pid"] else 0,
                description=row["spawnerr"] or row["description"],
            )
            for row in self._call(lambda proxy: proxy.supervisor.getAllProcessInfo())
        ]
        return sorted(found, key=lambda info: order.get(info.name, len(order)))

    def stop(self, patience_secs: float = 120.0) -> bool:
        """SIGTERM: supervisord stops tier after tier, last first, then itself.

        False when it had to be killed; its processes may then still run.
        """
        if self._process is None:
            return True
        self._process.terminate()
        try:
            self._process.wait(patience_secs)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def _answers(self) -> bool:
        try:
            self.processes()
        except SupervisorError:
            return False
        return True

    def _call(self, ask: Callable[[Any], Any]) -> Any:
        socket_file = self._plan.paths.supervisor_socket
        transport = SupervisorTransport(None, None, f"unix://{socket_file}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return ask(proxy)
        except (OSError, xmlrpc.client.Error, ExpatError) as error:
            raise SupervisorError(f"supervisord did not answer: {error}") from error
