"""The API under schemathesis: every field of its OpenAPI description, right and wrong.

``make fuzz`` does the same with more examples of each operation.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from shared.risk.audit import Intact, verify
from shared.testing.servers import wait_until

EXAMPLES: Final = int(os.environ.get("T3_FUZZ_EXAMPLES", "12"))


def wrong_data_is_refused(ctx: Any, response: Any, case: Case) -> bool | None:
    """As schemathesis has it, but "too large" (413), which it does not count, is a refusal, too."""
    return None if response.status_code == 413 else negative_data_rejection(ctx, response, case)


CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    wrong_data_is_refused,
]
ORDER: Final = {"side": "buy", "size": "0.001", "type": "market", "origin": "hand"}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_answered_by_a_fault_or_against_the_description(
    gateway: Any, wire: Any, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(_described(gateway))
    schema.config.update(base_url=gateway.url)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 13
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not _takes_anything(operation):
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: Case) -> None:
            case.call_and_validate(headers=gateway.headers, checks=CHECKS, timeout=30)

        fuzz()
    assert_nothing_half_done(gateway, wire)


@settings(
    max_examples=3 * EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    field=st.sampled_from(["size", "price", "symbol", "intent_id", "side", "plan_epoch", "tif"]),
    value=st.one_of(
        st.sampled_from(
            ["NaN", "nan", "Infinity", "-Infinity", "1e400", "-0", "0x10", "٣", "1_000", "", "\x00"]
        ),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(10**30), 10**30),
        st.text(max_size=30),
        st.none(),
        st.lists(st.integers(), max_size=2),
    ),
)
def test_any_value_in_any_field_is_accepted_or_refused_in_words(
    gateway: Any, field: str, value: Any
) -> None:
    body = {**ORDER, "intent_id": "hand:any", "symbol": "BTC", "type": "limit", "price": "1"}
    reply = gateway.post("/execute_order", {**body, field: value})
    assert reply.status_code in (403, 422), reply.text  # the price is far from any market
    assert reply.json()["message"]


def test_what_json_cannot_say_is_refused(gateway: Any) -> None:
    body = json.dumps({**ORDER, "intent_id": "hand:raw", "symbol": "BTC"})
    headers = {**gateway.headers, "Content-Type": "application/json"}
    for value in ("NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"', "0.001", "1" * 5_000):
        raw = body.replace('"0.001"', value)
        reply = requests.post(f"{gateway.url}/execute_order", data=raw, headers=headers, timeout=10)
        assert reply.status_code == 422, (value, reply.text)
        assert reply.json()["message"].startswith(("size:", "body:")), reply.text


def _described(gateway: Any) -> dict[str, Any]:
    """The description but for the token, which every request here carries.

    Else what is wrong with a request may be its token alone, which then is set right.
    """
    description: dict[str, Any] = requests.get(f"{gateway.url}/openapi.json", timeout=10).json()
    for path in description["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return description


def _takes_anything(operation: schemathesis.APIOperation) -> bool:
    return bool(operation.body) or any(operation.iter_parameters())


def assert_nothing_half_done(gateway: Any, wire: Any) -> None:
    """What was journaled is settled, what was sent was journaled, and the audit trail holds."""
    wait_until(
        lambda: not [o for o in gateway.get("/orders", limit=1000).json() if o["open"]],
        20,
        "orders to be settled",
    )
    orders = gateway.get("/orders", limit=1000).json()
    assert wire.orders_seen <= len(orders)
    assert isinstance(verify(gateway.audit_file), Intact)
    assert gateway.get("/health").status_code == 200
