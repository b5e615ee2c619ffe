"""``python -m order_gateway.cli``: leave the market and hold the switches, from a terminal."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import requests

from shared.command_line import Parser
from shared.config import ConfigError, load_secrets, load_settings

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
TIMEOUT_SECS = 120.0
EPILOG = """\
examples:
  python -m order_gateway.cli risk
  python -m order_gateway.cli kill-switch set --reason "strange fills on SOL"
  python -m order_gateway.cli kill-switch set --flatten --reason "leaving for the weekend"
  python -m order_gateway.cli kill-switch lift --reason "fills explained, see the log"
  python -m order_gateway.cli flatten --reason "done for today"
  python -m order_gateway.cli flatten --symbol BTC --keep-trading --reason "reset BTC"
  python -m order_gateway.cli cancel-all --reason "moving to another machine"

The gateway must be running; its address is order_gateway.host and .port of config.yml
(T3_CONFIG), its token is order_gateway.token of secrets.yml (T3_SECRETS).
exit codes: 0 done, 1 refused or not everything done, 2 bad input or gateway not reachable.
"""


class Unreachable(RuntimeError):
    """The gateway gave no answer."""


def parser() -> argparse.ArgumentParser:
    """Every command with its meaning."""
    top = Parser(
        prog="python -m order_gateway.cli",
        description="Leave the market and hold the switches of the order gateway.",
        epilog=EPILOG,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("risk", help="show kill switch, day, account and limits")

    flatten = commands.add_parser(
        "flatten",
        help="cancel resting orders and close positions by reduce-only market orders",
        description="Cancel resting orders and close positions by reduce-only market orders. "
        "The kill switch is set as well, because the platform would open the positions again.",
    )
    _add_why(flatten)
    _add_symbols(flatten)
    flatten.add_argument(
        "--keep-trading", action="store_true", help="leave the kill switch as it is"
    )

    cancel = commands.add_parser("cancel-all", help="cancel resting orders; positions stay")
    _add_why(cancel)
    _add_symbols(cancel)

    resume = commands.add_parser(
        "resume", help="trade a coin again that was paused because of someone else's trade"
    )
    resume.add_argument("symbol", metavar="COIN")
    _add_why(resume)

    switch = commands.add_parser(
        "kill-switch",
        help="forbid new exposure, or allow it again",
        description="set: nothing new is opened from now on, resting orders are cancelled, exits "
        "go on; it stays set through restarts. lift: needs a reason, like everything here.",
    )
    switch.add_argument("action", choices=["set", "lift"])
    _add_why(switch)
    switch.add_argument("--flatten", action="store_true", help="with set: close positions too")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        settings = load_settings()
        secrets = load_secrets(require=["order_gateway.token"])
        url = f"http://{settings.order_gateway.host}:{settings.order_gateway.port}"
        client = Client(url, secrets.order_gateway.token.get_secret_value())
        return COMMANDS[arguments.command](client, arguments)
    except (ConfigError, Unreachable) as error:
        print(f"order_gateway: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(
            "order_gateway: interrupted; the gateway goes on with what it was asked: see 'risk'",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED


class Client:
    """The gateway's API as these commands need it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> requests.Response:
        """Ask."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        """Tell."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> requests.Response:
        try:
            return requests.request(
                method, self._url + path, json=body, headers=self._headers, timeout=TIMEOUT_SECS
            )
        except requests.RequestException as error:
            raise Unreachable(
                f"no answer from {self._url} ({type(error).__name__}); is the gateway running?"
            ) from error


def show_risk(client: Client, _: argparse.Namespace) -> int:
    """Print the state of the risk manager."""
    reply = client.get("/risk")
    if reply.status_code != requests.codes.ok:
        return _refused(reply)
    state = reply.json()
    switch = state["kill_switch"]
    if switch["engaged"]:
        print(f"kill switch    SET by {switch['actor']}: {switch['reason']}")
    else:
        print("kill switch    not set")
    day, account = state["day"], state["account"]
    if day is not None:
        loss = "unknown" if day["loss"] is None else f"{float(day['loss']):+.2%}"
        print(f"day            {day['date']}, began at {day['start_value_usd']} USD, loss {loss}")
    if account is None:
        print("account        unknown: no fresh reading")
    else:
        print(f"account        {account['account_value_usd']} USD")
        for symbol, size in sorted(account["positions"].items()):
            print(f"  position     {symbol} {size}")
    for symbol, reason in sorted(state["paused_symbols"].items()):
        print(f"paused         {symbol}: {reason}")
    for name, value in state["limits"].items():
        print(f"limit          {name} = {value}")
    return EXIT_OK


def flatten(client: Client, arguments: argparse.Namespace) -> int:
    """Close positions and say what remains."""
    body = _why(arguments) | {"kill_switch": not arguments.keep_trading}
    reply = client.post("/flatten", body | _symbols(arguments))
    if reply.status_code == requests.codes.ok and not arguments.keep_trading:
        print("kill switch set; 'kill-switch lift' when trading may go on")
    return _flattened(reply)


def cancel_all(client: Client, arguments: argparse.Namespace) -> int:
    """Cancel resting orders and say what became of each."""
    reply = client.post("/cancel-all", _why(arguments) | _symbols(arguments))
    if reply.status_code != requests.codes.ok:
        return _refused(reply)
    orders = reply.json()
    for order in orders:
        print(f"{order['symbol']:8} {order['cloid']} {order['state']}")
    print(f"{len(orders)} open orders looked at")
    return EXIT_FAILED if any(order["open"] for order in orders) else EXIT_OK


def kill_switch(client: Client, arguments: argparse.Namespace) -> int:
    """Set or lift the kill switch."""
    body = _why(arguments) | {"action": arguments.action}
    if arguments.flatten:
        body["flatten"] = True
    reply = client.post("/risk/kill-switch", body)
    if reply.status_code != requests.codes.ok:
        return _refused(reply)
    switch = reply.json()
    print(f"kill switch {'set' if switch['engaged'] else 'lifted'}")
    if "problem" in switch:
        print(f"order_gateway: {switch['problem']}", file=sys.stderr)
        return EXIT_FAILED
    return _flattened(reply) if arguments.flatten else EXIT_OK


def resume(client: Client, arguments: argparse.Namespace) -> int:
    """Let a paused coin be traded again."""
    reply = client.post("/risk/resume", _why(arguments) | {"symbol": arguments.symbol})
    if reply.status_code != requests.codes.ok:
        return _refused(reply)
    print(f"{arguments.symbol} is traded again")
    return EXIT_OK


COMMANDS = {
    "risk": show_risk,
    "flatten": flatten,
    "cancel-all": cancel_all,
    "kill-switch": kill_switch,
    "resume": resume,
}


def _flattened(reply: requests.Response) -> int:
    if reply.status_code != requests.codes.ok:
        return _refused(reply)
    result = reply.json()
    for symbol in result["symbols"]:
        closed = ", ".join(f"{o['side']} {o['filled_size']}" for o in symbol["orders"])
        problem = f"  ({symbol['problem']})" if symbol["problem"] else ""
        done = f"sent {closed or 'nothing'}; {symbol['remaining_size']} remains{problem}"
        if not (closed or problem or float(symbol["remaining_size"])):
            done = "no position is held"
        print(f"{symbol['symbol']:8} {done}")
    print("flat" if result["flat"] else "NOT flat: see above")
    return EXIT_OK if result["flat"] else EXIT_FAILED


def _refused(reply: requests.Response) -> int:
    try:
        body = reply.json()
        message = body.get("message") or body.get("error")
    except ValueError:
        message = reply.text[:200]
    print(f"order_gateway: {reply.status_code}: {message}", file=sys.stderr)
    return EXIT_FAILED


def _add_why(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--reason", required=True, type=_reason, help="why, 3 to 200 characters; it is audited"
    )
    command.add_argument("--actor", default=_user(), help="who (default: your user name)")


def _add_symbols(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--symbol", action="append", metavar="COIN", help="only this coin; may be repeated"
    )


def _reason(text: str) -> str:
    if not 3 <= len(text) <= 200:
        raise argparse.ArgumentTypeError("a reason has 3 to 200 characters")
    return text


def _user() -> str:
    name = os.environ.get("USER") or getpass.getuser()
    return re.sub(r"[^A-Za-z0-9_.@-]", "_", name)[:64] or "cli"


def _why(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"reason": arguments.reason, "actor": arguments.actor}


def _symbols(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"symbols": arguments.symbol} if arguments.symbol else {}


if __name__ == "__main__":
    sys.exit(main())
