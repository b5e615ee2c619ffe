"""HTTP to the venue: one session per process, through proxy, budget, breaker and monitor.

``VenueTransport.post`` sends exactly once. Whoever reads may repeat (``read`` does, after
1, 2 and 4 s); whoever sends an order must not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import orjson
import requests
import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_exponential

from shared import spent_time, time_budget
from shared.config_sections import HyperliquidSettings
from shared.exchange.boot_turn import BootTurn
from shared.exchange.breaker import Breaker
from shared.exchange.errors import (
    BreakerOpen,
    BudgetExhausted,
    DecodeError,
    RateLimited,
    TimeExhausted,
    TransientVenueError,
    VenueError,
)
from shared.exchange.http_errors import from_transport, raise_for_reply
from shared.exchange.rate_budget import Priority, RateBudget, weight_of
from shared.http_deadline import DeadlineAdapter
from shared.network_monitor import NetworkMonitor

log = structlog.get_logger(__name__)
_tracer = trace.get_tracer("venue")

READ_ATTEMPTS = 4
MAX_BUDGET_WAIT_SECS = 10.0
PATIENT_WAIT_SECS = 45.0
"""What is past is worth as much a little later, and a fleet that starts asks for a lot of it."""

SHORTEST_TRY_SECS = 1.0
"""With less time left a request is not sent: its failure would say nothing about the venue."""

_PATIENT_TYPES = frozenset({"candleSnapshot", "fundingHistory", "userFunding"})
_POOL_SIZE = 32

_RECONCILE_TYPES = frozenset(
    {
        "clearinghouseState",
        "spotClearinghouseState",
        "orderStatus",
        "openOrders",
        "frontendOpenOrders",
        "userFills",
        "userFillsByTime",
        "historicalOrders",
        "userNonFundingLedgerUpdates",  # deposits: without them no day's loss is known
        "userAbstraction",  # or the gateway is not ready
    }
)


def priority_of(info_type: str) -> Priority:
    """Reads of account and order state go before reads of the market."""
    return "reconcile" if info_type in _RECONCILE_TYPES else "read"


def patience_of(info_type: str) -> float:
    """For how many seconds a read may wait for its turn, where its caller does not say."""
    return PATIENT_WAIT_SECS if info_type in _PATIENT_TYPES else MAX_BUDGET_WAIT_SECS


def worth_repeating(error: BaseException) -> bool:
    """A transient failure of the network or the venue; not one that was decided here."""
    return isinstance(error, TransientVenueError) and not isinstance(
        error, (BreakerOpen, BudgetExhausted)
    )


def _enough(state: RetryCallState) -> bool:
    """Whether that was the last attempt, or the next would begin too late for its task."""
    too_late = time_budget.left_secs() < state.upcoming_sleep + SHORTEST_TRY_SECS
    return state.attempt_number >= READ_ATTEMPTS or too_late


class VenueTransport:
    """Sends JSON to the venue and returns decoded JSON; safe to share between threads."""

    def __init__(
        self,
        rest_url: str,
        settings: HyperliquidSettings,
        *,
        budget: RateBudget,
        breaker: Breaker,
        monitor: NetworkMonitor,
        boot_turn: BootTurn,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rest_url = rest_url
        self._timeout_secs = settings.timeout_secs
        self._budget = budget
        self._breaker = breaker
        self._monitor = monitor
        self._boot_turn = boot_turn
        self._sleep = sleep
        self._session = _make_session(settings)

    def post(
        self,
        path: str,
        payload: Mapping[str, object],
        *,
        endpoint: str,
        weight: int,
        priority: Priority,
        max_wait_secs: float = MAX_BUDGET_WAIT_SECS,
    ) -> object:
        """Send once to ``path`` (``/info`` or ``/exchange``); raises ``VenueError``.

        ``endpoint`` is the name under which the call is counted, such as ``info:allMids``. Neither
        the wait for its turn nor the call itself goes on for longer than the task has time.
        """
        if priority != "exit":
            self._boot_turn.wait()
        try:
            wait_secs = min(max_wait_secs, time_budget.left_secs() - SHORTEST_TRY_SECS)
            if wait_secs < 0:
                raise TimeExhausted(f"{endpoint}: dropped unsent, its task has no time left")
            place = self._budget.acquire(weight, priority, wait_secs, endpoint)
        except BudgetExhausted as error:
            self._monitor.refused(endpoint, error)
            raise
        asked = {"weight": weight, "priority": priority}
        try:
            with (
                self._monitor.observe(endpoint),
                _tracer.start_as_current_span(endpoint, kind=SpanKind.CLIENT, attributes=asked),
            ):
                return self._send(path, payload, endpoint)
        except RateLimited:
            self._budget.penalise()
            raise
        finally:
            self._budget.release(place)

    def _send(self, path: str, payload: Mapping[str, object], endpoint: str) -> object:
        try:
            response = self._session.post(
                self._rest_url + path,
                data=orjson.dumps(payload),
                timeout=min(self._timeout_secs, max(time_budget.left_secs(), SHORTEST_TRY_SECS)),
                allow_redirects=False,  # a followed redirect would send the body twice
            )
        except (requests.RequestException, OSError) as error:
            raise from_transport(error, endpoint) from error
        spent_time.add("venue", response.elapsed.total_seconds())
        return raise_for_reply(response.status_code, response.text, endpoint)

    def read(
        self,
        info_type: str,
        params: Mapping[str, object],
        *,
        priority: Priority | None = None,
        max_wait_secs: float | None = None,
    ) -> object:
        """One ``/info`` request, repeated after 1, 2 and 4 s while its failure is transient.

        Nothing is repeated that the task has no time left for (``shared.time_budget``).
        Raises the last ``VenueError``. The breaker counts such a call as one; what an exit
        needs to know is asked even while it is open.
        """
        endpoint = f"info:{info_type}"
        chosen = priority or priority_of(info_type)
        if chosen != "exit":
            try:
                self._breaker.before(endpoint)
            except BreakerOpen as error:
                self._monitor.refused(endpoint, error)
                raise
        retrying = Retrying(
            stop=_enough,
            wait=wait_exponential(multiplier=1, max=4),
            retry=retry_if_exception(worth_repeating),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            reply = retrying(
                self.post,
                "/info",
                {"type": info_type, **params},
                endpoint=endpoint,
                weight=weight_of(info_type),
                priority=chosen,
                max_wait_secs=patience_of(info_type) if max_wait_secs is None else max_wait_secs,
            )
        except VenueError as error:
            self._settle_breaker(error)
            raise
        self._breaker.succeeded()
        if isinstance(reply, list):
            self._budget.settle(info_type, len(reply))
        return reply

    def _settle_breaker(self, error: VenueError) -> None:
        """A venue that answers, if only with a refusal, is alive; budget drops say nothing."""
        if worth_repeating(error) and not isinstance(error, RateLimited):
            self._breaker.failed()
        elif not isinstance(error, (BudgetExhausted, DecodeError)):
            self._breaker.succeeded()

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()


def _make_session(settings: HyperliquidSettings) -> requests.Session:
    """A pooled session that honours the configured proxy and origin and no environment."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Content-Type"] = "application/json"
    if settings.proxy:
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    if settings.origin:
        session.headers["Origin"] = settings.origin
    adapter = DeadlineAdapter(pool_connections=2, pool_maxsize=_POOL_SIZE)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session
