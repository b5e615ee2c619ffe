"""The accounts file: who has a deposit, and which agents may sign for whom.

JSON list of ``{"address", "deposit_usdc", "agents": [address, ...]}``. ``deposit_usdc`` is a number
or a decimal string of at least 0 (default 0); ``agents`` may be left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from paper_exchange.canonical import MalformedActionError, address
from paper_exchange.decimals import MICRO, ZERO, parse_decimal
from paper_exchange.settings import AGENT_LIFE_MS, add_agent, deposit
from paper_exchange.state import Venue

KEYS = ("address", "deposit_usdc", "agents")
# As on the venue: three named agents, and one without a name.
AGENT_NAMES = ("agent1", "agent2", "agent3", "")
MAX_DEPOSIT_USDC = Decimal(10) ** 12


class AccountsFileError(ValueError):
    """An accounts file that cannot be used; the message names the file and the entry."""


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """One account to open: lower-case addresses, deposit in USDC."""

    address: str
    deposit_usdc: Decimal
    agents: tuple[str, ...]


def load_accounts(path: Path) -> tuple[AccountEntry, ...]:
    """Read and check an accounts file.

    Raises:
        AccountsFileError: naming the file, the entry and what is allowed.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
    except OSError as error:
        raise AccountsFileError(
            f"{path}: cannot read the accounts file: {error.strerror}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise AccountsFileError(f"{path}: the accounts file is not JSON: {error}") from error
    if not isinstance(raw, list):
        raise AccountsFileError(
            f'{path}: must be a list of {{"address", "deposit_usdc", "agents": [address, ...]}}'
        )
    entries = tuple(_entry(f"{path}: account {i}", body) for i, body in enumerate(raw, start=1))
    _check_addresses(path, entries)
    return entries


def _entry(where: str, body: Any) -> AccountEntry:
    if not isinstance(body, dict):
        raise AccountsFileError(f"{where}: must be an object with {', '.join(KEYS)}")
    unknown = sorted(set(body) - set(KEYS))
    if unknown:
        raise AccountsFileError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
    agents = body.get("agents", [])
    if not isinstance(agents, list) or len(agents) > len(AGENT_NAMES):
        raise AccountsFileError(
            f"{where}: agents must be a list of at most {len(AGENT_NAMES)} addresses"
        )
    try:
        own, others = address(body.get("address")), tuple(address(agent) for agent in agents)
    except MalformedActionError as error:
        raise AccountsFileError(f"{where}: {error}") from error
    return AccountEntry(own, _deposit(where, body.get("deposit_usdc", "0")), others)


def _deposit(where: str, text: Any) -> Decimal:
    try:
        amount = parse_decimal(text)
    except ValueError:
        amount = Decimal(-1)
    if not 0 <= amount <= MAX_DEPOSIT_USDC or amount != amount.quantize(MICRO):
        raise AccountsFileError(
            f"{where}: deposit_usdc must be 0 to {MAX_DEPOSIT_USDC} with at most six decimals, "
            f"found {text!r}"
        )
    return amount


def _check_addresses(path: Path, entries: tuple[AccountEntry, ...]) -> None:
    seen: set[str] = set()
    for entry in entries:
        for name in (entry.address, *entry.agents):
            if name in seen:
                raise AccountsFileError(f"{path}: {name} is named twice")
            seen.add(name)


def open_accounts(venue: Venue, entries: tuple[AccountEntry, ...], now_ms: int) -> None:
    """Open the accounts that the state does not know yet; deposits are made once per state."""
    for entry in entries:
        if entry.address in venue.accounts:
            continue
        account = deposit(venue, entry.address, entry.deposit_usdc or ZERO, now_ms)
        for agent, name in zip(entry.agents, AGENT_NAMES, strict=False):
            add_agent(venue, account, agent, name, now_ms + AGENT_LIFE_MS)
