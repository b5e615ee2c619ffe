"""The demo's secrets: drawn once, kept, and handed out so that each process sees what it needs.

The account is paper. Its master address is that of a key which is thrown away at once: all that
anyone can do with the account is what its agent may, and agents cannot withdraw.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from eth_account import Account

from demo.layout import DemoPaths
from shared.native_servers import write_private

DEPOSIT_USD = "100000"


class CredentialsError(ValueError):
    """The kept secrets are not usable; the message names the file, never a value."""


@dataclass(frozen=True)
class Credentials:
    """Everything secret in a demo."""

    app_password: str
    migrate_password: str
    redis_password: str
    gateway_token: str
    wallet_address: str
    agent_address: str
    agent_key: str

    def __repr__(self) -> str:
        return f"Credentials(wallet_address={self.wallet_address!r}, …)"

    @classmethod
    def draw(cls) -> Credentials:
        """New random ones."""
        agent_key = "0x" + secrets.token_hex(32)
        return cls(
            app_password=secrets.token_urlsafe(24),
            migrate_password=secrets.token_urlsafe(24),
            redis_password=secrets.token_urlsafe(24),
            gateway_token=secrets.token_urlsafe(32),
            wallet_address=Account.from_key("0x" + secrets.token_hex(32)).address.lower(),
            agent_address=Account.from_key(agent_key).address.lower(),
            agent_key=agent_key,
        )


def keep_credentials(paths: DemoPaths) -> Credentials:
    """Those of the last demo in this folder, or new ones; raises CredentialsError."""
    credentials = read_credentials(paths)
    if credentials is None:
        credentials = Credentials.draw()
        write_private(paths.credentials, json.dumps(asdict(credentials), indent=1) + "\n")
    return credentials


def read_credentials(paths: DemoPaths) -> Credentials | None:
    """Those of the last demo in this folder, None before the first; raises CredentialsError."""
    try:
        text = paths.credentials.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialsError(f"{paths.credentials}: cannot be read ({error.strerror})") from None
    advice = "restore it, or start over with 'make demo-clean'"
    try:
        content = json.loads(text)
    except ValueError:
        raise CredentialsError(f"{paths.credentials}: is damaged; {advice}") from None
    names = {field.name for field in fields(Credentials)}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), str) and content[name] for name in names
    ):
        raise CredentialsError(f"{paths.credentials}: lacks a secret; {advice}")
    return Credentials(**{name: content[name] for name in names})


def write_secrets_files(paths: DemoPaths, credentials: Credentials) -> None:
    """Cut ``secrets.yml`` files for the services, the gateway and Alembic, each mode 0600.

    The private key is in the gateway's file alone, the schema owner's password in Alembic's alone.
    """
    services = {
        "exchanges": {"hyperliquid": {"walletAddress": credentials.wallet_address}},
        "database": {"app_password": credentials.app_password},
        "redis": {"password": credentials.redis_password},
        "order_gateway": {"token": credentials.gateway_token},
    }
    hyperliquid = {
        "walletAddress": credentials.wallet_address,
        "privateKey": credentials.agent_key,
    }
    _write(paths.service_secrets, services)
    _write(paths.gateway_secrets, {**services, "exchanges": {"hyperliquid": hyperliquid}})
    _write(
        paths.migrate_secrets,
        {"database": {"migrate_password": credentials.migrate_password}},
    )


def write_accounts(paths: DemoPaths, credentials: Credentials) -> None:
    """The paper exchange's accounts file: one account, its deposit, and the agent that signs."""
    account = {
        "address": credentials.wallet_address,
        "deposit_usdc": DEPOSIT_USD,
        "agents": [credentials.agent_address],
    }
    write_private(paths.accounts, json.dumps([account], indent=1) + "\n")


def _write(path: Path, content: dict[str, Any]) -> None:
    write_private(path, yaml.safe_dump(content, sort_keys=False))
