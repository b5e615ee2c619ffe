"""The state file: SQLite in WAL mode, one transaction per acknowledged action.

WAL with ``synchronous=NORMAL`` survives the death of the process at any moment; only a power cut
may take the last transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from paper_exchange.candles import KEPT_CANDLES, MINUTE_MS, Candle
from paper_exchange.codec import (
    dump_account,
    dump_fill,
    dump_order,
    load_account,
    load_fill,
    load_order,
)
from paper_exchange.feed import HISTORY_MINUTES, SavedPrices
from paper_exchange.nonces import NonceSet
from paper_exchange.orders import Order
from paper_exchange.prices import FloatArray
from paper_exchange.state import Changes, Venue

SCHEMA_VERSION = 1
LOCK_SECS = 2.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (address TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    oid INTEGER PRIMARY KEY, user TEXT NOT NULL, cloid TEXT, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_cloid ON orders (user, cloid) WHERE cloid IS NOT NULL;
CREATE TABLE IF NOT EXISTS fills (
    seq INTEGER PRIMARY KEY, user TEXT NOT NULL, tid INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, user TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS nonces (
    signer TEXT NOT NULL, nonce INTEGER NOT NULL, PRIMARY KEY (signer, nonce)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (time_ms INTEGER PRIMARY KEY, prices BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS candles (
    coin TEXT NOT NULL, open_ms INTEGER NOT NULL, open REAL NOT NULL, high REAL NOT NULL,
    low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL, trades INTEGER NOT NULL,
    PRIMARY KEY (coin, open_ms)) WITHOUT ROWID;
"""
LEDGER, FUNDING, RATE = "ledger", "funding", "rate"


class StoreError(RuntimeError):
    """A state file that cannot be opened or belongs to another version."""


class Store:
    """One open state file (``:memory:`` keeps nothing)."""

    def __init__(self, path: str) -> None:
        try:
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=LOCK_SECS, isolation_level=None, check_same_thread=False
            )
            # One venue per state file: a second one finds it locked.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
            self._check_version(path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: cannot open the state file: {error}") from error

    def _check_version(self, path: str) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(f"{path}: state of version {version}, this program needs 1")
        self._db.execute("PRAGMA user_version=1")

    def close(self) -> None:
        self._db.close()

    def transaction(self) -> Transaction:
        return Transaction(self._db)

    # --- write ----------------------------------------------------------------------------

    def save(self, venue: Venue, changes: Changes) -> None:
        """Commit everything that changed; afterwards it may be acknowledged."""
        with self.transaction():
            self._save_accounts_and_orders(venue, changes)
            self._db.executemany(
                "INSERT INTO fills (user, tid, body) VALUES (?, ?, ?)",
                [(fill.user, fill.tid, dump_fill(fill)) for fill in changes.fills],
            )
            events = [(LEDGER, user, orjson.dumps(body)) for user, body in changes.ledger]
            events += [(FUNDING, user, orjson.dumps(body)) for user, body in changes.fundings]
            events += [(RATE, body["coin"], orjson.dumps(body)) for body in changes.rates]
            self._db.executemany("INSERT INTO events (kind, user, body) VALUES (?, ?, ?)", events)
            for signer, nonce, dropped in changes.nonces:
                self._db.execute("INSERT INTO nonces VALUES (?, ?)", (signer, nonce))
                if dropped is not None:
                    self._db.execute(
                        "DELETE FROM nonces WHERE signer = ? AND nonce = ?", (signer, dropped)
                    )

    def _save_accounts_and_orders(self, venue: Venue, changes: Changes) -> None:
        self._db.executemany(
            "INSERT INTO accounts VALUES (?, ?) "
            "ON CONFLICT (address) DO UPDATE SET body = excluded.body",
            [(a, dump_account(venue.accounts[a])) for a in sorted(changes.accounts)],
        )
        self._db.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?) "
            "ON CONFLICT (oid) DO UPDATE SET body = excluded.body",
            [(o.oid, o.user, o.cloid, dump_order(o)) for o in changes.orders.values()],
        )
        counters = [venue.next_oid, venue.next_tid, venue.tx_count, venue.last_funding_hour]
        self._set_fact("counters", counters)

    def _set_fact(self, name: str, value: Any) -> None:
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, orjson.dumps(value)),
        )

    def _fact(self, name: str) -> Any:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else orjson.loads(row[0])

    def save_prices(
        self,
        coins: Iterable[str],
        samples: Iterable[tuple[int, FloatArray]],
        positions: dict[str, float],
        candles: Iterable[tuple[str, Candle]],
    ) -> None:
        """Keep the fair price of every second, finished candles and the sources' positions."""
        with self.transaction():
            self._set_fact("coins", list(coins))
            self._set_fact("positions", positions)
            self._db.executemany(
                "INSERT OR REPLACE INTO samples VALUES (?, ?)",
                [(time_ms, values.tobytes()) for time_ms, values in samples],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO candles VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (coin, c.open_ms, c.open, c.high, c.low, c.close, c.volume, c.trades)
                    for coin, c in candles
                ],
            )

    def prune_prices(self, now_ms: int) -> None:
        """Forget prices older than the history that the venue serves."""
        with self.transaction():
            oldest = now_ms - HISTORY_MINUTES * MINUTE_MS
            self._db.execute("DELETE FROM samples WHERE time_ms < ?", (oldest,))
            oldest = now_ms - KEPT_CANDLES * MINUTE_MS
            self._db.execute("DELETE FROM candles WHERE open_ms < ?", (oldest,))

    # --- read -----------------------------------------------------------------------------

    def load_prices(self, now_ms: int) -> SavedPrices | None:
        """Prices to continue from, or None for a new state."""
        coins = self._fact("coins")
        if coins is None:
            return None
        rows = self._db.execute("SELECT time_ms, prices FROM samples ORDER BY time_ms").fetchall()
        if not rows:
            return None
        samples = np.array([np.frombuffer(row[1]) for row in rows])
        by_coin: dict[str, list[Candle]] = {}
        query = (
            "SELECT coin, open_ms, open, high, low, close, volume, trades FROM candles "
            "WHERE open_ms >= ? ORDER BY coin, open_ms"
        )
        for coin, *values in self._db.execute(query, (now_ms - KEPT_CANDLES * MINUTE_MS,)):
            by_coin.setdefault(coin, []).append(Candle(*values))
        return SavedPrices(
            coins=tuple(coins),
            times_ms=np.array([row[0] for row in rows], dtype=np.int64),
            samples=samples,
            positions=self._fact("positions") or {},
            candles=by_coin,
        )

    def load_into(self, venue: Venue) -> None:
        """Bring back accounts, orders, fills, events, nonces and counters."""
        counters = self._fact("counters")
        if counters is None:
            return
        venue.next_oid, venue.next_tid, venue.tx_count, venue.last_funding_hour = counters
        for address, raw in self._db.execute("SELECT address, body FROM accounts"):
            account = load_account(address, raw)
            venue.accounts[address] = account
            venue.agent_masters |= dict.fromkeys(account.agents, address)
        for (raw,) in self._db.execute("SELECT body FROM orders ORDER BY oid"):
            venue.index_order(load_order(raw))
        for (raw,) in self._db.execute("SELECT body FROM fills ORDER BY seq"):
            venue.record_fill(load_fill(raw))
        self._load_events(venue)
        nonces: dict[str, list[int]] = {}
        for signer, nonce in self._db.execute("SELECT signer, nonce FROM nonces"):
            nonces.setdefault(signer, []).append(nonce)
        venue.nonces = {signer: NonceSet(values) for signer, values in nonces.items()}
        venue.take_changes()

    def _load_events(self, venue: Venue) -> None:
        for kind, user, raw in self._db.execute("SELECT kind, user, body FROM events ORDER BY seq"):
            body = orjson.loads(raw)
            if kind == LEDGER:
                venue.add_ledger_entry(user, body)
            elif kind == FUNDING:
                venue.record_funding(user, body)
            else:
                venue.add_funding_rate(body)

    def find_order(self, user: str, key: int | str) -> Order | None:
        """An order by oid or cloid, also one too old to be in memory."""
        column = "cloid" if isinstance(key, str) else "oid"
        queries = {
            "cloid": "SELECT body FROM orders WHERE user = ? AND cloid = ? ORDER BY oid DESC",
            "oid": "SELECT body FROM orders WHERE user = ? AND oid = ?",
        }
        row = self._db.execute(queries[column], (user, key)).fetchone()
        return None if row is None else load_order(row[0])

    def all_orders(self) -> Iterator[Order]:
        for (raw,) in self._db.execute("SELECT body FROM orders ORDER BY oid"):
            yield load_order(raw)

    def all_fills(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """User and ``userFills`` payload of every fill ever, oldest first."""
        for user, raw in self._db.execute("SELECT user, body FROM fills ORDER BY seq"):
            yield user, load_fill(raw).payload()


class Transaction:
    """``with`` block: commit at its end, roll back on an exception."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
