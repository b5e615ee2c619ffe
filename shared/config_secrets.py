"""The sections of ``secrets.yml``. Values show in no representation, log or message."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from shared.config_sections import Section


class HyperliquidSecrets(Section):
    """The account. ``privateKey`` is an agent's and reaches only the order gateway."""

    apiKey: SecretStr = SecretStr("")
    walletAddress: Annotated[
        str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$", description="0x and 40 hex digits")
    ] = ""
    privateKey: SecretStr = SecretStr("")

    @field_validator("privateKey")
    @classmethod
    def _hex_key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not (text.startswith("0x") and len(text) == 66 and _is_hex(text[2:])):
            raise ValueError("must be 0x and 64 hex digits")
        return value


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


class ExchangesSecrets(Section):
    """Secrets by venue."""

    hyperliquid: HyperliquidSecrets = HyperliquidSecrets()


class DatabaseSecrets(Section):
    """Passwords of the database users."""

    app_password: SecretStr = SecretStr("")
    migrate_password: SecretStr = SecretStr("")
    reader_password: SecretStr = SecretStr("")
    research_password: SecretStr = SecretStr("")
    root_password: SecretStr = SecretStr("")
    exporter_password: SecretStr = SecretStr("")


class RedisSecrets(Section):
    """Password of Redis; empty: none."""

    password: SecretStr = SecretStr("")
    exporter_password: SecretStr = SecretStr("")


class GatewaySecrets(Section):
    """Bearer token of the order gateway."""

    token: SecretStr = SecretStr("")

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value


class PaperExchangeSecrets(Section):
    """Token of the paper exchange's admin routes."""

    admin_token: SecretStr = SecretStr("")


class FlowerSecrets(Section):
    """Password of the user ``flower``."""

    password: SecretStr = SecretStr("")


class GrafanaSecrets(Section):
    """Password of the user ``admin``."""

    admin_password: SecretStr = SecretStr("")


class AlertSecrets(Section):
    """Apprise URLs of the channels; each holds a token."""

    urls: tuple[SecretStr, ...] = ()


class Secrets(Section):
    """The whole of ``secrets.yml``; each process is given a file with what it needs only."""

    exchanges: ExchangesSecrets = ExchangesSecrets()
    database: DatabaseSecrets = DatabaseSecrets()
    redis: RedisSecrets = RedisSecrets()
    order_gateway: GatewaySecrets = GatewaySecrets()
    paper_exchange: PaperExchangeSecrets = PaperExchangeSecrets()
    alerts: AlertSecrets = AlertSecrets()
    flower: FlowerSecrets = FlowerSecrets()
    grafana: GrafanaSecrets = GrafanaSecrets()
