"""A state machine of two traders: after any sequence of actions every dollar is explained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from paper_exchange.decimals import size_is_valid
from paper_exchange.placement import ActionError
from paper_exchange.settings import deposit, withdraw

COINS = {"BTC": 0, "ETH": 1, "SOL": 2, "xyz:XYZ100": 110_000}
TRADER = st.integers(0, 1)
COIN = st.sampled_from(sorted(COINS))
SIDE = st.sampled_from(["buy", "sell"])
# Dollars of an order: from below the minimum to far beyond what the account can carry.
USD = st.sampled_from([5, 50, 900, 20_000, 400_000, 3_000_000])
OFFSET = st.floats(-0.05, 0.05)


class Traders(RuleBasedStateMachine):
    """Two funded wallets on one desk; subclasses say where the desk comes from."""

    make_desk: ClassVar[Callable[..., Any]]
    traders: ClassVar[tuple[Any, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.desk = self.make_desk(schedule_cancel_volume=Decimal(0))
        for wallet in self.traders:
            self.attempt(self.send_to_builder_dex, wallet)

    def send_to_builder_dex(self, wallet: Any) -> None:
        account = self.desk.account(wallet)
        account.add_cash("", Decimal(-20_000))
        account.add_cash("xyz", Decimal(20_000))

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Refusals are part of the game; what they leave behind is checked like the rest."""
        with suppress(ActionError):
            work(*arguments)

    def wire(self, coin: str, side: str, usd: int, offset: float, **more: Any) -> Any:
        market = self.desk.venue.markets[coin]
        px = market.price(market.round_units(market.fair_px * (1 + offset)))
        size = market.size(max(1, market.lots(Decimal(usd) / px)))
        return self.desk.wire(coin, side, str(size), str(px), **more)

    def send(self, who: int, wires: list[Any], grouping: str = "na") -> None:
        action = {"type": "order", "orders": wires, "grouping": grouping}
        self.attempt(self.desk.act, action, self.traders[who])

    @rule(who=TRADER, coin=COIN, side=SIDE, usd=USD, offset=OFFSET,
          tif=st.sampled_from(["Gtc", "Ioc", "Alo"]), reduce_only=st.booleans())  # fmt: skip
    def order(
        self,
        who: int,
        coin: str,
        side: str,
        usd: int,
        offset: float,
        tif: str,
        reduce_only: bool,
    ) -> None:
        self.send(who, [self.wire(coin, side, usd, offset, tif=tif, reduce_only=reduce_only)])

    @rule(who=TRADER, coin=COIN, side=SIDE, usd=USD, offset=OFFSET, near=OFFSET,
          kind=st.sampled_from(["tp", "sl"]), is_market=st.booleans())  # fmt: skip
    def trigger(
        self,
        who: int,
        coin: str,
        side: str,
        usd: int,
        offset: float,
        near: float,
        kind: str,
        is_market: bool,
    ) -> None:
        market = self.desk.venue.markets[coin]
        px = market.price(market.round_units(market.fair_px * (1 + near)))
        trigger = {"isMarket": is_market, "triggerPx": str(px), "tpsl": kind}
        self.send(who, [self.wire(coin, side, usd, offset, reduce_only=True, trigger=trigger)])

    @rule(who=TRADER, coin=COIN, usd=USD, offset=OFFSET)
    def bracket(self, who: int, coin: str, usd: int, offset: float) -> None:
        market = self.desk.venue.markets[coin]

        def child(factor: float, kind: str) -> Any:
            px = str(market.price(market.round_units(market.fair_px * factor)))
            trigger = {"isMarket": True, "triggerPx": px, "tpsl": kind}
            return self.wire(coin, "sell", usd, 0.0, reduce_only=True, trigger=trigger)

        wires = [self.wire(coin, "buy", usd, offset), child(1.01, "tp"), child(0.99, "sl")]
        self.send(who, wires, "normalTpsl")

    @rule(who=TRADER, pick=st.integers(0, 50), usd=USD, offset=OFFSET, how=st.booleans())
    def cancel_or_modify(self, who: int, pick: int, usd: int, offset: float, how: bool) -> None:
        orders = self.desk.venue.open_of(self.traders[who].address)
        if not orders:
            return
        order = orders[pick % len(orders)]
        entry = {"a": order.asset_id, "o": order.oid}
        action: dict[str, Any] = {"type": "cancel", "cancels": [entry, entry]}
        if how:
            spec = self.wire(order.coin, "buy" if order.is_buy else "sell", usd, offset)
            action = {"type": "modify", "oid": order.oid, "order": spec}
        self.attempt(self.desk.act, action, self.traders[who])

    @rule(who=TRADER, coin=COIN, leverage=st.integers(1, 41), is_cross=st.booleans())
    def leverage(self, who: int, coin: str, leverage: int, is_cross: bool) -> None:
        action = {"type": "updateLeverage", "asset": COINS[coin], "isCross": is_cross}
        self.attempt(self.desk.act, action | {"leverage": leverage}, self.traders[who])

    @rule(who=TRADER, coin=COIN, micro_usd=st.integers(-(10**11), 10**11))
    def isolated_margin(self, who: int, coin: str, micro_usd: int) -> None:
        action = {"type": "updateIsolatedMargin", "asset": COINS[coin], "isBuy": True}
        self.attempt(self.desk.act, action | {"ntli": micro_usd}, self.traders[who])

    @rule(who=TRADER, micro_usd=st.integers(1, 10**11), into=st.booleans())
    def money(self, who: int, micro_usd: int, into: bool) -> None:
        desk, amount = self.desk, Decimal(micro_usd).scaleb(-6)
        if into:
            deposit(desk.venue, self.traders[who].address, amount, desk.now_ms)
        else:
            self.attempt(withdraw, desk.venue, desk.account(self.traders[who]), amount, desk.now_ms)

    @rule(who=TRADER)
    def dead_mans_switch(self, who: int) -> None:
        action = {"type": "scheduleCancel", "time": self.desk.now_ms + 6_000}
        self.attempt(self.desk.act, action, self.traders[who])

    @rule(coin=COIN, change=st.floats(-0.08, 0.08),
          ms=st.sampled_from([100, 3_000, 7_000, 1_800_000, 3_600_000]))  # fmt: skip
    def time_passes(self, coin: str, change: float, ms: int) -> None:
        fair = self.desk.venue.markets[coin].fair_px
        self.desk.move(ms, **{coin: fair * (1 + change)})

    @invariant()
    def every_dollar_is_explained(self) -> None:
        assert [self.desk.gap(wallet) for wallet in self.traders] == [0, 0]

    @invariant()
    def open_orders_are_consistent(self) -> None:
        venue = self.desk.venue
        by_coin = {o.oid for orders in venue.open_orders.values() for o in orders.values()}
        by_user = {o.oid for orders in venue.open_by_user.values() for o in orders.values()}
        assert by_coin == by_user
        for oid in by_coin:
            order = venue.orders[oid]
            decimals = venue.universe.by_coin[order.coin].sz_decimals
            assert order.is_open
            assert order.size <= order.orig_size
            assert size_is_valid(order.size, decimals)

    @invariant()
    def flat_positions_hold_no_money(self) -> None:
        for wallet in self.traders:
            for position in self.desk.account(wallet).positions.values():
                if position.size == 0:
                    assert position.cost == position.isolated_usd == 0


def test_two_traders_whatever_they_do(make_desk: Any, master: Any, other: Any) -> None:
    run_state_machine_as_test(
        type(
            "Bound", (Traders,), {"make_desk": staticmethod(make_desk), "traders": (master, other)}
        ),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
