"""Signs actions, each with a nonce of its own."""

from __future__ import annotations

from typing import Any

from order_gateway.journal import Journal
from order_gateway.nonces import NonceAllocator
from shared.exchange.signing import ActionSigner, SignedAction


class SigningDesk:
    """The one place where key and nonces meet."""

    def __init__(self, signer: ActionSigner, nonces: NonceAllocator, journal: Journal) -> None:
        self._signer = signer
        self._nonces = nonces
        self._journal = journal

    def order(self, action: dict[str, Any], *, expires_after_ms: int) -> SignedAction:
        """Sign an order; its nonce is committed with the intent, before it is sent."""
        return self._signer.sign(
            action, nonce=self._nonces.next(), expires_after_ms=expires_after_ms
        )

    def other(self, action: dict[str, Any], *, expires_after_ms: int | None = None) -> SignedAction:
        """Sign any other action; its nonce is committed here. Raises what the journal raises."""
        nonce = self._nonces.next()
        self._journal.use_nonce(nonce)
        return self._signer.sign(action, nonce=nonce, expires_after_ms=expires_after_ms)
