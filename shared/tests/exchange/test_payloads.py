"""Parsers against recorded replies of the venue, and against what must never pass."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.exchange.errors import DecodeError
from shared.exchange.payloads import (
    merge_accounts,
    parse_account,
    parse_account_mode,
    parse_book,
    parse_contexts,
    parse_exchange_status,
    parse_fills,
    parse_funding_history,
    parse_meta,
    parse_mids,
    parse_order_status,
)

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = Path(os.environ.get("T3_DATA_DIR", ROOT.parent / "shared/data")) / "hyperliquid_fixtures"

ACCOUNT: dict[str, Any] = {
    "marginSummary": {
        "accountValue": "38252.7",
        "totalNtlPos": "377667.0",
        "totalRawUsd": "-339414.3",
        "totalMarginUsed": "37766.7",
    },
    "crossMaintenanceMarginUsed": "4720.8375",
    "withdrawable": "486.0",
    "assetPositions": [
        {
            "type": "oneWay",
            "position": {
                "coin": "BTC",
                "szi": "-4.5",
                "leverage": {"type": "cross", "value": 10},
                "entryPx": "83900.0",
                "positionValue": "377667.0",
                "unrealizedPnl": "117.0",
                "liquidationPx": None,
                "marginUsed": "37766.7",
            },
        }
    ],
    "time": 1_700_000_000_000,
}


def recorded(name: str) -> Any:
    path = FIXTURES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"recorded payloads are not at {FIXTURES}")
    return json.loads(path.read_text())["response"]


def test_account_with_a_short_position() -> None:
    account = parse_account(ACCOUNT)
    position = account.positions["BTC"]
    assert position.size == Decimal("-4.5")
    assert position.liquidation_price is None
    assert not position.isolated
    assert (account.account_value, account.withdrawable) == (Decimal("38252.7"), Decimal("486.0"))
    assert account.venue_ms == 1_700_000_000_000


def test_closed_position_is_not_a_position() -> None:
    raw = deepcopy(ACCOUNT)
    raw["assetPositions"][0]["position"]["szi"] = "0.0"
    assert parse_account(raw).positions == {}


REQUIRED = [
    ("time",),
    ("withdrawable",),
    ("assetPositions",),
    ("marginSummary",),
    ("marginSummary", "accountValue"),
    ("marginSummary", "totalMarginUsed"),
    ("crossMaintenanceMarginUsed",),
    ("assetPositions", 0, "position"),
    ("assetPositions", 0, "position", "szi"),
    ("assetPositions", 0, "position", "entryPx"),
    ("assetPositions", 0, "position", "liquidationPx"),
    ("assetPositions", 0, "position", "leverage", "type"),
]


@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize("damage", ["missing", "NaN", 1.5, [], True])
def test_a_damaged_account_is_an_error_never_a_default(path: tuple[Any, ...], damage: Any) -> None:
    raw: Any = deepcopy(ACCOUNT)
    parent = raw
    for key in path[:-1]:
        parent = parent[key]
    if damage == "missing":
        del parent[path[-1]]
    else:
        parent[path[-1]] = damage
    if path == ("assetPositions",) and damage == []:
        assert parse_account(raw).positions == {}  # an empty list is how the venue says flat
        return
    with pytest.raises(DecodeError) as caught:
        parse_account(raw)
    assert str(path[-1]) in str(caught.value) or str(path[-2]) in str(caught.value)


def test_the_same_coin_twice_is_refused() -> None:
    raw = deepcopy(ACCOUNT)
    raw["assetPositions"] *= 2
    with pytest.raises(DecodeError, match="BTC is reported twice"):
        parse_account(raw)


def test_merged_dexes_sum_money_and_take_the_oldest_time() -> None:
    first = parse_account(ACCOUNT)
    other = deepcopy(ACCOUNT)
    other["assetPositions"][0]["position"]["coin"] = "xyz:GOLD"
    other["time"] -= 500
    whole = merge_accounts([first, parse_account(other, "xyz")])
    assert set(whole.positions) == {"BTC", "xyz:GOLD"}
    assert whole.account_value == 2 * first.account_value
    assert whole.venue_ms == first.venue_ms - 500
    with pytest.raises(DecodeError, match="two dexes"):
        merge_accounts([first, first])


def test_recorded_accounts() -> None:
    empty = parse_account(recorded("info/clearinghouse_state_empty_account"))
    assert empty.positions == {}
    assert empty.account_value == 0
    isolated = recorded("info/clearinghouse_state_isolated_position")
    assert any(p.isolated for p in parse_account(isolated).positions.values())


def test_an_account_without_a_time_is_refused() -> None:
    raw = recorded("info/clearinghouse_state_with_positions")
    raw.pop("time", None)
    with pytest.raises(DecodeError):
        parse_account(raw)


def test_recorded_market() -> None:
    contexts = parse_contexts(recorded("info/meta_and_asset_ctxs_2026_02"))
    bitcoin = contexts[0]
    assert (bitcoin.asset.symbol, bitcoin.asset.index) == ("BTC", 0)
    assert bitcoin.mid == Decimal("66371.5")
    assert bitcoin.mark == Decimal("66344.0")
    delisted = next(context for context in contexts if context.asset.delisted)
    assert delisted.mid is None
    builder = parse_contexts(recorded("info/meta_and_asset_ctxs_dex_xyz_2026_02"), 110_000)
    assert builder[0].asset.symbol == "xyz:XYZ100"
    assert (builder[0].asset.index, builder[0].asset.only_isolated) == (110_000, True)
    assert len(parse_meta(recorded("info/meta_2025_12"))) > 20
    assert parse_mids(recorded("info/all_mids_2025_12"))["BTC"] > 0


def test_recorded_book_fills_funding_and_orders() -> None:
    book = parse_book({**recorded("info/l2_book"), "time": 1})
    assert book.bids[0].price < book.asks[0].price
    assert book.mid is not None
    assert book.bids[0].price < book.mid < book.asks[0].price
    fills = parse_fills(recorded("info/user_fills_by_time"))
    assert fills
    assert all(fill.size > 0 and fill.side in ("buy", "sell") for fill in fills)
    rates = parse_funding_history(recorded("info/funding_history_no_end"))
    assert rates[0].rate == Decimal("-0.00061334")
    order = parse_order_status(recorded("info/order_status_filled_buy"))
    assert order is not None
    assert (order.status, order.side, order.symbol) == ("filled", "buy", "ETH")
    assert parse_order_status(recorded("info/order_status_unknown_oid")) is None


def test_fills_of_the_old_protocol_are_refused() -> None:
    with pytest.raises(DecodeError, match="feeToken"):
        parse_fills(recorded("info/user_fills"))  # of 2023


def test_one_sided_book_has_no_mid() -> None:
    book = parse_book(
        {"coin": "BTC", "time": 1, "levels": [[], [{"px": "1.0", "sz": "2.0", "n": 1}]]}
    )
    assert book.mid is None


@pytest.mark.parametrize("raw", [None, {"coin": "BTC"}, {"coin": "BTC", "time": 1, "levels": [[]]}])
def test_unknown_coin_and_cut_books_are_refused(raw: Any) -> None:
    with pytest.raises(DecodeError):
        parse_book(raw)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "", "1,5", " 1", 1.5, None, True])
def test_mids_that_are_not_decimal_strings_are_refused(price: Any) -> None:
    with pytest.raises(DecodeError, match="BTC"):
        parse_mids({"BTC": price})


def test_contexts_must_match_the_universe() -> None:
    with pytest.raises(DecodeError, match="1 assets but 0 contexts"):
        parse_contexts([{"universe": [{"name": "BTC", "szDecimals": 5, "maxLeverage": 40}]}, []])


def test_the_account_mode_is_a_bare_text() -> None:
    assert parse_account_mode("unifiedAccount") == "unifiedAccount"
    for raw in (None, "", {"abstraction": "default"}, ["default"]):
        with pytest.raises(DecodeError):
            parse_account_mode(raw)


def test_exchange_status_tells_special_conditions() -> None:
    assert parse_exchange_status({"time": 5, "specialStatuses": None}).special_statuses is None
    status = parse_exchange_status({"time": 5, "specialStatuses": {"paused": True}})
    assert status.special_statuses is not None
    with pytest.raises(DecodeError, match="specialStatuses"):
        parse_exchange_status({"time": 5})
