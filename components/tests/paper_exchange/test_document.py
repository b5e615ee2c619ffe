"""The guide's snippets run as they stand, and its tables name what exists."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paper_exchange.accounts import load_accounts
from paper_exchange.command_line import parser
from paper_exchange.faults import KINDS
from paper_exchange.state import SWITCH_CHOICES

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "paper-exchange.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


SNIPPETS = fenced("python")


@pytest.fixture(scope="module")
def names(start_module_paper: Callable[..., Any], master: Any) -> dict[str, Any]:
    venue = start_module_paper("--admin-token", "TOKEN")
    driven = start_module_paper(
        "--admin-token", "TOKEN", "--start-time", "1767225600000", "--no-rate-limit"
    )
    return {
        "URL": venue.url,
        "DRIVEN_URL": driven.url,
        "KEY": master.key,
        "ADDRESS": master.address,
    }


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(names: dict[str, Any], number: int) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(SNIPPETS[number], f"{GUIDE}:{number}", "exec"), dict(names))
    assert printed.getvalue().strip()
    assert "error" not in printed.getvalue()


def test_snippets_cover_the_clients_and_admin() -> None:
    for word in ("ccxt.hyperliquid(", "ccxt.pro.hyperliquid(", "Exchange(", "/admin/faults",
                 "/admin/time"):  # fmt: skip
        assert any(word in snippet for snippet in SNIPPETS)


def test_the_accounts_file_is_accepted(tmp_path: Path, master: Any) -> None:
    (text,) = fenced("json")
    path = tmp_path / "accounts.json"
    path.write_text(text)
    (entry,) = load_accounts(path)
    assert (entry.address, len(json.loads(text)[0]["agents"])) == (master.address, 1)


def test_commands_parse() -> None:
    (command,) = [line for line in fenced("")[0].splitlines() if line]
    assert command.startswith("python -m paper_exchange ")
    parser().parse_args(command.split()[3:])


def test_tables_name_every_fault_and_switch() -> None:
    table = TEXT[TEXT.index("| kind | params") : TEXT.index("## Switches")]
    assert {name for name in KINDS if f"`{name}`" in table} == set(KINDS)
    for name, values in SWITCH_CHOICES.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}`"))
        assert ", ".join(f"`{value}`" for value in values) in row
