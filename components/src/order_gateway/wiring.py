"""Composition root: the one place that picks the real parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from threading import Event

from redis import Redis
from sqlalchemy import Engine

from order_gateway.account import AccountView
from order_gateway.account_mode import AccountModeCheck
from order_gateway.audit_writer import AuditWriter
from order_gateway.clock import wall_ms
from order_gateway.connections import make_pooled_engine
from order_gateway.day_keeper import DayKeeper
from order_gateway.dead_man import DeadManSwitch
from order_gateway.emergency import EmergencyJournal
from order_gateway.emergency_exits import EmergencyExits
from order_gateway.exits import Exits
from order_gateway.fill_hints import FillHints
from order_gateway.fills import FillsConsumer
from order_gateway.guard import RiskGuard
from order_gateway.in_flight import InFlight
from order_gateway.journal import Journal
from order_gateway.kept_switch import SwitchFile
from order_gateway.lease_keeper import LeaseKeeper
from order_gateway.ledger import TransferReader
from order_gateway.leverage import LeverageSetter
from order_gateway.markets import Markets
from order_gateway.nonces import NonceAllocator
from order_gateway.order_check import OrderCheck
from order_gateway.prices import PriceReader
from order_gateway.publisher import OrderPublisher
from order_gateway.readiness import Readiness
from order_gateway.resolver import Resolver
from order_gateway.risk_gate import RiskGate, limits_of
from order_gateway.runtime import Runtime
from order_gateway.sender import ActionSender
from order_gateway.service import OrderService
from order_gateway.signing_desk import SigningDesk
from shared.config import Secrets, Settings
from shared.database import make_redis
from shared.exchange.action_budget import ActionBudget
from shared.exchange.signing import ActionSigner
from shared.exchange_manager import ExchangeManager
from shared.orders.evidence import EvidenceRules
from shared.risk.audit import AuditTrail
from shared.risk.limits import RiskLimits

EVIDENCE_SPACING_MS = 1_000
KEPT_SWITCH = "kill_switch.json"
"""Beside the emergency journal."""


@dataclass(frozen=True)
class Gateway:
    """What the API needs."""

    service: OrderService
    exits: Exits
    guard: RiskGuard
    journal: Journal
    readiness: Readiness
    audit: AuditWriter
    trail: AuditTrail
    runtime: Runtime
    manager: ExchangeManager
    token: str
    max_body_bytes: int


@dataclass(frozen=True)
class _Edges:
    """What touches the outside, and the state that everything else shares."""

    settings: Settings
    wallet: str
    engine: Engine
    client: Redis
    manager: ExchangeManager
    trail: AuditTrail
    audit: AuditWriter
    limits: RiskLimits
    readiness: Readiness
    keeper: LeaseKeeper
    signer: ActionSigner
    journal: Journal
    nonces: NonceAllocator
    desk: SigningDesk
    sender: ActionSender
    markets: Markets
    account: AccountView
    risk: RiskGate
    in_flight: InFlight
    traded: Event


@dataclass(frozen=True)
class _Orders:
    """What carries out, settles and ends orders."""

    service: OrderService
    resolver: Resolver
    exits: Exits
    leverage: LeverageSetter
    emergency: EmergencyExits


def build(settings: Settings, secrets: Secrets, on_crash: Callable[[], None]) -> Gateway:
    """Wire a gateway; raises ``ValueError`` for an unusable key, ``AuditError`` for the trail."""
    edges = _edges(settings, secrets)
    orders = _orders(edges)
    guard = _guard(edges)
    return Gateway(
        service=orders.service,
        exits=orders.exits,
        guard=guard,
        journal=edges.journal,
        readiness=edges.readiness,
        audit=edges.audit,
        trail=edges.trail,
        runtime=_runtime(edges, orders, guard, on_crash),
        manager=edges.manager,
        token=secrets.order_gateway.token.get_secret_value(),
        max_body_bytes=settings.order_gateway.max_body_bytes,
    )


def _edges(settings: Settings, secrets: Secrets) -> _Edges:
    hyperliquid = secrets.exchanges.hyperliquid
    wallet = hyperliquid.walletAddress.lower()
    mainnet = settings.venue.network == "mainnet"
    signer = ActionSigner.from_key(hyperliquid.privateKey, mainnet=mainnet)
    engine = make_pooled_engine(settings, secrets)
    client = make_redis(settings, secrets)
    manager = ExchangeManager(settings, wallet, client)
    limits = limits_of(settings.risk)
    keeper = LeaseKeeper(engine)
    journal = Journal(engine, keeper, signer.address, wall_ms)
    nonces = NonceAllocator(wall_ms)
    account = AccountView(manager, wall_ms)
    trail = AuditTrail(settings.risk.audit_trail)
    readiness = Readiness()
    return _Edges(
        settings=settings,
        wallet=wallet,
        engine=engine,
        client=client,
        manager=manager,
        trail=trail,
        audit=AuditWriter(trail, readiness, wall_ms),
        limits=limits,
        readiness=readiness,
        keeper=keeper,
        signer=signer,
        journal=journal,
        nonces=nonces,
        desk=SigningDesk(signer, nonces, journal),
        sender=ActionSender(manager.transport, ActionBudget(manager.transport, client, wallet)),
        markets=Markets(settings.order_gateway.leverage),
        account=account,
        risk=RiskGate(limits, account, wall_ms),
        in_flight=InFlight(),
        traded=Event(),
    )


def _orders(edges: _Edges) -> _Orders:
    leverage = LeverageSetter(
        manager=edges.manager, markets=edges.markets, desk=edges.desk, sender=edges.sender
    )
    emergency = EmergencyExits(
        journal=EmergencyJournal(edges.settings.order_gateway.emergency_journal),
        sender=edges.sender,
        engine=edges.engine,
        signer=edges.signer.address,
        clock_ms=wall_ms,
    )
    service = _service(edges, leverage, emergency)
    resolver = Resolver(
        journal=edges.journal,
        service=service,
        manager=edges.manager,
        in_flight=edges.in_flight,
        rules=EvidenceRules(
            margin_ms=_ms(edges.settings.order_gateway.evidence_margin_secs),
            spacing_ms=EVIDENCE_SPACING_MS,
        ),
        clock_ms=wall_ms,
    )
    exits = Exits(
        journal=edges.journal,
        service=service,
        resolver=resolver,
        markets=edges.markets,
        account=edges.account,
        desk=edges.desk,
        sender=edges.sender,
        audit=edges.audit,
        cancel_expiry_ms=_ms(edges.settings.order_gateway.expires_after_secs),
        clock_ms=wall_ms,
    )
    return _Orders(service, resolver, exits, leverage, emergency)


def _service(edges: _Edges, leverage: LeverageSetter, emergency: EmergencyExits) -> OrderService:
    settings = edges.settings.order_gateway
    check = OrderCheck(
        markets=edges.markets,
        prices=PriceReader(edges.client, edges.manager, edges.limits.max_price_age_ms),
        account=edges.account,
        risk=edges.risk,
        audit=edges.audit,
        max_slippage_bps=Decimal(str(settings.max_slippage_bps)),
        clock_ms=wall_ms,
    )
    return OrderService(
        wallet=edges.wallet,
        expires_after_ms=_ms(settings.expires_after_secs),
        journal=edges.journal,
        check=check,
        risk=edges.risk,
        desk=edges.desk,
        sender=edges.sender,
        publisher=OrderPublisher(edges.client),
        readiness=edges.readiness,
        in_flight=edges.in_flight,
        leverage=leverage,
        emergency=emergency,
        clock_ms=wall_ms,
        on_trade=edges.traded.set,
    )


def _guard(edges: _Edges) -> RiskGuard:
    return RiskGuard(
        engine=edges.engine,
        account=edges.account,
        day=DayKeeper(
            engine=edges.engine,
            transfers=TransferReader(edges.manager, edges.engine),
            audit=edges.audit,
            clock_ms=wall_ms,
        ),
        limits=edges.limits,
        audit=edges.audit,
        readiness=edges.readiness,
        switch_file=SwitchFile(
            edges.settings.order_gateway.emergency_journal.with_name(KEPT_SWITCH)
        ),
        clock_ms=wall_ms,
    )


def _runtime(
    edges: _Edges, orders: _Orders, guard: RiskGuard, on_crash: Callable[[], None]
) -> Runtime:
    settings = edges.settings
    fills = FillsConsumer(
        edges.engine,
        edges.manager,
        limits=edges.limits,
        clock_ms=wall_ms,
        waiting=orders.emergency.waiting_cloids,
        pause_on_external=settings.order_gateway.pause_on_external_fill,
        on_external=guard.external_fills,
        on_large_loss=guard.large_loss,
    )
    return Runtime(
        journal=edges.journal,
        service=orders.service,
        keeper=edges.keeper,
        nonces=edges.nonces,
        markets=edges.markets,
        manager=edges.manager,
        risk=edges.risk,
        guard=guard,
        account=edges.account,
        account_mode=AccountModeCheck(edges.manager, edges.readiness),
        audit=edges.audit,
        fills=fills,
        fills_interval_secs=settings.order_gateway.fills_interval_secs,
        hints=_hints(edges),
        resolver=orders.resolver,
        exits=orders.exits,
        leverage=orders.leverage,
        emergency=orders.emergency,
        dead_man=DeadManSwitch(desk=edges.desk, sender=edges.sender, clock_ms=wall_ms),
        readiness=edges.readiness,
        symbols=settings.reconciliation_engine.symbols,
        resolve_interval_secs=settings.order_gateway.resolve_interval_secs,
        resting_ttl_ms=_ms(settings.order_gateway.resting_ttl_secs),
        clock_ms=wall_ms,
        on_crash=on_crash,
        traded=edges.traded,
    )


def _hints(edges: _Edges) -> FillHints | None:
    """Behind a proxy the fills are read at their interval alone, as prices are polled there."""
    hyperliquid = edges.settings.exchanges.hyperliquid
    if hyperliquid.proxy:
        return None
    url = edges.settings.venue.ws_url
    return FillHints(url, edges.wallet, hyperliquid.origin, edges.traded.set)


def _ms(secs: float) -> int:
    return round(secs * 1000)
