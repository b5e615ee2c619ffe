"""Funding that the account has paid or received: ``userFunding``."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.exchange.decoding import (
    as_list,
    as_mapping,
    decimal_field,
    int_field,
    require,
    str_field,
)


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One hour of one symbol: USD received (negative: paid) on a signed position in coins."""

    time_ms: int
    symbol: str
    usd: Decimal
    size: Decimal


def parse_funding_payments(raw: object) -> tuple[FundingPayment, ...]:
    """Payments, oldest first; raises ``DecodeError`` for a malformed one."""
    payments = []
    for number, entry in enumerate(as_list(raw, "userFunding")):
        path = f"userFunding[{number}]"
        update = as_mapping(entry, path)
        delta = as_mapping(require(update, "delta", path), f"{path}.delta")
        payments.append(
            FundingPayment(
                time_ms=int_field(update, "time", path),
                symbol=str_field(delta, "coin", f"{path}.delta"),
                usd=decimal_field(delta, "usdc", f"{path}.delta"),
                size=decimal_field(delta, "szi", f"{path}.delta"),
            )
        )
    return tuple(sorted(payments, key=lambda payment: (payment.time_ms, payment.symbol)))
