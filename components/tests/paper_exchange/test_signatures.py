"""Canonical actions, hashes and recovered signers against the published vectors."""

from __future__ import annotations

from typing import Any

import pytest

from paper_exchange.canonical import L1Action, MalformedActionError, UserSigned, canonicalise
from paper_exchange.signatures import (
    SignatureError,
    connection_id,
    l1_digest,
    recover,
    user_signed_digest,
)

ORDER: dict[str, Any] = {
    "type": "order",
    "orders": [
        {
            "a": 0,
            "b": True,
            "p": "83000",
            "s": "0.001",
            "r": False,
            "t": {"limit": {"tif": "Gtc"}},
        }
    ],
    "grouping": "na",
}
ACTION_OF_NAME = {
    "usd_send": "usdSend",
    "usd_send_with_type": "usdSend",
    "withdraw3": "withdraw3",
    "usd_class_transfer": "usdClassTransfer",
    "approve_agent": "approveAgent",
    "approve_builder_fee": "approveBuilderFee",
}


def shuffled(value: Any) -> Any:
    """The same JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(entry) for entry in value] if isinstance(value, list) else value


def test_l1_vectors_hash_and_recover_whatever_the_key_order(vectors: Any) -> None:
    signing = vectors["signing"]
    checked = 0
    for vector in signing["l1"]:
        action = vector["action"]
        if action["type"] != "dummy":
            canonical = canonicalise(shuffled(action))
            assert isinstance(canonical, L1Action)
            assert list(canonical.body) == list(action)
            action = canonical.body
        digest = connection_id(
            action, vector["nonce"], vector["vaultAddress"], vector["expiresAfter"]
        )
        assert "0x" + digest.hex() == vector["connectionId"], vector["name"]
        if vector.get("signature"):
            signer = recover(l1_digest(digest, vector["network"]), vector["signature"])
            assert signer == signing["address"].lower(), vector["name"]
            checked += 1
    assert checked > 30


def test_user_signed_vectors_recover_the_master(vectors: Any) -> None:
    for vector in vectors["signing"]["user_signed"]:
        action = canonicalise({"type": ACTION_OF_NAME[vector["name"]], **vector["action"]})
        assert isinstance(action, UserSigned)
        signer = recover(user_signed_digest(action), vector["signature"])
        assert signer == vectors["signing"]["address"].lower(), vector["name"]


def test_non_canonical_signatures_recover_somebody_else(vectors: Any) -> None:
    for vector in vectors["signing"]["rejected"]:
        action = canonicalise(vector["action_signed"])
        assert isinstance(action, L1Action)
        assert action.body == vector["action_hashed_by_server"]
        digest = l1_digest(
            connection_id(action.body, vector["nonce"], None, None), vector["network"]
        )
        assert recover(digest, vector["signature"]) == vector["recovered_by_server"]


@pytest.mark.parametrize(
    "change",
    [
        {"a": "0"},
        {"a": True},
        {"a": -1},
        {"b": 1},
        {"p": 83000},
        {"p": "8e4"},
        {"p": "nan"},
        {"s": ""},
        {"t": {"limit": {"tif": "Fok"}}},
        {"t": {}},
        {"c": "0x01"},
    ],
)
def test_wrong_types_do_not_deserialise(change: dict[str, Any]) -> None:
    wire = ORDER["orders"][0] | change
    with pytest.raises(MalformedActionError):
        canonicalise(ORDER | {"orders": [wire]})


def test_unknown_and_missing_actions_do_not_deserialise() -> None:
    malformed: list[Any] = [None, [], {}, {"type": "warp"}, {"type": "cancel"}, {"type": 3}]
    for action in malformed:
        with pytest.raises(MalformedActionError):
            canonicalise(action)


def test_null_optionals_are_left_out_of_the_hash() -> None:
    wire = ORDER["orders"][0] | {"c": None}
    canonical = canonicalise(ORDER | {"orders": [wire], "builder": None})
    assert isinstance(canonical, L1Action)
    assert canonical.body == ORDER


@pytest.mark.parametrize(
    "signature",
    [None, {}, {"r": "0x1", "s": "0x1"}, {"r": "zz", "s": "0x1", "v": 27},
     {"r": "0x0", "s": "0x0", "v": 27}, {"r": "0x1", "s": "0x1", "v": 99}],
)  # fmt: skip
def test_malformed_signatures_have_no_signer(signature: Any) -> None:
    with pytest.raises(SignatureError):
        recover(b"\x01" * 32, signature)
