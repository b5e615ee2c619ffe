"""Entries of ``balance:updated``, as ``update_balance`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import redis

from shared.exchange.precision import plain
from shared.storage import redis_keys
from shared.storage.balances import Balance

KNOWN = "Known"


class BalanceEntryError(ValueError):
    """An entry that no producer of ours has written."""


@dataclass(frozen=True, slots=True)
class BalanceUpdate:
    """One reading of the account in USD; ``venue_ms`` is the venue's time of it.

    ``status`` is ``Known`` for a complete reading; anything else must not be acted on.
    """

    status: str
    account_value: Decimal
    withdrawable: Decimal
    margin_used: Decimal
    venue_ms: int
    as_of_ms: int


def publish_balance(client: redis.Redis, balance: Balance) -> None:
    """Append a complete reading; amounts are decimal strings."""
    fields: dict[Any, Any] = {
        "status": KNOWN,
        "account_value": plain(balance.account_value),
        "withdrawable": plain(balance.withdrawable),
        "margin_used": plain(balance.margin_used),
        "venue_ms": balance.venue_ms,
        "as_of_ms": balance.read_ms,
    }
    client.xadd(
        redis_keys.BALANCE_STREAM,
        fields,
        maxlen=redis_keys.BALANCE_STREAM_MAXLEN,
        approximate=True,
    )


def decode_balance(fields: Mapping[str, str], entry_id: str) -> BalanceUpdate:
    """The reading of one entry; raises ``BalanceEntryError`` that names the entry."""
    try:
        update = BalanceUpdate(
            status=fields["status"],
            account_value=Decimal(fields["account_value"]),
            withdrawable=Decimal(fields["withdrawable"]),
            margin_used=Decimal(fields["margin_used"]),
            venue_ms=int(fields["venue_ms"]),
            as_of_ms=int(fields["as_of_ms"]),
        )
    except (KeyError, ValueError, InvalidOperation) as error:
        where = f"entry {entry_id} of {redis_keys.BALANCE_STREAM}"
        raise BalanceEntryError(f"{where}: {type(error).__name__}: {error}") from error
    if not update.account_value.is_finite():
        raise BalanceEntryError(f"entry {entry_id}: account_value is {update.account_value}")
    return update
