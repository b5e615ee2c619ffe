"""Prepares a checkout for ``docker compose``: ``python -m deployment.prepare FOLDER``.

Run by `make install` inside the image it has built, so that the host needs Docker alone. Checks
``config.yml``, completes ``secrets.yml``, and writes ``.env`` and ``.local/docker/secrets``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from deployment.secret_files import SecretsProblemError, complete, cut
from shared.config import ENV_PREFIX, ConfigError, load_settings

BAD_INPUT = 2
SECRETS_FOLDER = Path(".local/docker/secrets")
_ENV_HEADER = """\
# Written by `make install` from config.yml; docker compose reads it. No secrets in here.
# WORKERS is kept: change it with `make scale WORKERS=n`.
"""


def main(arguments: list[str]) -> int:
    """Exit code: 0 prepared, 2 something in the configuration has to be changed first."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m deployment.prepare FOLDER\n")
        return BAD_INPUT
    folder = Path(arguments[0])
    # The containers' own overrides name hosts of theirs; what counts here is the file.
    environ = {name: v for name, v in os.environ.items() if not name.startswith(ENV_PREFIX)}
    try:
        settings = load_settings(folder / "config.yml", environ)
        content, drawn = complete(folder / "secrets.yml", settings.mode)
        cut(folder / SECRETS_FOLDER, content)
        write_env(folder / ".env", settings.mode, digest(folder))
    except (ConfigError, SecretsProblemError) as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except OSError as error:
        sys.stderr.write(f"{error.filename}: cannot be written ({error.strerror})\n")
        return BAD_INPUT
    if drawn:
        sys.stdout.write("secrets.yml: drew what was empty\n")
    return 0


def digest(folder: Path) -> str:
    """Names what the containers read, so that compose makes them anew when it has changed."""
    files = [folder / "config.yml", *sorted((folder / SECRETS_FOLDER).iterdir())]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def write_env(file: Path, mode: str, inputs: str) -> None:
    """Compose's own variables: the venue's profile, and what only paper mode may do."""
    values = {"WORKERS": "1", **read_env(file)}
    values["T3_INPUTS"] = inputs
    values["COMPOSE_PROFILES"] = "paper" if mode == "paper" else ""
    values["T3_WARM_HISTORY"] = "true" if mode == "paper" else "false"
    lines = [f"{name}={value}" for name, value in values.items()]
    file.write_text(_ENV_HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def read_env(file: Path) -> dict[str, str]:
    """The variables of an ``.env`` file, which has one per line; empty where there is none."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
