"""The stack for several hosts says what the compose file says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deployment import healthcheck, swarm
from shared.native_servers import PROJECT_ROOT

VARIABLES = {"WORKERS": "3", "T3_INPUTS": "0123456789abcdef", "COMPOSE_PROFILES": "paper"}
COMPOSE = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stack() -> dict[str, dict[str, dict]]:
    return swarm.stack(PROJECT_ROOT, VARIABLES)


def test_every_service_of_the_chosen_profiles_is_there_with_its_image_secrets_and_command(
    stack,
) -> None:
    expected = {
        n for n, s in COMPOSE["services"].items() if set(s.get("profiles", ())) <= {"paper"}
    }
    assert set(stack["services"]) == expected
    for name, service in stack["services"].items():
        for key in ("command", "secrets", "networks", "user", "read_only", "cap_drop"):
            assert service.get(key) == COMPOSE["services"][name].get(key), (name, key)


def test_a_real_venue_has_no_paper_exchange() -> None:
    services = swarm.stack(PROJECT_ROOT, {**VARIABLES, "COMPOSE_PROFILES": ""})["services"]
    assert "paper-exchange" not in services
    assert "order-gateway" in services


def test_gateway_that_cannot_trade_is_not_killed(stack) -> None:
    """Swarm kills what fails its probe, and exits have to get through while MariaDB is away."""
    gateway, composed = stack["services"]["order-gateway"], COMPOSE["services"]["order-gateway"]
    assert gateway["healthcheck"]["test"][-1] == "order-gateway-alive"
    assert gateway["healthcheck"]["test"][-1] in healthcheck.PROBES
    assert composed["healthcheck"]["test"][-1] == "order-gateway"
    others = {name for name in stack["services"] if name != "order-gateway"}
    for name in others:
        same = stack["services"][name].get("healthcheck"), COMPOSE["services"][name]
        assert same[0] == same[1].get("healthcheck"), name


def test_data_stays_on_one_node_and_workers_go_anywhere(stack) -> None:
    for name, service in stack["services"].items():
        placed = service["deploy"].get("placement", {}).get("constraints", [])
        assert placed == ([] if name == "celery_worker" else [swarm.DATA_NODE]), name
    assert stack["services"]["celery_worker"]["deploy"]["replicas"] == 3


def test_nothing_is_published_and_traffic_between_hosts_is_encrypted(stack) -> None:
    assert [name for name, service in stack["services"].items() if "ports" in service] == []
    for network in stack["networks"].values():
        assert network["driver_opts"] == {"encrypted": "true"}
    assert stack["networks"]["backend"]["internal"] is True


def test_files_of_the_folder_travel_as_configs_named_by_their_content(stack) -> None:
    for name, service in stack["services"].items():
        assert [v for v in service.get("volumes", ()) if str(v).startswith(".")] == [], name
    targets = {config["target"] for config in stack["services"]["grafana"]["configs"]}
    assert "/etc/grafana/dashboards/portfolio.json" in targets
    for config in stack["configs"].values():
        assert (PROJECT_ROOT / config["file"]).is_file()


def test_what_is_written_in_memory_is_a_volume_because_swarm_ignores_tmpfs(stack) -> None:
    assert [name for name, service in stack["services"].items() if "tmpfs" in service] == []
    volumes = stack["services"]["mariadb"]["volumes"]
    assert {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 256 << 20}} in volumes
    assert {"type": "volume", "target": "/run/mysqld"} in volumes


def test_no_secret_is_in_the_stack(stack) -> None:
    text = yaml.safe_dump(stack)
    assert "env_file" not in text
    assert {Path(secret["file"]).parts[0] for secret in stack["secrets"].values()} == {".local"}
    assert all(s["name"].endswith(VARIABLES["T3_INPUTS"]) for s in stack["secrets"].values())


def test_docker_accepts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command here")
    for name in ("docker-compose.yml", "config.yml"):
        shutil.copy(PROJECT_ROOT / name, tmp_path / name)
    shutil.copytree(PROJECT_ROOT / "setup", tmp_path / "setup")
    (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in VARIABLES.items()))
    assert swarm.main([str(tmp_path)]) == 0
    (tmp_path / "stack.yml").write_text(capsys.readouterr().out)
    command = ["docker", "stack", "config", "--compose-file", str(tmp_path / "stack.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "celery_worker" in done.stdout


def test_a_folder_that_was_not_installed_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swarm.main([str(tmp_path)]) == 2
    assert "make install" in capsys.readouterr().err
