"""Preparing a checkout: secrets drawn once and cut apart, compose's variables, clear refusals."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from eth_account import Account

from deployment import prepare, symbols
from deployment.secret_files import NEEDS
from shared.config import load_secrets, load_settings
from shared.native_servers import PROJECT_ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as far as preparing is concerned."""
    shutil.copy(PROJECT_ROOT / "config.yml", tmp_path / "config.yml")
    return tmp_path


def _cut(folder: Path, name: str) -> Path:
    return folder / prepare.SECRETS_FOLDER / name


def _set_mode(folder: Path, mode: str) -> None:
    file = folder / "config.yml"
    text = file.read_text(encoding="utf-8").replace("\nmode: paper\n", f"\nmode: {mode}\n")
    assert f"\nmode: {mode}\n" in text
    file.write_text(text, encoding="utf-8")


def test_first_install_draws_every_secret(folder: Path) -> None:
    assert prepare.main([str(folder)]) == 0
    wanted = sorted({path for paths in NEEDS.values() for path in paths} - {"alerts.urls"})
    secrets = load_secrets(folder / "secrets.yml", require=[*wanted, "grafana.admin_password"])
    assert len(secrets.redis.password.get_secret_value()) >= 32
    assert stat.S_IMODE((folder / "secrets.yml").stat().st_mode) == 0o600


def test_second_install_changes_no_secret(folder: Path) -> None:
    prepare.main([str(folder)])
    before = (folder / "secrets.yml").read_bytes()
    assert prepare.main([str(folder)]) == 0
    assert (folder / "secrets.yml").read_bytes() == before


def test_complete_file_of_a_person_keeps_its_comments(folder: Path) -> None:
    prepare.main([str(folder)])
    file = folder / "secrets.yml"
    file.write_text("# mine\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert prepare.main([str(folder)]) == 0
    assert file.read_text(encoding="utf-8").startswith("# mine\n")


def test_each_service_is_given_what_it_needs_and_no_more(folder: Path) -> None:
    prepare.main([str(folder)])
    everything = yaml.safe_load((folder / "secrets.yml").read_text(encoding="utf-8"))
    key = everything["exchanges"]["hyperliquid"]["privateKey"]
    for service, paths in NEEDS.items():
        text = _cut(folder, f"{service}.yml").read_text(encoding="utf-8")
        load_secrets(_cut(folder, f"{service}.yml"), require=set(paths) - {"alerts.urls"})
        assert (key in text) is (service == "order-gateway")
        held = {
            f"{section}.{name}"
            for section, values in yaml.safe_load(text).items()
            for name in (values["hyperliquid"] if section == "exchanges" else values)
        }
        assert held <= {path.replace("exchanges.hyperliquid", "exchanges") for path in paths}


def test_only_the_owner_enters_the_folder_of_secrets(folder: Path) -> None:
    prepare.main([str(folder)])
    assert stat.S_IMODE((folder / prepare.SECRETS_FOLDER).stat().st_mode) == 0o700


def test_venue_knows_the_agent_that_signs_and_not_its_key(folder: Path) -> None:
    prepare.main([str(folder)])
    content = yaml.safe_load((folder / "secrets.yml").read_text(encoding="utf-8"))
    hyperliquid = content["exchanges"]["hyperliquid"]
    text = _cut(folder, "accounts.json").read_text(encoding="utf-8")
    (account,) = json.loads(text)
    assert account["address"] == hyperliquid["walletAddress"]
    assert account["agents"] == [Account.from_key(hyperliquid["privateKey"]).address.lower()]
    assert hyperliquid["privateKey"].removeprefix("0x") not in text


def test_redis_and_its_shell_share_a_password(folder: Path) -> None:
    prepare.main([str(folder)])
    password = load_secrets(folder / "secrets.yml").redis.password.get_secret_value()
    lines = _cut(folder, "redis_auth.conf").read_text().splitlines()
    assert lines[0] == f'requirepass "{password}"'
    assert _cut(folder, "redis.env").read_text() == f"REDISCLI_AUTH={password}\n"


def test_paper_mode_chooses_the_venue_of_this_host(folder: Path) -> None:
    prepare.main([str(folder)])
    values = prepare.read_env(folder / ".env")
    assert values["COMPOSE_PROFILES"] == "paper"
    assert values["T3_WARM_HISTORY"] == "true"
    assert values["WORKERS"] == "1"


def test_change_of_configuration_or_secrets_makes_containers_anew(folder: Path) -> None:
    def inputs() -> str:
        assert prepare.main([str(folder)]) == 0
        return prepare.read_env(folder / ".env")["T3_INPUTS"]

    first = inputs()
    assert inputs() == first
    assert symbols.add("AVAX", folder / "config.yml") == 0
    second = inputs()
    assert second != first
    content = yaml.safe_load((folder / "secrets.yml").read_text(encoding="utf-8"))
    content["redis"]["password"] = "another"
    (folder / "secrets.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert inputs() != second


def test_number_of_workers_survives(folder: Path) -> None:
    (folder / ".env").write_text("WORKERS=4\n", encoding="utf-8")
    prepare.main([str(folder)])
    assert prepare.read_env(folder / ".env")["WORKERS"] == "4"


def test_testnet_needs_an_account_and_never_gets_a_drawn_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _set_mode(folder, "testnet")
    assert prepare.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "testnet mode needs exchanges.hyperliquid.walletAddress and" in error
    assert not (folder / "secrets.yml").exists()


def test_testnet_starts_no_paper_exchange(folder: Path) -> None:
    prepare.main([str(folder)])  # any account will do
    _set_mode(folder, "testnet")
    assert prepare.main([str(folder)]) == 0
    values = prepare.read_env(folder / ".env")
    assert values["COMPOSE_PROFILES"] == ""
    assert values["T3_WARM_HISTORY"] == "false"


def test_half_an_account_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wallet = {"exchanges": {"hyperliquid": {"walletAddress": "0x" + "ab" * 20}}}
    (folder / "secrets.yml").write_text(yaml.safe_dump(wallet), encoding="utf-8")
    assert prepare.main([str(folder)]) == 2
    assert "needs exchanges.hyperliquid.privateKey;" in capsys.readouterr().err


def test_bad_configuration_is_one_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yml").write_text("mode: paper\nsurprise: 1\n", encoding="utf-8")
    assert prepare.main([str(folder)]) == 2
    assert "surprise" in capsys.readouterr().err


def test_symbol_is_added_and_comments_stay(folder: Path) -> None:
    file = folder / "config.yml"
    before = file.read_text(encoding="utf-8")
    assert symbols.add("AVAX", file) == 0
    after = file.read_text(encoding="utf-8")
    assert load_settings(file, {}).reconciliation_engine.symbols[-1] == "AVAX"
    assert after.replace(", AVAX]", "]") == before


@pytest.mark.parametrize("symbol", ["BTC", "no such coin"])
def test_symbol_that_cannot_be_added_leaves_the_file(folder: Path, symbol: str) -> None:
    file = folder / "config.yml"
    before = file.read_text(encoding="utf-8")
    assert symbols.add(symbol, file) == 2
    assert file.read_text(encoding="utf-8") == before
    assert [path.name for path in folder.iterdir()] == ["config.yml"]
