"""Composition root: the one place that picks the real parts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from order_gateway.account import AccountView
from order_gateway.clock import wall_ms
from order_gateway.connections import make_pooled_engine
from order_gateway.dead_man import DeadManSwitch
from order_gateway.emergency import EmergencyJournal
from order_gateway.emergency_exits import EmergencyExits
from order_gateway.exits import Exits
from order_gateway.fills import FillsConsumer
from order_gateway.guard import RiskGuard
from order_gateway.in_flight import InFlight
from order_gateway.journal import Journal
from order_gateway.lease_keeper import LeaseKeeper
from order_gateway.leverage import LeverageSetter
from order_gateway.markets import Markets
from order_gateway.nonces import NonceAllocator
from order_gateway.prices import PriceReader
from order_gateway.publisher import OrderPublisher
from order_gateway.readiness import Readiness
from order_gateway.resolver import Resolver
from order_gateway.risk_gate import RiskGate, limits_of
from order_gateway.runtime import Runtime
from order_gateway.sender import ActionSender
from order_gateway.service import OrderService
from shared.config import Secrets, Settings
from shared.database import make_redis
from shared.exchange.signing import ActionSigner
from shared.exchange_manager import ExchangeManager
from shared.orders.evidence import EvidenceRules
from shared.risk.audit import AuditTrail

EVIDENCE_SPACING_MS = 1_000


@dataclass(frozen=True)
class Gateway:
    """What the API needs."""

    service: OrderService
    exits: Exits
    guard: RiskGuard
    journal: Journal
    readiness: Readiness
    audit: AuditTrail
    runtime: Runtime
    manager: ExchangeManager
    token: str
    max_body_bytes: int


def build(settings: Settings, secrets: Secrets, on_crash: Callable[[], None]) -> Gateway:
    """Wire a gateway; raises ``ValueError`` for an unusable key, ``AuditError`` for the trail."""
    hyperliquid = secrets.exchanges.hyperliquid
    gateway = settings.order_gateway
    wallet = hyperliquid.walletAddress.lower()
    signer = ActionSigner.from_key(
        hyperliquid.privateKey, mainnet=settings.venue.network == "mainnet"
    )
    audit = AuditTrail(settings.risk.audit_trail)
    engine = make_pooled_engine(settings, secrets)
    client = make_redis(settings, secrets)
    manager = ExchangeManager(settings, wallet, client)
    limits = limits_of(settings.risk)
    readiness = Readiness()
    keeper = LeaseKeeper(engine)
    journal = Journal(engine, keeper, signer.address, wall_ms)
    nonces = NonceAllocator(wall_ms)
    sender = ActionSender(manager.transport)
    markets = Markets(gateway.leverage)
    account = AccountView(manager, wall_ms)
    risk = RiskGate(limits, account, wall_ms)
    guard = RiskGuard(
        engine=engine,
        manager=manager,
        account=account,
        limits=limits,
        audit=audit,
        readiness=readiness,
        pause_on_external_fill=gateway.pause_on_external_fill,
        clock_ms=wall_ms,
    )
    in_flight = InFlight()
    traded = threading.Event()
    leverage = LeverageSetter(
        manager=manager,
        markets=markets,
        journal=journal,
        signer=signer,
        nonces=nonces,
        sender=sender,
    )
    emergency = EmergencyExits(
        journal=EmergencyJournal(gateway.emergency_journal),
        sender=sender,
        engine=engine,
        signer=signer.address,
        clock_ms=wall_ms,
    )
    service = OrderService(
        settings=gateway,
        wallet=wallet,
        journal=journal,
        markets=markets,
        prices=PriceReader(client, manager, limits.max_price_age_ms),
        account=account,
        risk=risk,
        signer=signer,
        nonces=nonces,
        sender=sender,
        publisher=OrderPublisher(client),
        audit=audit,
        readiness=readiness,
        in_flight=in_flight,
        leverage=leverage,
        emergency=emergency,
        clock_ms=wall_ms,
        on_trade=traded.set,
    )
    resolver = Resolver(
        journal=journal,
        service=service,
        manager=manager,
        in_flight=in_flight,
        rules=EvidenceRules(
            margin_ms=round(gateway.evidence_margin_secs * 1000), spacing_ms=EVIDENCE_SPACING_MS
        ),
        clock_ms=wall_ms,
    )
    exits = Exits(
        journal=journal,
        service=service,
        resolver=resolver,
        markets=markets,
        account=account,
        signer=signer,
        nonces=nonces,
        sender=sender,
        audit=audit,
        cancel_expiry_ms=round(gateway.expires_after_secs * 1000),
        clock_ms=wall_ms,
    )
    fills = FillsConsumer(
        engine,
        manager,
        limits=limits,
        clock_ms=wall_ms,
        on_external=guard.external_fills,
        on_large_loss=guard.large_loss,
    )
    runtime = Runtime(
        journal=journal,
        service=service,
        keeper=keeper,
        nonces=nonces,
        markets=markets,
        manager=manager,
        risk=risk,
        guard=guard,
        account=account,
        fills=fills,
        resolver=resolver,
        exits=exits,
        leverage=leverage,
        emergency=emergency,
        dead_man=DeadManSwitch(
            journal=journal, signer=signer, nonces=nonces, sender=sender, clock_ms=wall_ms
        ),
        readiness=readiness,
        symbols=settings.reconciliation_engine.symbols,
        resolve_interval_secs=gateway.resolve_interval_secs,
        resting_ttl_ms=round(gateway.resting_ttl_secs * 1000),
        clock_ms=wall_ms,
        on_crash=on_crash,
        traded=traded,
    )
    return Gateway(
        service=service,
        exits=exits,
        guard=guard,
        journal=journal,
        readiness=readiness,
        audit=audit,
        runtime=runtime,
        manager=manager,
        token=secrets.order_gateway.token.get_secret_value(),
        max_body_bytes=gateway.max_body_bytes,
    )
