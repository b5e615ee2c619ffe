"""The platform as a demo runs it, on ports of its own, trading all the time, on a faulty venue."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

from chaos.records import Records
from chaos.venue import VenueAdmin
from demo.credentials import keep_credentials
from demo.layout import DemoPaths, load_plan
from demo.running import RunningDemo, spare_environ
from shared.config import load_secrets
from shared.database import make_engine

WORKLOAD = {
    # Few runs that change their minds with every other price: reversals all the time.
    "T3__providence__desired_run_count": "24",
    "T3__providence__entropy__orders": "[3]",
    "T3__providence__entropy__delays": "[1]",
    "T3__providence__entropy__windows": "[10, 20]",
    "T3__providence__lookbacks": "[2, 4]",
    "T3__providence__dead_band": "[0.0, 0.0]",
    "T3__reconciliation_engine__live_pnl_threshold": "-1000000000",
    "T3__reconciliation_engine__minimum_trade_threshold": "200",
    "T3__reconciliation_engine__rebalance_frequency": "1.0",
    # Looks come fifteen times as often as in config.yml, so requests may, too.
    "T3__exchanges__hyperliquid__rate_budget_per_minute": "13500",
    # Everything that waits waits briefly, in the proportions of config.yml.
    "T3__reconciliation_engine__observer_timeout_secs": "1.0",
    "T3__reconciliation_engine__gateway_timeout_secs": "5.0",
    "T3__exchanges__hyperliquid__timeout_secs": "3.0",
    "T3__exchanges__hyperliquid__breaker_reset_secs": "3.0",
    "T3__exchanges__hyperliquid__stream_watchdog_secs": "4.0",
    "T3__order_gateway__expires_after_secs": "5.0",
    "T3__order_gateway__evidence_margin_secs": "1.5",
    "T3__order_gateway__resolve_interval_secs": "0.5",
    "T3__risk__max_orders_per_minute": "600",
    "T3__celery__visibility_timeout_secs": "10",
    "T3__celery__schedules__watch_for_alerts": "2.0",
}


class RunningPlatform(RunningDemo):
    """A demo that trades without end, on a venue that takes faults."""

    def __init__(self, home: Path) -> None:
        own = {
            "T3__risk__audit_trail": str(home / "audit" / "audit_trail.jsonl"),
            "T3__order_gateway__emergency_journal": str(home / "audit" / "emergency.jsonl"),
        }
        plan = load_plan(DemoPaths(home), spare_environ(os.environ, **WORKLOAD, **own))
        token = secrets.token_hex(32)
        # Without limits of its own: what a client may ask is bounded by the platform's budget.
        options = (f"--admin-token={token}", "--no-rate-limit")
        super().__init__(replace(plan, venue_options=options))
        self.admin = VenueAdmin(plan.settings.paper_exchange.url, token)

    def records(self) -> Records:
        """Access to what the platform and the venue wrote down; the servers must be up."""
        settings = self.plan.settings
        engine = make_engine(settings, load_secrets(self.plan.paths.service_secrets))
        wallet = keep_credentials(self.plan.paths).wallet_address
        return Records(engine, self.admin, wallet, settings)

    def wait_started(self, secs: float) -> None:
        """Wait for the first fill and the account at its target; raises DemoError."""
        self.wait(self.has_filled, secs, "a filled and reconciled order")
