"""What a backtest has to know of a market beside its prices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.research.errors import ResearchError
from shared.research.tables import is_table

QUOTES: Final = ("USDT", "USDC", "USD", "")


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """One symbol: decimals of a size (0 to 8) and the largest leverage the venue grants."""

    symbol: str
    sz_decimals: int
    max_leverage: float


KNOWN: Final = {
    spec.symbol: spec
    for spec in (
        MarketSpec("BTC", 5, 40.0),
        MarketSpec("ETH", 4, 25.0),
        MarketSpec("SOL", 2, 20.0),
        MarketSpec("HYPE", 2, 10.0),
        MarketSpec("XRP", 0, 20.0),
    )
}
"""As HyperLiquid listed them in 2025."""
OTHER_DECIMALS: Final = 2
OTHER_LEVERAGE: Final = 3.0
"""What the venue grants to small coins; more would flatter."""


def spec_of(symbol: str) -> MarketSpec:
    """The market of a symbol; one that is not known gets the terms of a small coin."""
    return KNOWN.get(symbol, MarketSpec(symbol, OTHER_DECIMALS, OTHER_LEVERAGE))


def find_files(arguments: Iterable[str], symbols: Iterable[str]) -> list[tuple[str, Path]]:
    """(symbol, path) of every file named by ``SYMBOL=path``, a path, or a folder.

    Without ``SYMBOL=`` the name of a file must hold one of ``symbols`` as a word (``BTC``,
    ``BTCUSDT``); in a folder, files of other symbols are passed over.

    Raises
    ------
    ResearchError
        If nothing is found, a path does not exist or a file's symbol cannot be told.
    """
    known = tuple(symbols)
    found: list[tuple[str, Path]] = []
    for argument in arguments:
        symbol, separator, rest = argument.partition("=")
        if separator and not Path(argument).exists():
            found.append((symbol, _existing(Path(rest))))
            continue
        path = _existing(Path(argument))
        if path.is_dir():
            found += _in_folder(path, known)
            continue
        named = symbol_in(path.name, known)
        if named is None:
            raise ResearchError(
                f"{path}: the name holds none of {', '.join(known)}; give it as SYMBOL=path"
            )
        found.append((named, path))
    if not found:
        raise ResearchError("no data file was given; allowed are .csv, .csv.gz and .parquet files")
    return found


def symbol_in(name: str, symbols: Iterable[str]) -> str | None:
    """The symbol that a file name holds as a word, with or without a quote currency."""
    words = re.split(r"[^A-Za-z0-9]+", name.upper())
    for word in words:
        for quote in QUOTES:
            stem = word.removesuffix(quote) if quote else word
            for symbol in symbols:
                if stem and stem == symbol.upper():
                    return symbol
    return None


def _in_folder(folder: Path, symbols: tuple[str, ...]) -> list[tuple[str, Path]]:
    named = ((symbol_in(path.name, symbols), path) for path in sorted(folder.iterdir()))
    return [(symbol, path) for symbol, path in named if symbol is not None and is_table(path)]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ResearchError(f"{path}: there is no such file or folder")
    return path
