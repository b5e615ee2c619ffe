"""What looks on while a backtest runs, and keeps what it needs of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shared.providence.codes import Reason
from shared.providence.market import TickBlock
from shared.providence.run_state import Records, join
from shared.providence.step import Fills
from shared.research.account import AccountBlock, Orders
from shared.research.quiet import ORDER_DTYPE
from shared.risk.account_epochs import EpochEnd

DAY_MS: Final = 86_400_000
ROWS_PER_GROUP: Final = 100_000
_REASONS: Final = np.array([reason.name.lower() for reason in Reason], dtype=object)


@dataclass(frozen=True, slots=True)
class EpochMark:
    """The end of an epoch of the account: ``height`` is 0 for a drawdown reset."""

    tick_ms: int
    end: EpochEnd
    height: int
    equity: float


class Observer:
    """Told of everything in the order of time; this one does nothing with it."""

    def market(self, block: TickBlock) -> None:
        """Ticks that come next, as the kernel sees them."""

    def fills(self, fills: Fills) -> None:
        """Virtual fills by tick, then run; valid during the call only."""

    def account(self, block: AccountBlock) -> None:
        """The account at consecutive ticks."""

    def epoch(self, mark: EpochMark) -> None:
        """An epoch of the account has ended at a tick that was told of."""

    def ended(self, runs: Records) -> None:
        """Runs that will not be stepped again."""

    def close(self) -> None:
        """Nothing more will come."""


class Journal(Observer):
    """SHA-256 of all virtual fills by tick, then run, in the bytes of ``FILL_DTYPE``."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0
        self.fees_usd = 0.0

    def fills(self, fills: Fills) -> None:
        if not len(fills):
            return
        self._hash.update(np.ascontiguousarray(fills).data)
        self.count += len(fills)
        self.fees_usd += float(fills["fee"].sum())

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._hash.hexdigest()


class EquityCurve(Observer):
    """The account's equity, gross and net notional at every tick."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._orders: list[Orders] = []
        self.epochs: list[EpochMark] = []

    def account(self, block: AccountBlock) -> None:
        self._parts.append((block.tick_ms, block.equity, block.gross_usd, block.net_usd))
        if len(block.orders):
            self._orders.append(block.orders)

    def epoch(self, mark: EpochMark) -> None:
        self.epochs.append(mark)

    @property
    def orders(self) -> int:
        """Fills of the account so far."""
        return sum(map(len, self._orders))

    @property
    def traded_usd(self) -> float:
        """Notional traded so far."""
        return float(sum(traded for traded, _ in self.by_day().values()))

    @property
    def costs_usd(self) -> float:
        """Fees and slippage paid so far."""
        return float(sum(paid for _, paid in self.by_day().values()))

    def by_day(self) -> dict[int, tuple[float, float]]:
        """UTC day (days since 1970) -> notional traded and costs paid, USD."""
        if not self._parts:
            return {}
        orders = np.concatenate(self._orders or [np.empty(0, dtype=ORDER_DTYPE)])
        first = int(self._parts[0][0][0] // DAY_MS)
        days = int(self._parts[-1][0][-1] // DAY_MS) - first + 1
        at = orders["tick"] // DAY_MS - first
        size = np.abs(orders["size"])
        traded = np.bincount(at, size * orders["price"], days)
        costs = orders["fee"] + size * np.abs(orders["price"] - orders["mid"])
        paid = np.bincount(at, costs, days)
        rows = zip(traded.tolist(), paid.tolist(), strict=True)
        return {first + day: row for day, row in enumerate(rows)}

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Times (ms), equity, gross and net notional (USD)."""
        if not self._parts:
            empty = np.empty(0)
            return np.empty(0, dtype=np.int64), empty, empty, empty
        tick_ms, equity, gross, net = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        return tick_ms, equity, gross, net


class ParquetFiles(Observer):
    """``trades`` (virtual fills), ``orders``, ``equity`` and ``runs`` as Parquet, as they come."""

    def __init__(
        self, folder: Path, symbols: tuple[str, ...], product_ids: tuple[int, ...]
    ) -> None:
        self._folder = folder
        self._symbols = symbols
        self._names = np.full(max(product_ids) + 1, "", dtype=object)
        self._names[list(product_ids)] = symbols
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[NDArray[np.void]]] = {}
        self._rows: dict[str, int] = {}
        self._equity = np.dtype(
            [
                ("tick", "<i8"),
                ("equity", "<f8"),
                ("gross_usd", "<f8"),
                ("net_usd", "<f8"),
                *((f"position_{symbol}", "<f8") for symbol in symbols),
            ]
        )

    def fills(self, fills: Fills) -> None:
        if len(fills):
            self._add("trades", fills.copy())

    def account(self, block: AccountBlock) -> None:
        rows = np.empty(len(block.tick_ms), dtype=self._equity)
        rows["tick"], rows["equity"] = block.tick_ms, block.equity
        rows["gross_usd"], rows["net_usd"] = block.gross_usd, block.net_usd
        for column, symbol in enumerate(self._symbols):
            rows[f"position_{symbol}"] = block.position[:, column]
        self._add("equity", rows)
        if len(block.orders):
            self._add("orders", block.orders)

    def ended(self, runs: Records) -> None:
        if len(runs):
            self._add("runs", runs)

    def close(self) -> None:
        for name in list(self._waiting):
            self._flush(name)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _add(self, name: str, rows: NDArray[np.void]) -> None:
        self._waiting.setdefault(name, []).append(rows)
        self._rows[name] = self._rows.get(name, 0) + len(rows)
        if self._rows[name] >= ROWS_PER_GROUP:
            self._flush(name)

    def _flush(self, name: str) -> None:
        waiting = self._waiting.pop(name)
        rows = join(waiting) if name == "runs" else np.concatenate(waiting)
        self._rows[name] = 0
        columns = _plain(rows)
        if name in ("trades", "runs"):
            columns["symbol"] = self._names[rows["product_id"]]
        if name == "trades":
            columns["reason"] = _REASONS[rows["reason"]]
        if name == "orders":
            columns["symbol"] = np.array(self._symbols, dtype=object)[rows["column"]]
        table = pa.table({key: pa.array(values) for key, values in columns.items()})
        if name not in self._writers:
            path = self._folder / f"{name}.parquet"
            self._writers[name] = pq.ParquetWriter(path, table.schema, compression="zstd")
        self._writers[name].write_table(table)


def _plain(rows: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """Contiguous columns in the machine's byte order."""
    columns = {}
    for name in rows.dtype.names or ():
        column = np.ascontiguousarray(rows[name])
        columns[name] = column.astype(column.dtype.newbyteorder("="))
    return columns
