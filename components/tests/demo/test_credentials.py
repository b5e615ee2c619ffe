"""Secrets are drawn once, kept, readable by their owner only, and cut by need."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from eth_account import Account

from demo.credentials import (
    Credentials,
    CredentialsError,
    keep_credentials,
    read_credentials,
    write_accounts,
    write_secrets_files,
)
from demo.layout import DemoPaths
from paper_exchange import __main__ as paper_exchange
from shared.config import ConfigError, load_secrets


@pytest.fixture
def credentials(paths: DemoPaths) -> Credentials:
    kept = keep_credentials(paths)
    write_secrets_files(paths, kept)
    write_accounts(paths, kept)
    return kept


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_drawn_once_and_kept(paths: DemoPaths) -> None:
    first = keep_credentials(paths)
    assert keep_credentials(paths) == first
    assert read_credentials(paths) == first
    assert Credentials.draw() != first


def test_only_the_owner_can_read_them(paths: DemoPaths, credentials: Credentials) -> None:
    files = [
        paths.credentials,
        paths.service_secrets,
        paths.gateway_secrets,
        paths.migrate_secrets,
        paths.accounts,
    ]
    assert [mode(path) for path in files] == [0o600] * len(files)


def test_the_private_key_is_in_the_gateways_file_alone(
    paths: DemoPaths, credentials: Credentials
) -> None:
    assert credentials.agent_key in paths.gateway_secrets.read_text()
    for path in (paths.service_secrets, paths.migrate_secrets, paths.accounts):
        assert credentials.agent_key not in path.read_text()
        assert credentials.agent_key.removeprefix("0x") not in path.read_text()


def test_the_schema_owners_password_is_in_alembics_file_alone(
    paths: DemoPaths, credentials: Credentials
) -> None:
    assert credentials.migrate_password in paths.migrate_secrets.read_text()
    for path in (paths.service_secrets, paths.gateway_secrets):
        assert credentials.migrate_password not in path.read_text()


def test_services_find_what_they_need(paths: DemoPaths, credentials: Credentials) -> None:
    needed = (
        "exchanges.hyperliquid.walletAddress",
        "database.app_password",
        "redis.password",
        "order_gateway.token",
    )
    load_secrets(paths.service_secrets, require=needed)
    load_secrets(paths.gateway_secrets, require=(*needed, "exchanges.hyperliquid.privateKey"))
    load_secrets(paths.migrate_secrets, require=["database.migrate_password"])
    with pytest.raises(ConfigError, match="privateKey"):
        load_secrets(paths.service_secrets, require=["exchanges.hyperliquid.privateKey"])


def test_the_agent_belongs_to_its_key_and_is_not_the_master(credentials: Credentials) -> None:
    assert Account.from_key(credentials.agent_key).address.lower() == credentials.agent_address
    assert credentials.wallet_address != credentials.agent_address


def test_no_secret_shows_in_a_representation(credentials: Credentials) -> None:
    assert credentials.agent_key not in repr(credentials)
    assert credentials.app_password not in repr(credentials)


def test_the_paper_exchange_takes_the_accounts(paths: DemoPaths, credentials: Credentials) -> None:
    arguments = paper_exchange.parser().parse_args(["--port=0", f"--accounts={paths.accounts}"])
    exchange, store = paper_exchange.build(arguments)
    store.close()
    account = exchange.venue.accounts[credentials.wallet_address]
    assert account.deposits == 100_000
    assert list(account.agents) == [credentials.agent_address]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"app_password": 7}'])
def test_a_damaged_file_is_refused_without_showing_it(paths: DemoPaths, text: str) -> None:
    paths.home.mkdir()
    paths.credentials.write_text(text)
    with pytest.raises(CredentialsError, match=r"credentials\.json: .*make demo-clean"):
        keep_credentials(paths)


def test_files_are_plain_yaml(paths: DemoPaths, credentials: Credentials) -> None:
    content = yaml.safe_load(paths.service_secrets.read_text())
    assert content["order_gateway"]["token"] == credentials.gateway_token
