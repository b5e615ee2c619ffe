"""supervisord runs every process as a person would, restarts it, and stops it in order."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from demo.layout import DemoPlan
from demo.processes import record, start_time
from demo.supervisor import (
    RUNNING,
    Program,
    Supervisor,
    SupervisorError,
    Tier,
    render_config,
    tiers,
)
from demo.web import WebPages
from deployment import start
from shared.testing.servers import wait_until

EXPECTED = {
    "redis",
    "mariadb",
    "paper_exchange",
    "order_gateway",
    "exchange_observer_1",
    "exchange_observer_2",
    "price_producer",
    "price_sampler",
    "recorder",
    "price_consumer",
    "balance_consumer",
    "take_profit",
    "platform_metrics",
    "celery_beat",
    "celery_worker_high",
    "celery_worker",
}


def parsed(plan: DemoPlan) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    config.read_string(render_config(plan, tiers(plan)))
    return config


def test_every_process_is_there_and_restarted_whenever_it_ends(plan: DemoPlan) -> None:
    config = parsed(plan)
    programs = {s.removeprefix("program:") for s in config.sections() if s.startswith("program:")}
    assert programs == EXPECTED
    for name in programs:
        section = config[f"program:{name}"]
        assert section["autorestart"] == "true"
        assert section["autostart"] == "false"
        assert section["killasgroup"] == "true"
        assert section["redirect_stderr"] == "true"
        assert section["stdout_logfile"].endswith(f"logs/{name}.log")


def test_tiers_stop_in_the_reverse_order_of_their_start(plan: DemoPlan) -> None:
    config = parsed(plan)
    order = {
        section.removeprefix("group:"): int(config[section]["priority"])
        for section in config.sections()
        if section.startswith("group:")
    }
    assert sorted(order, key=order.__getitem__) == [
        "servers",
        "venue",
        "execution",
        "feeds",
        "workers",
        "beat",
    ]
    assert config["group:workers"]["programs"] == "celery_worker_high,celery_worker"


def test_the_two_queues_have_a_worker_each(plan: DemoPlan) -> None:
    config = parsed(plan)
    high = shlex.split(config["program:celery_worker_high"]["command"])
    low = shlex.split(config["program:celery_worker"]["command"])
    assert "--queues=high_priority" in high
    assert "--pool=eventlet" in high
    assert "--autoscale=100,10" in high
    assert "--queues=low_priority" in low
    assert "--pool=prefork" in low
    for command in (high, low):
        assert command[:5] == [sys.executable, "-m", "celery", "-A", "shared.celery_app"]


def test_a_pool_is_told_to_stop_by_its_master_alone(plan: DemoPlan) -> None:
    config = parsed(plan)
    assert config["program:celery_worker"]["stopasgroup"] == "false"
    assert config["program:order_gateway"]["stopasgroup"] == "true"


def test_the_gateway_alone_is_given_the_private_key(plan: DemoPlan) -> None:
    config = parsed(plan)
    for name in EXPECTED:
        environment = config[f"program:{name}"]["environment"]
        assert (str(plan.paths.gateway_secrets) in environment) == (name == "order_gateway")


def test_no_secret_is_on_a_command_line_or_in_the_configuration(plan: DemoPlan) -> None:
    text = render_config(plan, tiers(plan))
    assert "token" not in text
    assert "password" not in text


def test_files_to_replay_reach_the_venue(plan: DemoPlan) -> None:
    replay = replace(plan, data=("BTC=/data/with space.csv", "ETH=/data/100%.csv"), speed=60.0)
    command = shlex.split(parsed(replay)["program:paper_exchange"]["command"])
    assert command[-5:] == [
        "--data",
        "BTC=/data/with space.csv",
        "--data",
        "ETH=/data/100%%.csv",
        "--speed=60",
    ]


def test_ports_follow_the_settings(plan: DemoPlan) -> None:
    config = parsed(plan)
    first, second = plan.observer_ports
    assert f"--port={first}" in config["program:exchange_observer_1"]["command"]
    assert f"--port={second}" in config["program:exchange_observer_2"]["command"]
    assert f"--port={plan.paper_port}" in config["program:paper_exchange"]["command"]


@pytest.fixture
def sleepers() -> tuple[Tier, ...]:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    return (
        Tier("servers", (Program("redis", command),)),
        Tier("workers", (Program("celery_worker", command),)),
    )


@pytest.fixture
def supervisor(plan: DemoPlan, sleepers: tuple[Tier, ...]) -> Iterator[Supervisor]:
    running = Supervisor(plan, sleepers)
    running.start()
    yield running
    assert running.stop(30)


def pids(supervisor: Supervisor) -> dict[str, int]:
    return {info.name: info.pid for info in supervisor.processes()}


def test_nothing_starts_by_itself_and_tiers_start_one_by_one(
    supervisor: Supervisor, sleepers: tuple[Tier, ...]
) -> None:
    assert pids(supervisor) == {"redis": 0, "celery_worker": 0}
    supervisor.start_tier(sleepers[0])
    wait_until(lambda: pids(supervisor)["redis"] != 0, 10, "redis")
    assert pids(supervisor)["celery_worker"] == 0


def test_a_killed_process_is_restarted(supervisor: Supervisor, sleepers: tuple[Tier, ...]) -> None:
    supervisor.start_tier(sleepers[0])
    wait_until(lambda: supervisor.processes()[0].state == RUNNING, 10, "redis to run")
    first = pids(supervisor)["redis"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: pids(supervisor)["redis"] not in (0, first), 10, "a new redis")
    wait_until(lambda: supervisor.processes()[0].state == RUNNING, 10, "redis to run again")


def test_sigterm_to_supervisord_ends_all_and_its_socket_is_its_owners(
    plan: DemoPlan, supervisor: Supervisor, sleepers: tuple[Tier, ...]
) -> None:
    for tier in sleepers:
        supervisor.start_tier(tier)
    wait_until(lambda: all(pids(supervisor).values()), 10, "both to run")
    running = pids(supervisor)
    assert plan.paths.supervisor_socket.stat().st_mode & 0o077 == 0
    assert supervisor.stop(30)
    assert [start_time(pid) for pid in running.values()] == [None, None]
    with pytest.raises(SupervisorError, match="did not answer"):
        supervisor.processes()


def test_its_process_can_be_recorded(supervisor: Supervisor) -> None:
    found = record("supervisord", supervisor.pid)
    assert found is not None
    assert supervisor.is_alive()


def test_a_supervisord_that_cannot_start_says_why(plan: DemoPlan) -> None:
    broken = Supervisor(plan, (Tier("servers", (Program("a:b", ("true",)),)),))
    with pytest.raises(SupervisorError, match=r"did not start: Error: .*a:b"):
        broken.start()
    assert not broken.is_alive()


def test_a_research_worker_is_there_only_where_it_is_asked_for(plan: DemoPlan) -> None:
    assert "program:celery_worker_research" not in parsed(plan)
    section = parsed(replace(plan, research=True))["program:celery_worker_research"]
    assert shlex.split(section["command"])[:3] == ["nice", "-n", "10"]
    assert str(plan.paths.research_secrets) in section["environment"]


def test_pages_are_for_this_machine_and_flower_changes_nothing(plan: DemoPlan) -> None:
    seen = {
        p.name: p
        for tier in tiers(replace(plan, pages=WebPages(15555, None)))
        for p in tier.programs
    }
    assert "prometheus" not in seen
    flower = seen["flower"]
    assert flower.command[-2:] == ("--address=127.0.0.1", "--port=15555")
    assert "--read_only=True" in start.flower(plan.settings)
    assert flower.environ == {"T3_SECRETS": str(plan.paths.flower_secrets)}
    assert "flower" not in {p.name for tier in tiers(plan) for p in tier.programs}
