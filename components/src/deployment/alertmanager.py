"""Alertmanager's configuration, with those of the platform's own channels that it can reach itself.

What the platform says by Apprise needs a worker, MariaDB and Redis. Alertmanager tells people when
just those are gone, so it does not go through them: Telegram and JSON channels of ``alerts.urls``
become receivers of its own; of other channels it knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

RECEIVER = "people"
_TELEGRAM, _JSON = "tgram", {"json": "http", "jsons": "https"}


def configuration(urls: Iterable[str]) -> dict[str, Any]:
    """Routes, receiver and what silences what; without channels alerts are only shown."""
    receiver: dict[str, Any] = {"name": RECEIVER}
    for url in urls:
        for kind, channel in _channels(url):
            receiver.setdefault(kind, []).append(channel)
    return {
        "route": {
            "receiver": RECEIVER,
            "group_by": ["alertname"],
            "group_wait": "15s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [
                {"matchers": ['severity="page"'], "receiver": RECEIVER, "repeat_interval": "1h"}
            ],
        },
        "receivers": [receiver],
        # Without the database or Redis everything else fails as well.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname=~"DatabaseUnreachable|RedisUnreachable"'],
                "target_matchers": ['severity="ticket"'],
            }
        ],
    }


def _channels(url: str) -> list[tuple[str, dict[str, Any]]]:
    """An Apprise URL as Alertmanager knows it; nothing for a service that it cannot reach."""
    parts = urlsplit(url)
    if parts.scheme == _TELEGRAM:
        # tgram://bot_id:bot_token/chat/chat…
        token = unquote(parts.netloc)
        return [
            (
                "telegram_configs",
                {"bot_token": token, "chat_id": int(chat), "send_resolved": True},
            )
            for chat in parts.path.split("/")
            if chat.lstrip("-").isdecimal()
        ]
    if parts.scheme in _JSON:
        target = parts._replace(scheme=_JSON[parts.scheme]).geturl()
        return [("webhook_configs", {"url": target, "send_resolved": True})]
    return []
