"""``docker-compose.yml`` as a stack for Docker Swarm: ``python -m deployment.swarm FOLDER``.

Same services, images and secrets. What Compose says in its own words is said in those of Swarm:
limits and restarts under ``deploy``, files of this folder as configs. The gateway is asked whether
it lives, not whether it can trade, since Swarm kills what its probe calls unhealthy. Whatever keeps
data stays on the node labelled ``t3.data``, because volumes are local; iteration workers run on
every node. Nothing is published: Swarm cannot bind a port to loopback. Networks are encrypted
between nodes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from deployment.prepare import BAD_INPUT, read_env

DATA_NODE = "node.labels.t3.data == true"
ANYWHERE = frozenset({"celery_worker"})
"""Services that keep nothing and may run on any node, in any number."""

ASKED_WHETHER_ALIVE = {"order-gateway": "order-gateway-alive"}
"""Service -> probe. A gateway without MariaDB takes exits; one that waits for its lease waits."""

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_SAID_OTHERWISE = (
    "build",
    "container_name",
    "cpu_shares",
    "depends_on",
    "env_file",  # REDISCLI_AUTH, for people at the command line; secrets do not belong in a stack
    "labels",
    "mem_limit",
    "pids_limit",
    "ports",
    "profiles",
    "restart",
    "security_opt",  # Swarm has no field for it
    "tmpfs",  # ignored by Swarm, which wants a volume of that type
)
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

Service = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Without anchors, which nobody reads in a generated file."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def main(arguments: list[str]) -> int:
    """Exit code: 0 written, 2 bad input."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m deployment.swarm FOLDER\n")
        return BAD_INPUT
    folder = Path(arguments[0])
    variables = read_env(folder / ".env")
    if not variables:
        sys.stderr.write(
            "swarm: there is no .env here: `make install` writes it, and the secrets\n"
        )
        return BAD_INPUT
    try:
        content = stack(folder, variables)
    except OSError as error:
        sys.stderr.write(f"swarm: {error.filename}: cannot be read ({error.strerror})\n")
        return BAD_INPUT
    sys.stdout.write("# Written by `make swarm` from docker-compose.yml.\n")
    sys.stdout.write(yaml.dump(content, Dumper=_Plain, sort_keys=False, width=120))
    return 0


def stack(folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The stack of the compose file in ``folder``; ``variables`` as Compose would have them.

    Configs and secrets carry a digest in their names, since Swarm never changes one: a new content
    is a new config, and the services that use it are made anew. Raises ``OSError``.
    """
    text = (folder / "docker-compose.yml").read_text(encoding="utf-8")
    compose = _filled(yaml.safe_load(text), variables)
    profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
    configs: dict[str, Any] = {}
    services = {
        name: _service(name, service, folder, configs)
        for name, service in compose["services"].items()
        if _chosen(service.get("profiles", ()), profiles)
    }
    used = {_source(secret) for s in services.values() for secret in s.get("secrets", ())}
    inputs = variables.get("T3_INPUTS", "first")
    return {
        "version": "3.12",  # the newest that Docker 25 knows, and the oldest with start_interval
        "services": services,
        "configs": configs,
        "secrets": {
            name: {"file": secret["file"], "name": f"3t_{name}_{inputs}"}
            for name, secret in compose["secrets"].items()
            if name in used
        },
        "networks": {name: _network(network) for name, network in compose["networks"].items()},
        "volumes": compose["volumes"],
    }


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Compose's variables replaced in every string; what they hold is text, not YAML."""
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda m: variables.get(m[1]) or m[2], value)
    return value


def _chosen(needed: Collection[str], profiles: Collection[str]) -> bool:
    return not needed or bool(set(needed) & set(profiles))


def _service(name: str, service: Service, folder: Path, configs: dict[str, Any]) -> Service:
    kept = {key: value for key, value in service.items() if key not in _SAID_OTHERWISE}
    files, volumes = [], []
    for volume in service.get("volumes", ()):
        source, target, *_ = str(volume).split(":")
        if source.startswith("."):
            files += _configs(folder, source, target, configs)
        else:
            volumes.append(volume)
    kept["volumes"] = [*volumes, *map(_scratch, service.get("tmpfs", ()))]
    if files:
        kept["configs"] = files
    if name in ASKED_WHETHER_ALIVE:
        *command, _ = service["healthcheck"]["test"]
        test = [*command, ASKED_WHETHER_ALIVE[name]]
        kept["healthcheck"] = {**service["healthcheck"], "test": test}
    kept["deploy"] = _deploy(name, service)
    return {key: value for key, value in kept.items() if value != []}


def _scratch(tmpfs: str) -> dict[str, Any]:
    """``/tmp:size=64m,mode=1777`` as a volume.

    In a stack memory has no owner: it takes mode from the image's folder and belongs to root. What
    is to be somebody's is a volume without a name, which is his where the folder is, and is removed
    with the container.
    """
    target, _, text = tmpfs.partition(":")
    options = dict(option.split("=") for option in text.split(",") if option)
    if "uid" in options:
        return {"type": "volume", "target": target}
    size = options["size"]
    return {
        "type": "tmpfs",
        "target": target,
        "tmpfs": {"size": int(size[:-1]) * _UNITS[size[-1]]},
    }


def _deploy(name: str, service: Service) -> dict[str, Any]:
    once = service.get("restart") == "no"
    limits: dict[str, Any] = {"memory": service["mem_limit"]}
    if "pids_limit" in service:
        limits["pids"] = service["pids_limit"]
    deploy: dict[str, Any] = {
        # Names lead to containers, not to a balancer before them: each worker has its own metrics,
        # nothing else is many, and the kernel needs no IPVS.
        "endpoint_mode": "dnsrr",
        # A second gateway or beat beside the first is never wanted.
        "update_config": {"order": "stop-first"},
        "restart_policy": {"condition": "on-failure" if once else "any", "delay": "5s"},
        "resources": {"limits": limits},
    }
    if name in ANYWHERE:
        deploy["replicas"] = int(service["deploy"]["replicas"])
    else:
        deploy["placement"] = {"constraints": [DATA_NODE]}
    return deploy


def _configs(folder: Path, source: str, target: str, configs: dict[str, Any]) -> list[Any]:
    place = folder / source
    files = sorted(f for f in place.iterdir() if f.is_file()) if place.is_dir() else [place]
    found = []
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        name = f"{file.stem}_{digest}".replace(".", "_")
        configs[name] = {"file": f"./{file.relative_to(folder)}"}
        at = f"{target}/{file.name}" if place.is_dir() else target
        found.append({"source": name, "target": at, "mode": 0o444})
    return found


def _source(secret: str | dict[str, str]) -> str:
    return secret if isinstance(secret, str) else secret["source"]


def _network(network: dict[str, Any] | None) -> dict[str, Any]:
    return {"driver": "overlay", "driver_opts": {"encrypted": "true"}, **(network or {})}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
