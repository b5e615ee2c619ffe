"""What people do to a running platform: by the commands they have, or past the gateway."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal

import structlog
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.utils.types import Cloid

from chaos.checker import FOREIGN_CLOID
from chaos.records import Records
from demo.credentials import keep_credentials
from demo.layout import DemoPlan
from shared.exchange.precision import OrderFilters

log = structlog.get_logger(__name__)

REASON = "chaos wants it"
TRADE_USD = Decimal(300)
COMMAND_SECS = 60.0


class Person:
    """Holds the switches of a platform, and trades its account by hand."""

    def __init__(self, plan: DemoPlan) -> None:
        self._plan = plan

    def set_kill_switch(self) -> bool:
        """By the command line, from a process of its own; whether the gateway took it."""
        return self._command("kill-switch", "set", "--reason", REASON)

    def go_on(self, records: Records) -> None:
        """After a halt: resume what is paused, lift the switch."""
        for symbol in records.paused():
            self._command("resume", symbol, "--reason", REASON)
        if records.is_switched():
            self._command("kill-switch", "lift", "--reason", REASON)

    def trade(self, symbol: str) -> bool:
        """Buy a little past the gateway; whether it was filled."""
        credentials = keep_credentials(self._plan.paths)
        url = self._plan.settings.paper_exchange.url
        return trade(url, credentials.agent_key, credentials.wallet_address, symbol)

    def _command(self, *arguments: str) -> bool:
        environ = {**self._plan.environ, "T3_SECRETS": str(self._plan.paths.gateway_secrets)}
        done = subprocess.run(
            [sys.executable, "-m", "order_gateway.cli", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECS,
            check=False,
        )
        log.info("by_hand", command=arguments, code=done.returncode, said=done.stderr.strip())
        return done.returncode == 0


def trade(venue_url: str, key: str, wallet: str, symbol: str) -> bool:
    """Buy for ``TRADE_USD`` with a key of the account at the venue itself; whether it took it."""
    client = Exchange(Account.from_key(key), venue_url, account_address=wallet)
    mid = Decimal(client.info.all_mids()[symbol])
    decimals = client.info.asset_to_sz_decimals[client.info.name_to_asset(symbol)]
    size = OrderFilters(decimals).round_size(TRADE_USD / mid)
    digits = 34 - len(FOREIGN_CLOID)
    cloid = Cloid(f"{FOREIGN_CLOID}{time.time_ns():0{digits}x}")
    reply = client.market_open(symbol, True, float(size), cloid=cloid)
    log.info("traded_past_the_gateway", symbol=symbol, reply=reply)
    return bool(reply["status"] == "ok")
