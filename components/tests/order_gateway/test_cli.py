"""The commands a person uses to leave the market."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def cli(gateway: Any, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "order_gateway.cli", *arguments],
        env={**gateway.environ, "USER": "tester", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_switch_flatten_cancel_and_risk(gateway: Any, venue: Any) -> None:
    assert gateway.execute(gateway.planned("BTC", "buy", "0.01"))["state"] == "FILLED"
    price = str(round(venue.mid("ETH") * 0.98))
    rest = gateway.by_hand("cli", "ETH", "buy", "0.1", type="limit", price=price)
    order = gateway.execute(rest)

    cancelled = cli(gateway, "cancel-all", "--symbol", "ETH", "--reason", "a test")
    assert cancelled.returncode == 0, cancelled.stderr
    assert f"{order['cloid']} CANCELLED" in cancelled.stdout

    flat = cli(gateway, "flatten", "--reason", "a test")
    assert flat.returncode == 0, flat.stderr
    assert flat.stdout.startswith("kill switch set; ")
    assert flat.stdout.splitlines()[-1] == "flat"
    assert venue.position("BTC") == 0
    not_held = cli(gateway, "flatten", "--symbol", "SOL", "--keep-trading", "--reason", "a test")
    assert not_held.stdout == "SOL      no position is held\nflat\n"
    mistyped = cli(gateway, "flatten", "--symbol", "BTCC", "--reason", "a test")
    assert (mistyped.returncode, mistyped.stdout) == (1, "")
    assert "BTCC is not allowed; a coin that is held (none), or a perpetual" in mistyped.stderr

    risk = cli(gateway, "risk")
    assert "SET by tester: flatten: a test" in risk.stdout
    lifted = cli(gateway, "kill-switch", "lift", "--reason", "a test")
    assert lifted.stdout == "kill switch lifted\n"
    again = cli(gateway, "kill-switch", "lift", "--reason", "a test")
    assert again.returncode == 1
    assert "not set" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flatten"], "--reason"),
        (["flatten", "--reason", "no"], "3 to 200"),
        (["kill-switch", "maybe", "--reason", "a test"], "invalid choice"),
        (["sell-everything"], "invalid choice"),
    ],
)
def test_bad_input_is_code_2_and_says_what_is_allowed(
    gateway: Any, arguments: list[str], words: str
) -> None:
    done = cli(gateway, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_no_gateway_is_code_2(gateway: Any) -> None:
    done = cli(gateway, "risk", T3__order_gateway__port="1")
    assert done.returncode == 2
    assert "is the gateway running?" in done.stderr
