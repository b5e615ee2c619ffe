"""Settings and secrets: one message for every fault, and the key paths that users know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.config import Config, ConfigError, load_secrets, load_settings

CONFIG = Path(__file__).parents[2] / "config.yml"

KNOWN_PATHS = [
    "providence.desired_run_count",
    "providence.iteration_jitter_seconds",
    "providence.iteration_batch_size",
    "providence.db_checkpoint_iterations",
    "reconciliation_engine.rebalance_frequency",
    "reconciliation_engine.risk_pos_percentage",
    "reconciliation_engine.symbols",
    "reconciliation_engine.observer_nodes",
    "reconciliation_engine.order_gateway_url",
    "reconciliation_engine.minimum_trade_threshold",
    "exchanges.hyperliquid.proxy",
    "exchanges.hyperliquid.origin",
    "exchanges.hyperliquid.poll_interval",
    "exchanges.hyperliquid.poll_batch_size",
    "market_data.concurrency_limit",
    "observability.sampling_rate",
    "celery.schedules.providence_supervisor",
    "celery.schedules.providence_iteration_scheduler",
    "database.host",
    "database.port",
    "database.name",
    "redis.host",
    "redis.port",
]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the shipped configuration, changed by a function, and returns the file."""

    def write(change: Any) -> Path:
        content = yaml.safe_load(CONFIG.read_text())
        change(content)
        file = tmp_path / "config.yml"
        file.write_text(yaml.safe_dump(content))
        return file

    return write


def test_shipped_configuration_is_valid_paper_mode() -> None:
    settings = load_settings(CONFIG, environ={})
    assert settings.mode == "paper"
    assert settings.venue.rest_url == settings.paper_exchange.url
    assert settings.venue.ws_url == settings.paper_exchange.url.replace("http", "ws") + "/ws"


@pytest.mark.parametrize("path", KNOWN_PATHS)
def test_key_paths_that_users_know_exist_in_file_and_settings(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T3_CONFIG", str(CONFIG))
    Config.reset()
    value = yaml.safe_load(CONFIG.read_text())
    for key in path.split("."):
        value = value[key]
    loaded = Config.get(path)
    Config.reset()
    assert loaded == (tuple(value) if isinstance(value, list) else value)


def test_config_get_names_a_path_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T3_CONFIG", str(CONFIG))
    Config.reset()
    with pytest.raises(KeyError, match=r"providence\.run_count"):
        Config.get("providence.run_count")
    Config.reset()


def test_every_fault_is_named_with_its_path(written: Any) -> None:
    def break_three(content: dict[str, Any]) -> None:
        content["providence"]["desired_run_count"] = -1
        content["redis"]["port"] = "many"
        content["surprise"] = 1

    with pytest.raises(ConfigError) as caught:
        load_settings(written(break_three), environ={})
    message = str(caught.value)
    assert "3 fault(s)" in message
    assert "providence.desired_run_count" in message
    assert "allowed is 0 to 10,000,000, found -1" in message
    assert "redis.port" in message
    assert "surprise: unknown key" in message


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("T3__providence__desired_run_count", "7", "providence.desired_run_count", 7),
        ("T3__exchanges__hyperliquid__proxy", "null", "exchanges.hyperliquid.proxy", None),
        (
            "T3__reconciliation_engine__symbols",
            "[BTC]",
            "reconciliation_engine.symbols",
            ("BTC",),
        ),
    ],
)
def test_environment_overrides_a_key(name: str, text: str, path: str, expected: Any) -> None:
    value: Any = load_settings(CONFIG, environ={name: text})
    for key in path.split("."):
        value = getattr(value, key)
    assert value == expected


def test_unknown_key_in_the_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"providence\.run_count: unknown key"):
        load_settings(CONFIG, environ={"T3__providence__run_count": "1"})


def test_environment_cannot_turn_a_value_into_a_section() -> None:
    with pytest.raises(ConfigError, match="mode is a value, not a section"):
        load_settings(CONFIG, environ={"T3__mode__x": "1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1", "is not valid YAML"), ("- 1", "must hold a mapping"), (None, "cannot be read")],
)
def test_unreadable_file_is_one_clear_sentence(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "config.yml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_settings(file, environ={})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("mode", "Paper", "mode: allowed is 'paper', 'testnet' or 'live', found 'Paper'"),
        ("providence", "5", "providence: must be a section with keys of its own"),
        ("risk__max_daily_loss", "10", "risk.max_daily_loss: allowed is 0.001 to 1, found 10"),
        ("risk__max_daily_loss", "10%", "risk.max_daily_loss: must be a number, found '10%'"),
        ("risk__max_daily_loss", ".nan", "must be a finite number, found nan"),
        ("redis__db", "1.5", "redis.db: must be a whole number, found 1.5"),
        ("redis__host", "7", "redis.host: must be text: put it in quotes, found 7"),
        ("recorder__enabled", "maybe", "recorder.enabled: must be true or false, found 'maybe'"),
        ("reconciliation_engine__symbols", "BTC", "must be a list, such as [a, b], found 'BTC'"),
        ("reconciliation_engine__symbols", "[B-C]", "symbols.0: must look like BTC or kPEPE"),
        ("reconciliation_engine__order_gateway_url", "h:8", "must look like http://127.0.0.1:8001"),
        ("providence__entropy__windows", "[2, 60]", "windows.0: allowed is 10 to 10,000, found 2"),
        ("providence__interpretations", "{up: 1}", "interpretations.up: allowed is 'direct', "),
        (
            "providence__sizing__base_fraction",
            "0",
            "providence.sizing.base_fraction: allowed is above 0, at most 10, found 0",
        ),
        (
            "providence__exits__max_drawdown",
            "[0.5, 0.2]",
            "\n  providence.exits.max_drawdown is (0.5, 0.2); allowed is low <= high",
        ),
        (
            "providence__interpretations",
            "{direct: 0}",
            "\n  providence.interpretations are all 0; one weight must be positive",
        ),
    ],
)
def test_a_fault_says_where_what_is_allowed_and_what_was_found(
    key: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(CONFIG, environ={f"T3__{key}": value})
    assert said in str(caught.value)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """YAML would take the last one: ``mode: live`` at the end would win over the one on top."""
    file = tmp_path / "config.yml"
    text = CONFIG.read_text(encoding="utf-8")
    file.write_text(f"{text}mode: live\n", encoding="utf-8")
    line = len(text.splitlines()) + 1
    with pytest.raises(ConfigError, match=f"config.yml, line {line}: the key 'mode' is there"):
        load_settings(file, environ={})


def test_live_mode_needs_the_acknowledgement() -> None:
    with pytest.raises(ConfigError, match="live_acknowledgement"):
        load_settings(CONFIG, environ={"T3__mode": "live"})


def test_live_and_testnet_use_their_own_urls_and_networks() -> None:
    sentence = "I trade real money at my own risk"
    live = load_settings(CONFIG, environ={"T3__mode": "live", "T3__live_acknowledgement": sentence})
    testnet = load_settings(CONFIG, environ={"T3__mode": "testnet"})
    assert (live.venue.rest_url, live.venue.network) == (
        "https://api.hyperliquid.xyz",
        "mainnet",
    )
    assert (testnet.venue.rest_url, testnet.venue.network) == (
        "https://api.hyperliquid-testnet.xyz",
        "testnet",
    )


def test_invented_history_is_refused_outside_paper_mode() -> None:
    with pytest.raises(ConfigError, match="warm_history: allowed in paper mode only"):
        load_settings(
            CONFIG, environ={"T3__mode": "testnet", "T3__price_sampler__warm_history": "true"}
        )


def test_more_requests_than_the_venue_grants_are_refused_outside_paper_mode() -> None:
    key = "T3__exchanges__hyperliquid__rate_budget_per_minute"
    assert load_settings(CONFIG, environ={key: "1201"}).mode == "paper"
    with pytest.raises(ConfigError, match="at most 1200 outside paper mode, found 1201"):
        load_settings(CONFIG, environ={"T3__mode": "testnet", key: "1201"})
    load_settings(CONFIG, environ={"T3__mode": "testnet", key: "1200"})


def test_settings_are_frozen() -> None:
    settings = load_settings(CONFIG, environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.mode = "live"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exchanges: {hyperliquid: {walletAddress: 0x1234567890}}", "put it in quotes"),
        ("exchanges: {hyperliquid: {walletAddress: '0x1234567890'}}", "like 0x and 40 hex digits"),
        ("order_gateway: {token: 1234567890}", "order_gateway.token: must be text"),
        ("order_gateway: {token: *1234567890}", "secrets.yml, line 1: is not valid YAML"),
        ("order_gateway: {token: !1234567890 x}", "secrets.yml, line 1: is not valid YAML"),
        ("alerts: {urls: 'tgram://1234567890'}", "alerts.urls: must be a list"),
    ],
)
def test_a_faulty_secret_is_not_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_secrets(file)
    assert said in str(caught.value)
    assert "1234567890" not in str(caught.value)


def test_missing_secrets_are_all_named_and_none_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text("order_gateway: {token: 0123456789abcdef0123456789abcdef}\n")
    with pytest.raises(ConfigError) as caught:
        load_secrets(
            file,
            require=[
                "exchanges.hyperliquid.privateKey",
                "exchanges.hyperliquid.walletAddress",
                "order_gateway.token",
            ],
        )
    message = str(caught.value)
    assert "exchanges.hyperliquid.privateKey, exchanges.hyperliquid.walletAddress" in message
    assert "order_gateway.token" not in message
    assert "0123456789abcdef" not in message


def test_malformed_secrets_are_named_without_their_values(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text(
        "exchanges: {hyperliquid: {walletAddress: '0x12', privateKey: 'hunter2'}}\n"
        "order_gateway: {token: short}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_secrets(file)
    message = str(caught.value)
    for path in ("walletAddress", "privateKey", "order_gateway.token"):
        assert path in message
    assert "hunter2" not in message
    assert "short" not in message


def test_secrets_do_not_show_in_representations(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text("database: {app_password: swordfish}\n")
    secrets = load_secrets(file)
    assert "swordfish" not in f"{secrets!r} {secrets}"
    assert secrets.database.app_password.get_secret_value() == "swordfish"
