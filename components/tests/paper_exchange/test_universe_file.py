"""Universe files: what is wrong is named with the file, the field and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paper_exchange.universe_file import UniverseError, load_universe

MARKET = {
    "name": "KPEPE",
    "szDecimals": 0,
    "maxLeverage": 10,
    "marginTableId": 10,
    "referencePx": 0.0123,
}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "universe.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def dexes(*markets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"dexes": [{"name": "", "universe": list(markets)} | changes]}


def test_tiers_and_builder_dexes_are_read(tmp_path: Path) -> None:
    tiers = [{"lowerBound": "0.0", "maxLeverage": 40}, {"lowerBound": "5e6", "maxLeverage": 20}]
    content = dexes(MARKET | {"marginTableId": 56}, marginTables=[[56, {"marginTiers": tiers}]])
    content["dexes"].append(
        {"name": "ab", "universe": [MARKET | {"name": "ab:X", "onlyIsolated": True}]}
    )
    universe = load_universe(write(tmp_path, content))
    first, second = universe.assets
    assert [tier.max_leverage for tier in first.margin_table.tiers] == [40, 20]
    assert (second.asset_id, second.only_isolated, second.max_leverage) == (110_000, True, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "Invalid JSON"),
        ([MARKET], "Input should be an object"),
        ({}, "dexes: Field required"),
        ({"dexes": []}, "dexes: Tuple should have at least 1 item"),
        (dexes(), "dexes.0.universe: Tuple should have at least 1 item"),
        (dexes(MARKET, name="ab"), "coin 'KPEPE' of dex 'ab' must be named ab:SYMBOL"),
        (dexes(MARKET | {"name": "ab:X"}, name="ab"), 'must have the empty name ""'),
        (dexes(MARKET, MARKET), "dexes.0: coin 'KPEPE' is there twice"),
        (dexes(MARKET | {"marginTableId": 99}), "marginTableId 99 is not among marginTables"),
        (dexes(MARKET | {"szDecimals": 7}), "dexes.0.universe.0.szDecimals: Input should be less"),
        (dexes(MARKET | {"referencePx": 0}), "universe.0.referencePx: Input should be greater"),
        (dexes(MARKET | {"maxLeverage": -3}), "universe.0.maxLeverage: Input should be greater"),
        (dexes(MARKET | {"marginMode": "odd"}), "universe.0.marginMode: Input should be 'noCross'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UniverseError) as refused:
        load_universe(path)
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


def test_a_price_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(dexes(MARKET | {"referencePx": float("nan")})))
    with pytest.raises(UniverseError, match="referencePx"):
        load_universe(path)
