"""The gateway trades as well on a venue whose undocumented behaviour is the other one.

Its own tests run on the defaults; those that meet a switch run here on the other values.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from paper_exchange.state import SWITCH_CHOICES

ROOT = Path(__file__).resolve().parents[3]
GATEWAY = "components/tests/order_gateway"
TESTS = [
    "test_orders.py::test_limits_that_do_not_match_are_rejected_or_cancelled",
    "test_orders.py::test_repeated_intent_is_one_order_and_another_payload_is_refused",
    "test_orders.py::test_lost_reply_is_settled_as_filled_without_a_second_send",
    "test_resting.py::test_resting_order_is_cancelled_as_a_fact",
    "test_resting.py::test_flatten_closes_everything_and_keeps_it_closed",
]


def test_gateway_tests_pass_on_the_other_setting_of_every_switch() -> None:
    others = ",".join(f"{name}={values[1]}" for name, values in SWITCH_CHOICES.items())
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            *(f"{GATEWAY}/{test}" for test in TESTS),
        ],
        cwd=ROOT,
        env=os.environ | {"PAPER_EXCHANGE_SWITCHES": others},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(rf"\b{len(TESTS)} passed", done.stdout), done.stdout[-500:]
