"""What docker-compose.yml promises: names, ports, volumes, secrets, probes, pinned versions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from deployment import healthcheck, imports, secret_files, start
from shared.config import load_settings
from shared.native_servers import PROJECT_ROOT

COMPOSE: dict[str, Any] = yaml.safe_load(
    (PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(
    name for name, service in SERVICES.items() if service["image"].startswith(("3t:", "3t-"))
)
SCALABLE = {"celery_worker"}
PORTS = {
    "grafana": {3000},
    "flower": {5555},
    "prometheus": {9090},
    "order-gateway": {8002},
    "otel-collector": {4317, 4318},
    "exchange-observer-1": {8001},
}
EXPECTED = {
    "redis",
    "mariadb",
    "migrate",
    "celery_beat",
    "celery_worker_high",
    "celery_worker",
    "celery_worker_research",
    "price-producer",
    "price-sampler",
    "recorder",
    "balance-consumer",
    "order-gateway",
    "exchange-observer-1",
    "exchange-observer-2",
    "take-profit",
    "paper-exchange",
    "flower",
    "otel-collector",
    "tempo",
    "loki",
    "log-collector",
    "prometheus",
    "alertmanager",
    "grafana",
    "platform-metrics",
    "redis-exporter",
    "mysqld-exporter",
    "cors-proxy",
}
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def _secret_sources(service: dict[str, Any]) -> set[str]:
    entries = service.get("secrets", [])
    return {entry if isinstance(entry, str) else entry["source"] for entry in entries}


def test_every_part_of_the_platform_is_there() -> None:
    assert set(SERVICES) == EXPECTED
    assert COMPOSE["name"] == "3t"


@every_service
def test_containers_are_named_after_the_project(name: str) -> None:
    expected = None if name in SCALABLE else f"3t_{name}"
    assert SERVICES[name].get("container_name") == expected


def test_volumes_are_named_after_the_project() -> None:
    assert {key: volume["name"] for key, volume in COMPOSE["volumes"].items()} == {
        key: f"3t_{key}" for key in COMPOSE["volumes"]
    }
    assert "mariadb_data:/var/lib/mysql" in SERVICES["mariadb"]["volumes"]


@every_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    published = set()
    for port in SERVICES[name].get("ports", []):
        address, host_port, _ = port.split(":")
        assert address == "127.0.0.1"
        published.add(int(host_port))
    assert PORTS.get(name, set()) <= published


@every_service
def test_containers_have_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "privileged" not in service
    if name == "log-collector":  # Docker's log files are root's
        assert service["user"] == "0:0"
        assert all(entry.endswith(":ro") for entry in service["volumes"] if entry[0] in "./$")
    elif name not in OURS:  # ours say USER in the Dockerfile
        uid, _, _ = service["user"].partition(":")
        assert int(uid) > 0


@every_service
def test_containers_are_limited_restarted_and_their_logs_rotated(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])


@every_service
def test_health_is_probed(name: str) -> None:
    service = SERVICES[name]
    if name == "migrate":
        return
    if "healthcheck" not in service:
        assert service["labels"]["t3.ready-url"].startswith("http://127.0.0.1:")
        return
    test = service["healthcheck"]["test"]
    if name in OURS:
        assert test[:4] == ["CMD", "python", "-m", "deployment.healthcheck"]
        assert test[4] in healthcheck.PROBES


@every_service
def test_what_must_be_healthy_first_has_a_probe(name: str) -> None:
    for needed, condition in SERVICES[name].get("depends_on", {}).items():
        if needed == "migrate":
            assert condition["condition"] == "service_completed_successfully"
        else:
            assert condition["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[needed]
        # A profile that is not chosen must not keep others from starting.
        assert condition.get("required", True) is ("profiles" not in SERVICES[needed])


@every_service
def test_image_versions_are_pinned(name: str) -> None:
    if name in OURS:
        return
    assert re.fullmatch(r"[a-z0-9/_-]+:v?\d+\.\d+\.\d+(-[a-z0-9]+)?", SERVICES[name]["image"])


def test_base_image_is_pinned_and_the_final_stage_has_no_rights() -> None:
    dockerfile = (PROJECT_ROOT / "setup/docker/Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.12\.\d+-slim-[a-z]+$", dockerfile, re.MULTILINE)
    stages = dict(
        re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", dockerfile, re.MULTILINE | re.DOTALL)
    )
    assert "apt-get" not in stages["runtime"]
    for family in imports.FAMILIES:
        assert re.findall(r"^USER (\S+)$", stages[family], re.MULTILINE) == ["10001:10001"]


def test_private_key_reaches_the_gateway_alone() -> None:
    holders = {
        name for name, paths in secret_files.NEEDS.items() if any("privateKey" in p for p in paths)
    }
    assert holders == {"order-gateway"}
    users = {
        name for name, service in SERVICES.items() if "order-gateway" in _secret_sources(service)
    }
    assert users == {"order-gateway"}


def _scraped() -> list[dict[str, Any]]:
    file = PROJECT_ROOT / "setup" / "prometheus" / "prometheus.yml"
    jobs: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    return jobs


def _targets() -> set[str]:
    found = set()
    for job in _scraped():
        for static in job.get("static_configs", []):
            found |= {target.partition(":")[0] for target in static["targets"]}
        for dns in job.get("dns_sd_configs", []):
            found |= set(dns["names"])
    return found - {"127.0.0.1"}


def test_who_is_watched_and_who_watches_share_a_network() -> None:
    for watcher in ("prometheus", "otel-collector"):
        networks = set(SERVICES[watcher]["networks"])
        for name in _targets():
            assert networks & set(SERVICES[name]["networks"]), (watcher, name)


def test_every_service_of_ours_and_every_server_is_scraped() -> None:
    jobs = _scraped()
    unwatched = {"migrate", "paper-exchange", "redis", "mariadb", "prometheus", "cors-proxy"}
    assert _targets() == set(SERVICES) - unwatched
    ports = {job["job_name"]: str(job) for job in jobs}
    metrics_port = SERVICES["price-sampler"]["environment"]["T3__observability__metrics_port"]
    assert metrics_port == str(healthcheck.METRICS_PORT)
    assert all(metrics_port in ports[name] for name in ("celery_worker", "platform_metrics"))


def test_who_only_reads_cannot_write() -> None:
    assert SERVICES["platform-metrics"]["environment"]["T3__database__user"] == "3t_reader"
    for name in ("redis-exporter", "mysqld-exporter"):
        assert len(_secret_sources(SERVICES[name])) == 1


def test_only_migrate_and_the_server_know_the_root_password() -> None:
    users = {
        name
        for name, service in SERVICES.items()
        if _secret_sources(service) & {"migrate", "mariadb_root_password"}
    }
    assert users == {"migrate", "mariadb"}


@pytest.mark.parametrize("name", OURS)
def test_each_service_is_given_its_own_secrets(name: str) -> None:
    if name == "paper-exchange":
        assert _secret_sources(SERVICES[name]) == {"accounts.json"}
        return
    own = name.removesuffix("-1").removesuffix("-2").replace("_", "-")
    assert _secret_sources(SERVICES[name]) == {own}
    assert own in secret_files.NEEDS


def test_no_secret_is_written_in_the_file() -> None:
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        for variable, value in environment.items():
            if re.search("PASSWORD|TOKEN|AUTH|KEY", variable):
                assert str(value).startswith("/run/secrets/") or value == "false", (name, variable)


def test_servers_are_on_the_closed_network_only() -> None:
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    for name in ("redis", "mariadb"):
        assert SERVICES[name]["networks"] == ["backend"]
        assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", OURS)
def test_overrides_are_keys_of_the_configuration(name: str) -> None:
    environ = {
        variable: re.sub(r"\$\{[A-Z0-9_]+:-(.*)\}", r"\1", str(value))
        for variable, value in SERVICES[name]["environment"].items()
    }
    settings = load_settings(PROJECT_ROOT / "config.yml", environ)
    assert settings.redis.host == "redis"
    assert settings.database.host == "mariadb"
    hosts = [*settings.reconciliation_engine.observer_nodes, settings.order_gateway.host]
    assert json.dumps(hosts).count("exchange-observer-") == 2
    assert all("127.0.0.1" not in host for host in hosts)


@pytest.mark.parametrize("name", OURS)
def test_commands_name_modules_that_exist(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[:2] == ["python", "-m"]
    if command[2] == "deployment.start":
        assert command[3] in start.COMMANDS
        return
    folder = PROJECT_ROOT / "components" / "src" / command[2].replace(".", "/")
    assert folder.with_suffix(".py").exists() or (folder / "__main__.py").exists()


def test_high_priority_worker_is_dedicated_and_on_eventlet() -> None:
    settings = load_settings(PROJECT_ROOT / "config.yml", {})
    command = start.celery_worker_high(settings)
    assert command[command.index("-P") + 1] == "eventlet"
    assert "--queues=high_priority" in command
    assert "--queues=low_priority" in start.celery_worker(settings)
    assert "--queues=research" in start.celery_worker_research(settings)
    assert SERVICES["celery_worker_research"]["profiles"] == ["research"]
    assert SERVICES["celery_worker"]["deploy"]["replicas"] == "${WORKERS:-1}"


def test_what_services_keep_is_on_a_volume() -> None:
    kept = {
        "recorder": ("recorder.path", "purge.archive"),
        "order-gateway": ("risk.audit_trail", "order_gateway.emergency_journal"),
    }
    for name, keys in kept.items():
        service = SERVICES[name]
        environ = {v: re.sub(r"\$\{[A-Z0-9_]+:-(.*)\}", r"\1", str(x))
                   for v, x in service["environment"].items()}  # fmt: skip
        settings = load_settings(PROJECT_ROOT / "config.yml", environ)
        mounts = [entry.split(":")[1] for entry in service["volumes"] if not entry.endswith(":ro")]
        for key in keys:
            section, _, field = key.partition(".")
            path = str(getattr(getattr(settings, section), field))
            assert any(path.startswith(f"{mount}/") for mount in mounts), (name, key, path)


def test_logs_are_collected_only_where_they_are_asked_for() -> None:
    for name in ("loki", "log-collector"):
        assert SERVICES[name]["profiles"] == ["logs"]
    file = PROJECT_ROOT / "setup" / "otel-collector" / "logs.yaml"
    collector = yaml.safe_load(file.read_text(encoding="utf-8"))
    (receiver,) = collector["receivers"].values()
    (exporter,) = collector["exporters"].values()
    assert exporter["endpoint"] == "http://loki:3100/otlp"
    mounted = {entry.split(":")[-2] for entry in SERVICES["log-collector"]["volumes"][1:2]}
    assert all(pattern.startswith(f"{mounted.pop()}/") for pattern in receiver["include"])
    # What is filtered by is what Docker is told to note with each line.
    noted = set(COMPOSE["x-logging"]["options"]["labels"].split(","))
    text = json.dumps(receiver["operators"])
    assert set(re.findall(r"com\.docker\.compose\.\w+", text)) == noted


def test_restart_reaches_every_service_that_reads_the_configuration() -> None:
    script = (PROJECT_ROOT / "setup/install/compose.sh").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^APPLICATION=\(([^)]*)\)", script, re.MULTILINE)
    readers = {
        name
        for name, service in COMPOSE["services"].items()
        if any("/app/config.yml" in str(volume) for volume in service.get("volumes", ()))
    }
    assert set(listed.split()) == readers - {"migrate"}
