"""Chat services, mail and web hooks, by Apprise URLs (Telegram: ``tgram://token/chat``)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

import apprise
from pydantic import SecretStr

from shared.config import ConfigError

_TYPES = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}
logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages may show parts of URLs


class Channel(Protocol):
    """One place where messages go."""

    @property
    def name(self) -> str:
        """A stable name that gives nothing away."""

    def send(self, title: str, body: str, severity: str) -> str:
        """Deliver; the empty text, or why it was not possible. Bounded in time."""


class AppriseChannel:
    """One Apprise URL. ``name`` is its scheme and a fingerprint, never the URL."""

    def __init__(self, url: SecretStr, timeout_secs: float) -> None:
        text = url.get_secret_value()
        scheme = urlsplit(text).scheme or "?"
        self.name = f"{scheme}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        service = apprise.Apprise.instantiate(text, suppress_exceptions=True)
        if service is None:
            raise ConfigError(
                f"alerts.urls: the {scheme}:// entry is not a URL that Apprise understands; see "
                "https://github.com/caronc/apprise/wiki for the form of each service"
            )
        service.socket_connect_timeout = timeout_secs
        service.socket_read_timeout = timeout_secs
        self._service = service

    def send(self, title: str, body: str, severity: str) -> str:
        """Deliver; the empty text, or why it was not possible."""
        try:
            accepted = self._service.notify(
                title=title, body=body, notify_type=_TYPES.get(severity, apprise.NotifyType.INFO)
            )
        except (OSError, TypeError, ValueError) as error:
            return f"{self.name}: {type(error).__name__}"
        return "" if accepted else f"{self.name}: the service refused or did not answer"


def channels_of(urls: Sequence[SecretStr], timeout_secs: float) -> list[Channel]:
    """A channel for each URL; raises ``ConfigError`` that names the scheme, never the URL."""
    return [AppriseChannel(url, timeout_secs) for url in urls]
