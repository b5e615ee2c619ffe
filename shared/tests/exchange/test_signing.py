"""Signatures against the golden vectors of the protocol and the official recovery."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hyperliquid.utils.signing import recover_agent_or_user_from_l1_action
from pydantic import SecretStr

from shared.exchange.signing import (
    ActionSigner,
    cancel_by_cloid_action,
    order_action,
    schedule_cancel_action,
    update_leverage_action,
)

KEY = SecretStr("0x0123456789012345678901234567890123456789012345678901234567890123")
ADDRESS = "0x14791697260E4c9A71f18484C9f997B308e59325"
CLOID = "0x00000000000000000000000000000001"

# First 8 hex digits of r and s, and v, as the official test suite prints them.
ORDER_WITH_CLOID = {True: ("41ae18e8", "3c61f667", 27), False: ("eba0664b", "7f3e7482", 28)}
SCHEDULE_CANCEL = {True: ("609cb20c", "16c685d6", 28), False: ("4e4f2dbd", "706c656b", 27)}
SCHEDULE_CANCEL_OFF = {True: ("6cdfb286", "6557ac30", 27), False: ("c75bb195", "342f8ede", 28)}


def signer(mainnet: bool, vault: str | None = None) -> ActionSigner:
    return ActionSigner.from_key(KEY, mainnet=mainnet, vault=vault)


def gtc_order() -> dict[str, Any]:
    return order_action(
        asset=1,
        is_buy=True,
        price=Decimal("100.0"),
        size=Decimal(100),
        reduce_only=False,
        tif="Gtc",
        cloid=CLOID,
    )


@pytest.mark.parametrize("mainnet", [True, False])
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (gtc_order(), ORDER_WITH_CLOID),
        (schedule_cancel_action(123456789), SCHEDULE_CANCEL),
        (schedule_cancel_action(None), SCHEDULE_CANCEL_OFF),
    ],
)
def test_published_signatures(
    mainnet: bool, action: dict[str, Any], expected: dict[bool, tuple[str, str, int]]
) -> None:
    signature = signer(mainnet).sign(action, nonce=0).payload["signature"]
    r, s, v = expected[mainnet]
    assert _start(signature["r"]) == r
    assert _start(signature["s"]) == s
    assert signature["v"] == v


def test_every_l1_vector(vectors: dict[str, Any]) -> None:
    cases = vectors["signing"]["l1"]
    assert len(cases) > 30
    for case in cases:
        if "signature" not in case:
            continue
        made = signer(case["network"] == "mainnet", case["vaultAddress"]).sign(
            case["action"], nonce=case["nonce"], expires_after_ms=case["expiresAfter"]
        )
        for word in ("r", "s"):
            assert int(made.payload["signature"][word], 16) == int(case["signature"][word], 16)
        assert made.payload["signature"]["v"] == case["signature"]["v"], case["name"]


def test_built_actions_equal_the_vectors(vectors: dict[str, Any]) -> None:
    by_name = {case["name"]: case["action"] for case in vectors["signing"]["l1"]}
    assert json.dumps(cancel_by_cloid_action(0, CLOID)) == json.dumps(by_name["cancel_by_cloid"])
    assert json.dumps(update_leverage_action(0, 5, is_cross=True)) == json.dumps(
        by_name["update_leverage_cross"]
    )
    assert json.dumps(gtc_order()) == json.dumps(by_name["order_gtc_cloid"])


def test_expiry_is_part_of_what_is_signed() -> None:
    action = gtc_order()
    made = signer(True).sign(action, nonce=5, expires_after_ms=1700000005000)
    recovered = recover_agent_or_user_from_l1_action(
        action, made.payload["signature"], None, 5, 1700000005000, True
    )
    assert recovered == ADDRESS
    other = recover_agent_or_user_from_l1_action(
        action, made.payload["signature"], None, 5, 1700000005001, True
    )
    assert other != ADDRESS
    assert made.payload["expiresAfter"] == 1700000005000


def test_body_hash_depends_on_the_nonce_alone_for_one_action() -> None:
    first, again, other = (signer(False).sign(gtc_order(), nonce=n).sha256 for n in (1, 1, 2))
    assert first == again
    assert first != other


def test_words_are_always_padded_to_32_bytes() -> None:
    for nonce in range(300):
        signature = (
            signer(False).sign(schedule_cancel_action(None), nonce=nonce).payload["signature"]
        )
        assert len(signature["r"]) == len(signature["s"]) == 66


def test_key_appears_in_no_text() -> None:
    made = signer(True)
    assert made.address == ADDRESS.lower()
    assert KEY.get_secret_value()[2:] not in repr(made)
    with pytest.raises(ValueError, match="privateKey is not a private key") as caught:
        ActionSigner.from_key(SecretStr("0xsecret"), mainnet=True)
    assert "secret" not in str(caught.value)


def _start(word: str) -> str:
    return word.removeprefix("0x").lstrip("0")[:8]
