"""The accounts file: one format, and a clear sentence for every other."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paper_exchange.__main__ import build, main, parser
from paper_exchange.accounts import AccountsFileError, load_accounts

A, B, C = ("0x" + digit * 40 for digit in "abc")


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_deposits_are_numbers_or_decimal_strings_and_agents_optional(tmp_path: Path) -> None:
    path = write(
        tmp_path / "accounts.json",
        [
            {"address": A.upper().replace("0X", "0x"), "deposit_usdc": 1000.25, "agents": [B]},
            {"address": C, "deposit_usdc": "7"},
        ],
    )
    first, second = load_accounts(path)
    assert (first.address, first.deposit_usdc, first.agents) == (A, Decimal("1000.25"), (B,))
    assert (second.deposit_usdc, second.agents) == (Decimal(7), ())


def test_accounts_open_once_per_state_with_their_agents(tmp_path: Path) -> None:
    accounts = write(tmp_path / "a.json", [{"address": A, "deposit_usdc": 500, "agents": [B, C]}])
    arguments = ["--port=0", f"--accounts={accounts}", f"--state={tmp_path / 'state.db'}"]
    for _ in range(2):
        exchange, store = build(parser().parse_args(arguments))
        account = exchange.venue.accounts[A]
        assert account.deposits == 500
        assert [account.agents[agent].name for agent in (B, C)] == ["agent1", "agent2"]
        assert exchange.venue.agent_masters == {B: A, C: A}
        store.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({A: {"usdc": "5"}}, 'must be a list of {"address", "deposit_usdc", "agents"'),
        ("{", "the accounts file is not JSON"),
        ([5], "account 1: must be an object"),
        ([{"address": "0x1"}], "account 1: not an address: '0x1'"),
        ([{"address": A, "usdc": 5}], "account 1: unknown key 'usdc'"),
        ([{"address": A, "deposit_usdc": -1}], "deposit_usdc must be 0 to 1000000000000"),
        ([{"address": A, "deposit_usdc": "much"}], "found 'much'"),
        ([{"address": A, "deposit_usdc": "0.0000001"}], "at most six decimals"),
        ([{"address": A, "agents": {B: "name"}}], "agents must be a list of at most 4 addresses"),
        ([{"address": A, "agents": [f"0x{i:040x}" for i in range(5)]}], "at most 4 addresses"),
        ([{"address": A}, {"address": B, "agents": [A]}], f"{A} is named twice"),
    ],
)
def test_other_formats_are_refused_in_one_sentence(
    tmp_path: Path, content: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "accounts.json", content)
    with pytest.raises(AccountsFileError) as error:
        load_accounts(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert main(["--port", "0", "--accounts", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
