"""Reads the account over a route of its own: own session, own proxy, nothing shared."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import requests

from shared.exchange.http_errors import from_transport, raise_for_reply
from shared.exchange.payloads import AccountSnapshot, merge_accounts, parse_account
from shared.http_deadline import DeadlineAdapter

REQUEST = "info:clearinghouseState"


class AccountRoute:
    """One way to the venue for one wallet."""

    def __init__(
        self,
        rest_url: str,
        wallet: str,
        dexes: Sequence[str],
        *,
        timeout_secs: float,
        proxy: str | None = None,
    ) -> None:
        self.dexes = tuple(dexes)
        self._url = rest_url + "/info"
        self._wallet = wallet
        self._timeout_secs = timeout_secs
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", DeadlineAdapter())
        self._session.mount("https://", DeadlineAdapter())
        if proxy is not None:
            self._session.proxies = {"http": proxy, "https": proxy}

    def read(self) -> AccountSnapshot:
        """Every dex, or a ``VenueError``: a reading that misses one is no reading."""
        return merge_accounts([self._read_dex(dex) for dex in self.dexes])

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _read_dex(self, dex: str) -> AccountSnapshot:
        body = {"type": "clearinghouseState", "user": self._wallet, "dex": dex}
        try:
            reply = self._session.post(
                self._url,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=self._timeout_secs,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            raise from_transport(error, REQUEST) from error
        return parse_account(raise_for_reply(reply.status_code, reply.text, REQUEST), dex)
