"""Tells the rest of the platform what became of an order: stream, metrics, log."""

from __future__ import annotations

from typing import Any

import redis
import structlog
from opentelemetry import trace

from shared import instruments
from shared.exchange.precision import plain
from shared.storage import redis_keys
from shared.storage.orders import OrderRecord

log = structlog.get_logger(__name__)


class OrderPublisher:
    """Publishes to ``orders:updated``. The journal is the truth; a lost message loses nothing."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def updated(self, record: OrderRecord) -> None:
        """Announce the state of one order."""
        instruments.record_order(record.symbol, record.state)
        trace.get_current_span().add_event(
            "order_updated",
            {
                "intent_id": record.intent_id,
                "cloid": record.cloid,
                "state": record.state.value,
                "filled_size": plain(record.filled_size),
                "avg_price": "" if record.avg_price is None else plain(record.avg_price),
            },
        )
        log.info(
            "order_updated",
            intent_id=record.intent_id,
            cloid=record.cloid,
            symbol=record.symbol,
            state=record.state.value,
            filled_size=plain(record.filled_size),
            reason=record.reason,
        )
        fields: dict[Any, Any] = {
            "intent_id": record.intent_id,
            "cloid": record.cloid,
            "symbol": record.symbol,
            "state": record.state.value,
            "filled_size": plain(record.filled_size),
            "avg_price": "" if record.avg_price is None else plain(record.avg_price),
            "at_ms": record.updated_ms,
        }
        try:
            self._client.xadd(
                redis_keys.ORDERS_STREAM,
                fields,
                maxlen=redis_keys.ORDERS_STREAM_MAXLEN,
                approximate=True,
            )
        except redis.RedisError as error:
            log.warning("order_not_published", intent_id=record.intent_id, reason=str(error))
