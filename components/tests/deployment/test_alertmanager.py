"""People are told by Alertmanager through those of their channels that it can reach."""

from __future__ import annotations

from deployment.alertmanager import configuration


def test_without_channels_alerts_are_only_shown() -> None:
    (receiver,) = configuration([])["receivers"]
    assert receiver == {"name": "people"}


def test_telegram_and_json_channels_become_its_own() -> None:
    urls = ["tgram://123456:AAbb_cc/-1001/42/", "jsons://user:pw@example.org/hook", "slack://a/b/c"]
    (receiver,) = configuration(urls)["receivers"]
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
