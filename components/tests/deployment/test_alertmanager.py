"""People are told by Alertmanager through those of their channels that it can reach."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from deployment.alertmanager import configuration
from shared.native_servers import ServerMissingError, find_program

CHANNELS = [
    "tgram://123456:AAbb_cc/-1001/42/",
    "jsons://user:pw@example.org/hook",
    "slack://a/b/c",
]


@pytest.mark.parametrize("urls", [[], CHANNELS], ids=["shown only", "telegram and json"])
def test_alertmanager_takes_it(urls: list[str], tmp_path: Path) -> None:
    try:
        program = find_program("amtool")
    except ServerMissingError:
        pytest.skip("amtool is not installed: make prometheus")
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(configuration(urls)), encoding="utf-8")
    done = subprocess.run(
        [str(program), "check-config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_channels_alerts_are_only_shown() -> None:
    (receiver,) = configuration([])["receivers"]
    assert receiver == {"name": "people"}


def test_telegram_and_json_channels_become_its_own() -> None:
    (receiver,) = configuration(CHANNELS)["receivers"]
    assert receiver["telegram_configs"] == [
        {"bot_token": "123456:AAbb_cc", "chat_id": chat, "send_resolved": True}
        for chat in (-1001, 42)
    ]
    assert receiver["webhook_configs"] == [
        {"url": "https://user:pw@example.org/hook", "send_resolved": True}
    ]


def test_pages_are_told_again_sooner_and_tickets_wait_for_the_database() -> None:
    found = configuration([])
    (page,) = found["route"]["routes"]
    assert page["matchers"] == ['severity="page"']
    (rule,) = found["inhibit_rules"]
    assert rule["target_matchers"] == ['severity="ticket"']
