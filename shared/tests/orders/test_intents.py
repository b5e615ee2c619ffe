"""Identifiers of intents."""

from __future__ import annotations

import re
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.orders.intents import OrderRequest, derive_cloid, plan_intent_id

WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


def test_cloid_is_the_same_for_the_same_intent_however_the_address_is_written() -> None:
    name = plan_intent_id("BTC", 7, "open")
    assert name == "BTC:7:open"
    assert derive_cloid(WALLET, "j", name) == derive_cloid(WALLET.lower(), "j", name)


@given(st.text(max_size=40), st.text(max_size=40))
def test_cloids_have_the_venues_form_and_differ_by_intent(one: str, other: str) -> None:
    first, second = derive_cloid(WALLET, "j", one), derive_cloid(WALLET, "j", other)
    assert re.fullmatch(r"0x[0-9a-f]{32}", first)
    assert (first == second) is (one == other)


def test_another_journal_or_wallet_gives_another_cloid() -> None:
    names = {derive_cloid(w, j, "BTC:0:open") for w in (WALLET, "0x1") for j in ("a", "b")}
    assert len(names) == 4


def test_payload_does_not_depend_on_how_a_number_is_written() -> None:
    def payload(size: str) -> dict[str, object]:
        return OrderRequest(
            intent_id="BTC:0:open",
            symbol="BTC",
            side="buy",
            size=Decimal(size),
            order_type="market",
            tif="Ioc",
            price=None,
            reduce_only=False,
            origin="reconcile",
            plan_epoch=0,
            leg="open",
        ).payload()

    assert payload("0.10") == payload("1E-1") != payload("0.11")
