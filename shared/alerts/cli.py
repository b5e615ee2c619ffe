"""``python -m shared.alerts.cli test``: does a message reach every configured channel?

Exit codes: 0 every channel took it, 1 at least one did not, 2 nothing is configured or wrongly so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from shared.alerts.channels import channels_of
from shared.command_line import Parser
from shared.config import ConfigError, load_secrets, load_settings

OK, FAILED, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = Parser(prog="python -m shared.alerts.cli", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("test", help="send one message to every channel of alerts.urls")
    parser.parse_args(argv)
    try:
        return _test()
    except ConfigError as error:
        print(f"alert-test: {error}", file=sys.stderr)
        return BAD_INPUT


def _test() -> int:
    settings, secrets = load_settings(), load_secrets()
    channels = channels_of(secrets.alerts.urls, settings.alerts.timeout_secs)
    if not channels:
        raise ConfigError(
            "alerts.urls in secrets.yml lists no channel; add Apprise URLs such as "
            "tgram://BOT_TOKEN/CHAT_ID"
        )
    failures = 0
    for channel in channels:
        body = f"This is a test of 3T in {settings.mode} mode, {datetime.now(UTC):%H:%M:%S} UTC."
        problem = channel.send("3T: test alert", body, "info")
        failures += bool(problem)
        print(f"failed  {problem}" if problem else f"sent    {channel.name}")
    return FAILED if failures else OK


if __name__ == "__main__":
    raise SystemExit(main())
