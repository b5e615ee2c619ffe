"""A symbol is delisted while it is held: nothing is opened on it, and a person may try to leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange

from shared.config import Secrets
from shared.testing.paper_venue import PaperVenue

MARKETS = (("BTC", 5, 40, 56, 83_757.0), ("ETH", 4, 25, 55, 2_803.5), ("SOL", 2, 20, 54, 127.4))


def write_universe(file: Path, delisted: str | None = None) -> None:
    universe = [
        {
            "name": name,
            "szDecimals": decimals,
            "maxLeverage": leverage,
            "marginTableId": table,
            "referencePx": price,
            "isDelisted": name == delisted,
        }
        for name, decimals, leverage, table, price in MARKETS
    ]
    file.write_text(json.dumps({"dexes": [{"name": "", "universe": universe}]}))


@pytest.fixture(scope="module")
def venue_url(tmp_path_factory: pytest.TempPathFactory, secrets: Secrets) -> Iterator[str]:
    """In place of the shared venue: one that delists SOL while two of it are held."""
    folder = tmp_path_factory.mktemp("universe")
    hyperliquid = secrets.exchanges.hyperliquid
    file = folder / "universe.json"
    write_universe(file)
    options = ("--no-rate-limit", f"--universe={file}")
    accounts = {hyperliquid.walletAddress.lower(): "100000"}
    with PaperVenue(folder / "venue", accounts, *options) as paper:
        owner = Exchange(
            Account.from_key(hyperliquid.privateKey.get_secret_value()),
            paper.url,
            spot_meta={"universe": [], "tokens": []},
        )
        assert owner.market_open("SOL", True, 2.0)["status"] == "ok"
        paper.stop()
        write_universe(file, delisted="SOL")
        paper.start()
        yield paper.url


def test_a_delisted_position_is_kept_and_its_exit_is_the_venues_to_say(
    gateway: Any, venue: Any
) -> None:
    assert venue.position("SOL") == 2
    refused = gateway.post("/execute_order", gateway.planned("SOL", "buy", "1"))
    assert refused.status_code == 422, refused.text
    assert "not delisted" in refused.text
    # It keeps nobody from trading the others.
    assert gateway.execute(gateway.planned("BTC", "buy", "0.001"))["state"] == "FILLED"

    reply = gateway.post("/flatten", {"reason": "it is delisted", "symbols": ["SOL"]})
    (result,) = reply.json()["symbols"]
    assert result["remaining_size"] == "2"
    assert "not traded here" in result["problem"]
    assert venue.position("SOL") == 2
