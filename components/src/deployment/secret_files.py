"""``secrets.yml``: completed by random draws, and cut so that each container sees what it needs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from eth_account import Account

from deployment.alertmanager import configuration
from shared.config import ConfigError, Secrets, load_secrets
from shared.native_servers import write_private

DEPOSIT_USD = "100000"
REDIS_ADDRESS = "redis://redis:6379"
EXPORTER_RIGHTS = (
    "-@all +ping +info +client|setname +slowlog|get +slowlog|len +latency|latest +latency|histogram"
)
"""What Redis' exporter may: read counters; no key, no configuration (it holds the password)."""

_APP, _REDIS = "database.app_password", "redis.password"
_RESEARCH = "database.research_password"
_WALLET = "exchanges.hyperliquid.walletAddress"
_KEY, _TOKEN = "exchanges.hyperliquid.privateKey", "order_gateway.token"

NEEDS: Mapping[str, tuple[str, ...]] = {
    "migrate": (
        "database.root_password",
        _APP,
        "database.migrate_password",
        "database.reader_password",
        _RESEARCH,
        "database.exporter_password",
    ),
    "order-gateway": (_WALLET, _KEY, _APP, _REDIS, _TOKEN),
    "exchange-observer": (_WALLET,),
    "price-producer": (_WALLET, _REDIS),
    "price-sampler": (_WALLET, _APP, _REDIS),
    "recorder": (_APP, _REDIS),
    "take-profit": (_WALLET, _APP, _REDIS),
    "platform-metrics": (_APP, _REDIS),
    "balance-consumer": (_REDIS,),
    "celery-beat": (_REDIS,),
    "celery-worker-high": (_WALLET, _APP, _REDIS, _TOKEN, "alerts.urls"),
    "celery-worker": (_APP, _REDIS),
    "celery-worker-research": (_APP, _REDIS, _RESEARCH),
    "flower": (_REDIS, "flower.password"),
}
"""What each service's own ``secrets.yml`` holds. The private key is in the gateway's alone."""

_INSTEAD: Mapping[tuple[str, str], str] = {
    ("platform-metrics", _APP): "database.reader_password",
}
"""Who knows something else under a name: who only reads is another user of the database."""

_DRAWN = (
    _APP,
    "database.migrate_password",
    "database.reader_password",
    "database.root_password",
    "database.exporter_password",
    _RESEARCH,
    _REDIS,
    "redis.exporter_password",
    _TOKEN,
    "flower.password",
    "grafana.admin_password",
)
_HEADER = """\
# Every secret of this deployment; keep a copy in a safe place. What was empty was drawn by
# `make install`, which also puts a changed value to use. secrets.yml.example says what is what.
"""


class SecretsProblemError(ValueError):
    """The secrets cannot be used; the message names the item, never its value."""


def complete(file: Path, mode: str) -> tuple[dict[str, Any], bool]:
    """The content of ``secrets.yml`` with every generated secret drawn, and whether any was.

    The account is drawn in paper mode alone, and only if neither address nor key is there. A file
    that lacks nothing stays as it is, comments included. Raises ``SecretsProblemError``.
    """
    content = _read(file)
    before = json.dumps(content, sort_keys=True)
    for path in _DRAWN:
        if not _at(content, path):
            _put(content, path, secrets.token_urlsafe(32))
    _complete_account(content, file, mode)
    if json.dumps(content, sort_keys=True) == before:
        return content, False
    write_private(file, _HEADER + yaml.safe_dump(content, sort_keys=False))
    return content, True


def cut(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what the containers are given into ``folder``, which only its owner may enter.

    The files themselves can be read by all: a container's user is not the owner of the folder, and
    sees the one file that is mounted for it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for service, paths in NEEDS.items():
        own: dict[str, Any] = {}
        for path in paths:
            value = _at(content, _INSTEAD.get((service, path), path))
            if value:
                _put(own, path, value)
        _write(folder / f"{service}.yml", yaml.safe_dump(own, sort_keys=False))
    redis_password = _at(content, _REDIS)
    exporter = _at(content, "redis.exporter_password")
    _write(
        folder / "redis_auth.conf",
        f'requirepass "{redis_password}"\nuser exporter on >{exporter} {EXPORTER_RIGHTS}\n',
    )
    _write(folder / "redis.env", f"REDISCLI_AUTH={redis_password}\n")
    _write(folder / "redis_exporter.json", json.dumps({REDIS_ADDRESS: exporter}) + "\n")
    _write(folder / "mysqld_exporter.cnf", _client_file(content))
    urls = _at(content, "alerts.urls") or ()
    _write(folder / "alertmanager.yml", yaml.safe_dump(configuration(urls), sort_keys=False))
    _write(folder / "mariadb_root_password", _at(content, "database.root_password"))
    _write(folder / "grafana_admin_password", _at(content, "grafana.admin_password"))
    _write(folder / "grafana_reader_password", _at(content, "database.reader_password"))
    _write(folder / "accounts.json", _accounts(content))


def _client_file(content: Mapping[str, Any]) -> str:
    """MariaDB's client file of its exporter."""
    password = _at(content, "database.exporter_password")
    return f"[client]\nuser=3t_exporter\npassword={password}\nhost=mariadb\nport=3306\n"


def _complete_account(content: dict[str, Any], file: Path, mode: str) -> None:
    wallet, key = _at(content, _WALLET), _at(content, _KEY)
    if wallet and key:
        return
    if mode != "paper" or wallet or key:
        missing = " and ".join(path for path in (_WALLET, _KEY) if not _at(content, path))
        raise SecretsProblemError(
            f"{file.name}: {mode} mode needs {missing}; see secrets.yml.example"
        )
    # The master's key is thrown away: all that anyone can do is what the agent may.
    master = Account.from_key("0x" + secrets.token_hex(32))
    _put(content, _WALLET, master.address.lower())
    _put(content, _KEY, "0x" + secrets.token_hex(32))


def _accounts(content: Mapping[str, Any]) -> str:
    agent = Account.from_key(_at(content, _KEY)).address.lower()
    account = {
        "address": _at(content, _WALLET).lower(),
        "deposit_usdc": DEPOSIT_USD,
        "agents": [agent],
    }
    return json.dumps([account], indent=1) + "\n"


def _read(file: Path) -> dict[str, Any]:
    """The checked content as plain data, empty where there is no file yet."""
    if not file.exists():
        return {}
    try:
        load_secrets(file)
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except ConfigError as error:
        raise SecretsProblemError(str(error)) from None
    return {name: section for name, section in content.items() if name in Secrets.model_fields}


def _at(content: Mapping[str, Any], path: str) -> Any:
    value: Any = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value or ""


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        if not isinstance(content.get(section), dict):
            content[section] = {}
        content = content[section]
    content[name] = value


def _write(path: Path, text: str) -> None:
    write_private(path, text)
    path.chmod(0o444)
