"""Wire and run: follow ``balance:updated`` until SIGTERM."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared import service
from shared.clock import SystemClock
from shared.config import Secrets, Settings
from shared.database import make_engine, make_redis
from shared.exchange_manager import ExchangeManager
from shared.risk.account_epochs import EpochRules
from shared.storage import redis_keys
from shared.storage.balance_stream import BalanceEntryError, decode_balance
from shared.storage.consumer_group import ConsumerGroup, Entry
from take_profit.service import TakeProfit
from take_profit.venue_ledger import VenueLedger

log = structlog.get_logger(__name__)

GROUP = "take_profit"
BATCH = 100
BLOCK_MS = 1_000
REQUIRED = ("exchanges.hyperliquid.walletAddress",)


def body(settings: Settings, secrets: Secrets, stop: threading.Event) -> None:
    """The service, between its configuration and its end."""
    client = make_redis(settings, secrets)
    member = f"{socket.gethostname()}:{os.getpid()}"
    group = ConsumerGroup(client, redis_keys.BALANCE_STREAM, GROUP, member)
    wallet = secrets.exchanges.hyperliquid.walletAddress
    judge = TakeProfit(
        engine=make_engine(settings, secrets),
        ledger=VenueLedger(ExchangeManager.get(settings, wallet, client)),
        clock=SystemClock(),
        rules=EpochRules(
            threshold=settings.take_profit.threshold,
            drawdown_reset=settings.take_profit.drawdown_reset,
            baseline_samples=settings.take_profit.baseline_samples,
        ),
        max_age_ms=round(settings.reconciliation_engine.max_balance_age_secs * 1000),
    )
    service.wait_for("redis", group.join, (redis.RedisError,), stop)
    while not stop.is_set():
        try:
            step(group, judge)
        except (redis.RedisError, SQLAlchemyError) as error:
            # what was not acknowledged is pending and comes again
            log.warning("balance_not_judged", error=str(error))
            stop.wait(1.0)
            service.wait_for("redis", group.join, (redis.RedisError,), stop)


def step(group: ConsumerGroup, judge: TakeProfit, block_ms: int = BLOCK_MS) -> int:
    """Judge what is pending (own, then abandoned by others) and one batch of new entries."""
    handled = _handle(group, judge, group.own_pending(BATCH))
    for entries in group.abandoned(BATCH):
        handled += _handle(group, judge, entries)
    return handled + _handle(group, judge, group.read(BATCH, block_ms))


def _handle(group: ConsumerGroup, judge: TakeProfit, entries: Sequence[Entry]) -> int:
    for entry in entries:
        entry_id, fields = entry
        if fields:  # else it was trimmed from the stream while it was pending
            try:
                judge.handle(decode_balance(fields, entry_id))
            except BalanceEntryError as error:
                # reading it again cannot help, so it is acknowledged like the others
                log.warning("entry_not_understood", reason=str(error))
        group.acknowledge([entry])
    return len(entries)


if __name__ == "__main__":
    sys.exit(service.run("take_profit", body, require=REQUIRED))
