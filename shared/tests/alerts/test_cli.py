"""``make alert-test`` says clearly what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.alerts.cli import main


@pytest.fixture
def secrets_with(
    tmp_path: Path, service_environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    def write(*urls: str) -> None:
        file = tmp_path / "secrets.yml"
        file.write_text(yaml.safe_dump({"alerts": {"urls": list(urls)}}))
        monkeypatch.setenv("T3_CONFIG", service_environ["T3_CONFIG"])
        monkeypatch.setenv("T3_SECRETS", str(file))

    return write


def test_a_message_is_sent_to_every_channel(
    secrets_with: Any, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets_with(chat.url.get_secret_value())
    assert main(["test"]) == 0
    assert len(chat.received) == 1
    said = capsys.readouterr().out
    assert said.startswith("sent    json:")
    assert "secret-path" not in said


def test_a_channel_that_refuses_is_named_and_the_code_is_1(
    secrets_with: Any, chat: Any, other_chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.status = 403
    secrets_with(chat.url.get_secret_value(), other_chat.url.get_secret_value())
    assert main(["test"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("failed")
    assert second.startswith("sent")


def test_no_channel_is_bad_input(secrets_with: Any, capsys: pytest.CaptureFixture[str]) -> None:
    secrets_with()
    assert main(["test"]) == 2
    assert "alerts.urls in secrets.yml lists no channel" in capsys.readouterr().err
