"""Health of one container: not "the process runs" but "its work was done lately".

``python -m deployment.healthcheck NAME`` prints one sentence and exits 0 or 1. It runs every few
seconds in every container, so it imports nothing large and reads what the service leaves behind:
entries of a stream, rows, answers over HTTP, the age of its connections at Redis.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deployment.resp import RedisReplyError, Reply, RespClient

PRICE_STREAM, BALANCE_STREAM = "prices:updated", "balance:updated"
BALANCE_GROUP, TAKE_PROFIT_GROUP = "example_balance_consumers", "take_profit"
MAX_PRICE_AGE_SECS = 20.0
MAX_BALANCE_AGE_SECS = 60.0
MAX_IDLE_SECS = 30.0
MAX_COMMIT_AGE_SECS = 90.0
MAX_RECORDER_LAG_SECS = 30.0
MAX_MISSED_TICKS = 3
TIMEOUT_SECS = 5.0
METRICS_PORT = 9464
GATEWAY_MAY_LACK = frozenset({"kill_switch"})
"""A kill switch that a person or a limit has set is the gateway at work, not a broken one."""


class NotHealthyError(RuntimeError):
    """The sentence that says what is missing."""


def main(arguments: list[str]) -> int:
    """Exit code: 0 healthy, 1 not, 2 for a name that is none."""
    if len(arguments) != 1 or arguments[0] not in PROBES:
        sys.stderr.write(f"usage: python -m deployment.healthcheck {{{','.join(PROBES)}}}\n")
        return 2
    try:
        sentence = PROBES[arguments[0]]()
    except NotHealthyError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except (OSError, RedisReplyError, http.client.HTTPException) as error:
        sys.stdout.write(f"no answer: {type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"{sentence}\n")
    return 0


def price_producer() -> str:
    """A price went into the stream lately."""
    with _redis() as client:
        age = _entry_age_secs(client, PRICE_STREAM)
    return _within("newest price", age, MAX_PRICE_AGE_SECS)


def price_sampler() -> str:
    """The newest tick input is at most some ticks old."""
    interval_secs = float(_setting("celery.schedules.providence_iteration_scheduler"))
    newest = _newest_ms(
        "SELECT MAX(tick_ms) FROM tick_inputs WHERE interval_ms = %s", round(interval_secs * 1000)
    )
    limit = max(MAX_MISSED_TICKS * interval_secs, 15.0)
    return _within("newest tick", _age_secs(newest), limit)


def recorder() -> str:
    """The newest price in the archive is close behind the newest one in the stream."""
    if _setting("recorder.enabled").lower() == "false":
        return "disabled by recorder.enabled"
    with _redis() as client:
        behind = _entry_age_secs(client, PRICE_STREAM)
    if behind is None:
        raise NotHealthyError("newest price: none yet")
    newest = _recorded_ms(Path(_setting("recorder.path")))
    if newest is None:
        raise NotHealthyError("newest recorded price: none yet")
    limit = float(_setting("recorder.flush_secs")) + MAX_RECORDER_LAG_SECS
    lag = time.time() - newest / 1000 - behind
    if lag > limit:
        raise NotHealthyError(
            f"the archive is {lag:.0f} s behind the stream, allowed are {limit:.0f} s"
        )
    return f"the archive is {max(lag, 0.0):.0f} s behind the stream"


def celery_beat() -> str:
    """Beat has sent a message lately: its connection at Redis was used."""
    with _redis() as client:
        return _within("last message sent", _own_idle_secs(client), MAX_IDLE_SECS)


def celery_worker_high() -> str:
    """The worker listens, and a task of its queue has published the balance."""
    with _redis() as client:
        _within("last look at the queue", _own_idle_secs(client), MAX_IDLE_SECS)
        age = _entry_age_secs(client, BALANCE_STREAM)
    return _within("newest balance", age, MAX_BALANCE_AGE_SECS)


def celery_worker() -> str:
    """The worker listens, and iterations are committed where there is anything to iterate."""
    with _redis() as client:
        idle = _own_idle_secs(client)
    listens = _within("last look at the queue", idle, MAX_IDLE_SECS)
    newest = _newest_ms("SELECT MAX(committed_ms) FROM iteration_shards WHERE committed_ms > 0")
    if newest is None:
        return f"{listens}; no iteration was committed yet"
    return _within("newest committed iteration", _age_secs(newest), MAX_COMMIT_AGE_SECS)


def celery_worker_research() -> str:
    """The worker listens; whether there is anything to search is not its fault."""
    with _redis() as client:
        return _within("last look at the queue", _own_idle_secs(client), MAX_IDLE_SECS)


def balance_consumer() -> str:
    """Its member of the consumer group reads."""
    return _consumes(BALANCE_GROUP)


def take_profit() -> str:
    """Its member of the consumer group reads."""
    return _consumes(TAKE_PROFIT_GROUP)


def exchange_observer() -> str:
    """The observer publishes a complete, recent reading of the wallet."""
    status, body = _get(int(os.environ.get("OBSERVER_PORT", "8001")), "/3T-observer.json")
    if status != 200:
        raise NotHealthyError(f"no complete reading: {body.get('error', status)}")
    return f"complete reading with {len(body['positions'])} positions"


def order_gateway() -> str:
    """The gateway could trade; an engaged kill switch does not make it unhealthy."""
    status, body = _get(8002, "/ready")
    unmet: Mapping[str, str] = body.get("unmet", {})
    blocking = {name: why for name, why in unmet.items() if name not in GATEWAY_MAY_LACK}
    if blocking or (status != 200 and not unmet):
        reasons = "; ".join(f"{name}: {why}" for name, why in blocking.items()) or f"HTTP {status}"
        raise NotHealthyError(f"not ready to trade: {reasons}")
    return "kill switch is on: only exits are taken" if unmet else "ready to trade"


def order_gateway_alive() -> str:
    """The gateway answers. For who kills what fails: one that cannot trade still takes exits."""
    status, _ = _get(8002, "/health")
    if status != 200:
        raise NotHealthyError(f"HTTP {status}")
    return "alive"


def paper_exchange() -> str:
    """The venue serves prices."""
    mids = _post(18000, "/info", {"type": "allMids"})
    if not mids:
        raise NotHealthyError("the venue serves no prices")
    return f"serves {len(mids)} prices"


def platform_metrics() -> str:
    """Both sources of its metrics could be read."""
    connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=TIMEOUT_SECS)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    readable = {
        line.split('"')[1]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("t3_source_readable{")
    }
    away = sorted({"mariadb", "redis"} - {name for name, value in readable.items() if value})
    if away:
        raise NotHealthyError(f"cannot read {' and '.join(away)}")
    return "reads mariadb and redis"


def flower() -> str:
    """Flower serves."""
    connection = http.client.HTTPConnection("127.0.0.1", 5555, timeout=TIMEOUT_SECS)
    connection.request("GET", "/healthcheck")
    status = connection.getresponse().status
    if status != 200:
        raise NotHealthyError(f"HTTP {status}")
    return "serves"


PROBES: Mapping[str, Callable[[], str]] = {
    "price-producer": price_producer,
    "price-sampler": price_sampler,
    "recorder": recorder,
    "celery-beat": celery_beat,
    "celery-worker-high": celery_worker_high,
    "celery-worker": celery_worker,
    "celery-worker-research": celery_worker_research,
    "balance-consumer": balance_consumer,
    "take-profit": take_profit,
    "exchange-observer": exchange_observer,
    "order-gateway": order_gateway,
    "order-gateway-alive": order_gateway_alive,
    "paper-exchange": paper_exchange,
    "flower": flower,
    "platform-metrics": platform_metrics,
}


def _within(what: str, age_secs: float | None, limit_secs: float) -> str:
    if age_secs is None:
        raise NotHealthyError(f"{what}: none yet")
    if age_secs > limit_secs:
        raise NotHealthyError(f"{what}: {age_secs:.0f} s ago, allowed are {limit_secs:.0f} s")
    return f"{what}: {max(age_secs, 0.0):.1f} s ago"


def _age_secs(at_ms: int | None) -> float | None:
    return None if at_ms is None else time.time() - at_ms / 1000


def _secrets() -> dict[str, Any]:
    content = yaml.safe_load(Path(os.environ["T3_SECRETS"]).read_text(encoding="utf-8"))
    return dict(content)


def _setting(path: str) -> str:
    """One value of ``config.yml`` with its override, unchecked: the service has checked it."""
    text = os.environ.get("T3__" + path.replace(".", "__"))
    if text is not None:
        return text
    value: Any = yaml.safe_load(Path(os.environ["T3_CONFIG"]).read_text(encoding="utf-8"))
    for key in path.split("."):
        value = value[key]
    return str(value)


def _redis() -> RespClient:
    password = _secrets()["redis"]["password"]
    return RespClient(_setting("redis.host"), int(_setting("redis.port")), password)


def _entry_age_secs(client: RespClient, stream: str) -> float | None:
    """Age of a stream's newest entry, by the time in its id."""
    entries = client.call("XREVRANGE", stream, "+", "-", "COUNT", "1")
    if not isinstance(entries, list) or not entries:
        return None
    newest = entries[0]
    if not isinstance(newest, list):
        raise NotHealthyError(f"{stream}: cannot be read")
    return _age_secs(int(str(newest[0]).partition("-")[0]))


def _recorded_ms(archive: Path) -> int | None:
    """Time in the id of the newest stream entry in the archive: the names of its parts tell it.

    A name is `{first entry}_{last entry}.parquet`, and an entry `{ms}-{sequence}`.
    """
    names = (file.stem for file in (archive / "prices" / "parts").glob("*/*.parquet"))
    return max((int(name.partition("_")[2].partition("-")[0]) for name in names), default=None)


def _own_idle_secs(client: RespClient) -> float | None:
    """Seconds since any other connection of this container was used, None when it has none."""
    own_id = client.call("CLIENT", "ID")
    idle: list[float] = []
    for line in str(client.call("CLIENT", "LIST")).splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split())
        same_host = fields["addr"].rpartition(":")[0] == client.own_ip
        if same_host and fields["id"] != str(own_id):
            idle.append(float(fields["idle"]))
    return min(idle, default=None)


def _consumes(group: str) -> str:
    """Seconds since this container's member of a consumer group was last served."""
    with _redis() as client:
        members = client.call("XINFO", "CONSUMERS", BALANCE_STREAM, group)
    idle: list[float] = []
    for member in members if isinstance(members, list) else []:
        fields = _pairs(member)
        if str(fields["name"]).startswith(f"{socket.gethostname()}:"):
            idle.append(int(str(fields["idle"])) / 1000)
    return _within(f"last read as a member of {group}", min(idle, default=None), MAX_IDLE_SECS)


def _pairs(reply: Reply) -> dict[str, Reply]:
    if not isinstance(reply, list):
        raise NotHealthyError("Redis answered with something else than a list")
    return {str(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _newest_ms(statement: str, *values: int) -> int | None:
    """The one time that a statement returns."""
    import mysql.connector  # most probes never need it

    try:
        connection = mysql.connector.connect(
            host=_setting("database.host"),
            port=int(_setting("database.port")),
            user=_setting("database.user"),
            password=_secrets()["database"]["app_password"],
            database=_setting("database.name"),
            connection_timeout=int(TIMEOUT_SECS),
            collation="utf8mb4_bin",
            use_pure=True,
        )
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            row: Any = cursor.fetchone()
        finally:
            connection.close()
    except mysql.connector.Error as error:
        raise NotHealthyError(f"MariaDB: {error.msg}") from None
    return None if row is None or row[0] is None else int(row[0])


def _get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECS)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, _mapping(response.read())


def _post(port: int, path: str, content: Mapping[str, str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECS)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(content), headers)
    return _mapping(connection.getresponse().read())


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise NotHealthyError("the answer is not a JSON object")
    return content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
