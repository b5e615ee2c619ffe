"""A circuit breaker: after repeated failures, calls are refused here instead of sent.

``Breaker`` is the port that venue access depends on. ``VenueBreaker`` is pybreaker's state
machine over a state that all processes behind one network address share in Redis: what one of
them learns, none has to learn again, and one trial is made for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import pybreaker
import redis
import structlog

from shared import instruments
from shared.exchange.errors import BreakerOpen
from shared.storage import redis_keys

log = structlog.get_logger(__name__)

T = TypeVar("T")
BreakerState: TypeAlias = Literal["closed", "half_open", "open"]

_NAMES: Final[dict[str, BreakerState]] = {
    pybreaker.STATE_CLOSED: "closed",
    pybreaker.STATE_HALF_OPEN: "half_open",
    pybreaker.STATE_OPEN: "open",
}
_AWAY_SECS: Final = 2.0
"""For how long a Redis that did not answer is not asked again."""

_KEY_TTL_SECS: Final = 24 * 3_600

# KEYS[1] state. Returns state, failures, ms since it opened, on the Redis server's clock.
_READ: Final = """
local fields = redis.call('HMGET', KEYS[1], 'state', 'failures', 'opened_ms')
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
return {fields[1] or 'closed', fields[2] or '0', tostring(ms - (tonumber(fields[3]) or 0))}
"""

# KEYS[1] state; ARGV: name of the state, ttl. An open one remembers when it opened.
_MOVE: Final = """
if ARGV[1] == 'open' then
  local now = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'opened_ms', now[1] * 1000 + math.floor(now[2] / 1000))
end
redis.call('HSET', KEYS[1], 'state', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


def breaker_name(rest_url: str, address: str) -> str:
    """The breaker of all processes that reach this venue from this network address."""
    return f"{urlsplit(rest_url).hostname}:{address}"


@dataclass(frozen=True, slots=True)
class SharedBreaker:
    """A breaker as its processes left it in Redis; ``failures`` in a row, of all of them."""

    name: str
    state: BreakerState
    failures: int


def shared_breaker(client: redis.Redis, name: str) -> SharedBreaker:
    """What the processes left of a breaker; closed where they left nothing."""
    state, failures = cast(
        "list[str | None]", client.hmget(redis_keys.breaker(name), ["state", "failures"])
    )
    return SharedBreaker(name, _NAMES[state] if state else "closed", int(failures or 0))


class Breaker(Protocol):
    """Ask before a call, tell afterwards."""

    @property
    def state(self) -> BreakerState: ...

    def before(self, what: str) -> None:
        """Return if the call may go out; raise ``BreakerOpen`` if not."""
        ...

    def succeeded(self) -> None: ...

    def failed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """The state as last seen; ``open_secs`` is how long ago it opened."""

    state: str = pybreaker.STATE_CLOSED
    failures: int = 0
    open_secs: float = 0.0


class _SharedState(pybreaker.CircuitBreakerStorage):
    """State of one breaker: in Redis where there is one, else in this process.

    While Redis cannot be reached the process goes on with what it knew and asks again after
    ``_AWAY_SECS``; a venue call never waits for more than one such attempt.
    """

    def __init__(
        self, name: str, client: redis.Redis | None, monotonic: Callable[[], float]
    ) -> None:
        super().__init__(name)
        self._client = client
        self._monotonic = monotonic
        self._key = redis_keys.breaker(name)
        self._trial_key = f"{self._key}:trial"
        self._known = _Known()
        self._opened_at = self._trial_until = self._away_until = -math.inf
        self._successes = 0
        if client is not None:
            self._read = client.register_script(_READ)
            self._move = client.register_script(_MOVE)

    def refresh(self) -> _Known:
        """Take over what other processes have found out."""

        def read(_: redis.Redis) -> _Known:
            state, failures, open_ms = cast("list[str]", self._read(keys=[self._key]))
            return _Known(state, int(failures), int(open_ms) / 1000)

        here = replace(self._known, open_secs=self._monotonic() - self._opened_at)
        self._known = self._shared(read, here)
        return self._known

    @property
    def known(self) -> _Known:
        """The state at the last ``refresh``, with this process's own changes since."""
        return self._known

    def take_trial(self, life_secs: float) -> bool:
        """True for the one caller that may try; a trial that never reports back runs out."""
        now = self._monotonic()
        life_ms = math.ceil(life_secs * 1000)
        won = self._shared(
            lambda client: bool(client.set(self._trial_key, 1, nx=True, px=life_ms)),
            now >= self._trial_until,
        )
        if won:
            self._trial_until = now + life_secs
        return won

    def end_trial(self) -> None:
        """Let the next trial be taken at once."""
        self._trial_until = -math.inf
        self._shared(lambda client: client.delete(self._trial_key), 0)

    def _shared(self, call: Callable[[redis.Redis], Any], here: T) -> T:
        if self._client is not None and self._monotonic() >= self._away_until:
            try:
                return cast(T, call(self._client))
            except redis.RedisError as error:
                self._away_until = self._monotonic() + _AWAY_SECS
                log.warning("breaker_local", reason=str(error))
        return here

    # -- what pybreaker asks for ---------------------------------------------------------

    @property
    def state(self) -> str:
        """Name of the state, in pybreaker's words."""
        return self._known.state

    @state.setter
    def state(self, state: str) -> None:
        if state == pybreaker.STATE_OPEN:
            self._opened_at = self._monotonic()
            self._known = replace(self._known, open_secs=0.0)
        self._known = replace(self._known, state=state)
        self._shared(lambda _: self._move(keys=[self._key], args=[state, _KEY_TTL_SECS]), 0)

    def increment_counter(self) -> None:
        """Count a failure, of whichever process."""
        here = self._known.failures + 1
        failures = self._shared(lambda client: client.hincrby(self._key, "failures", 1), here)
        self._known = replace(self._known, failures=failures)

    def reset_counter(self) -> None:
        """Forget the failures."""
        if self._known.failures:
            self._known = replace(self._known, failures=0)
            self._shared(lambda client: client.hset(self._key, "failures", 0), 0)

    @property
    def counter(self) -> int:
        """Failures in a row, of all processes."""
        return self._known.failures

    def increment_success_counter(self) -> None:
        """Count a trial that succeeded."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """Forget trials."""
        self._successes = 0

    @property
    def success_counter(self) -> int:
        """Trials that succeeded in a row."""
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        """When it opened, as far as this process knows."""
        return None if self._known.state == pybreaker.STATE_CLOSED else self._opened

    @opened_at.setter
    def opened_at(self, at: datetime) -> None:
        """Kept for the log: waiting is measured on the clock of Redis, stamped with the state."""
        self._opened = at

    _opened: datetime | None = None


class _Reporter(pybreaker.CircuitBreakerListener):
    """Tells metric and log when the state changes, here or seen from elsewhere."""

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """See ``pybreaker.CircuitBreakerListener``."""
        state = _NAMES[new_state.name]
        instruments.set_breaker_state(str(cb.name), state)
        level = log.error if state == "open" else log.warning
        level("breaker_moved", breaker=cb.name, state=state)


class _Failed(Exception):
    """What pybreaker is told when a call has failed."""


class VenueBreaker:
    """Opens after ``failures`` failed calls in a row, lets one trial through after ``reset_secs``.

    A trial that succeeds closes it, one that fails opens it for another ``reset_secs``; a
    trial that never reports back is given up after the same time. With ``client`` failures,
    state and trial are those of all processes that use the same ``name``. Calls are not
    serialised: pybreaker is told about them before and after, never held during one.
    """

    def __init__(
        self,
        name: str,
        failures: int = 5,
        reset_secs: float = 30.0,
        client: redis.Redis | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reset_secs = reset_secs
        self._shared = _SharedState(name, client, monotonic)
        self._machine = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=reset_secs,
            state_storage=self._shared,
            listeners=[_Reporter()],
            name=name,
        )
        self._lock = Lock()
        instruments.set_breaker_state(name, "closed")

    @property
    def state(self) -> BreakerState:
        """``open`` refuses; ``half_open`` lets the next call through as a trial."""
        with self._lock:
            known = self._shared.refresh()
            waited = known.open_secs >= self._reset_secs
            return "half_open" if known.state == "open" and waited else _NAMES[known.state]

    def before(self, what: str) -> None:
        """See ``Breaker.before``."""
        with self._lock:
            known = self._shared.refresh()
            state = self._machine.state.name
            if state == pybreaker.STATE_CLOSED:
                return
            must_wait = state == pybreaker.STATE_OPEN and known.open_secs < self._reset_secs
            if must_wait or not self._shared.take_trial(self._reset_secs):
                raise BreakerOpen(
                    f"{what}: not sent, {known.failures} venue calls in a row failed and the "
                    f"breaker tries again {self._reset_secs:.0f} s after it opened"
                )
            self._machine.half_open()

    def succeeded(self) -> None:
        """Forget failures; close it."""
        with self._lock:
            if self._shared.known == _Known(open_secs=self._shared.known.open_secs):
                return
            if self._machine.state.name == pybreaker.STATE_OPEN:
                self._machine.close()
            self._machine.call(lambda: None)
            self._shared.end_trial()

    def failed(self) -> None:
        """Count a failure; open when there were enough, or when the trial failed."""
        with self._lock:
            self._shared.refresh()
            if self._machine.state.name == pybreaker.STATE_OPEN:
                return
            try:
                self._machine.call(_fail)
            except (_Failed, pybreaker.CircuitBreakerError):
                if self._machine.state.name == pybreaker.STATE_OPEN:
                    self._shared.end_trial()


def _fail() -> None:
    raise _Failed


class NoBreaker:
    """For a process whose only loop already backs off by itself, such as a price producer."""

    state: BreakerState = "closed"

    def before(self, what: str) -> None:
        """Always let the call through."""

    def succeeded(self) -> None:
        """Nothing to reset."""

    def failed(self) -> None:
        """Nothing to count."""
