"""A search from Python: what ``make optimize`` calls."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from shared.config import load_secrets, load_settings
from shared.research.optimize.local import Connected, LocalPlatform, default_workers
from shared.research.optimize.outcome import outcome_of
from shared.research.optimize.outputs import write_all
from shared.research.optimize.progress import TrialProgress
from shared.research.optimize.search import Counts, plan, run
from shared.research.optimize.senders import CelerySender
from shared.research.optimize.studies import open_storage
from shared.research.request import Request

NEEDED_SECRETS = ("database.research_password", "redis.password")


def optimize(
    request: Request,
    *,
    config: str | None = None,
    trials: int | None = None,
    folds: int | None = None,
    workers: int | None = None,
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run or resume a search into its folder under ``root`` (default: ``research.path``).

    Returns the JSON line as a dict.

    Where ``T3_SECRETS`` of ``environ`` names a platform, its research workers do the trials;
    otherwise ``workers`` processes that this call starts.

    Raises
    ------
    ResearchError
        If it cannot be run as asked; the message is one sentence.
    ConfigError
        If the configuration or the secrets are unusable.
    """
    start = time.monotonic()
    environ = os.environ if environ is None else environ
    file = Path(config or environ.get("T3_CONFIG", "config.yml"))
    settings = load_settings(file, environ)
    wanted = plan(request, settings, trials, folds)
    with _platform(environ, file, workers) as connected:
        storage = open_storage(connected.settings, connected.secrets)
        sender = CelerySender(connected.settings, connected.secrets)
        with TrialProgress(wanted.trials * len(wanted.folds)) as progress:

            def shown(counts: Counts, problem: str) -> None:
                connected.check()
                progress(counts, problem)

            studies = run(wanted, storage, sender, shown)
        outcome = outcome_of(wanted.folds, studies, settings)
    seconds = time.monotonic() - start
    text = file.read_text(encoding="utf-8")
    return write_all((root or settings.research.path) / wanted.id, wanted, outcome, seconds, text)


def _platform(
    environ: Mapping[str, str], config: Path, workers: int | None
) -> AbstractContextManager[Connected]:
    if "T3_SECRETS" not in environ:
        return LocalPlatform(environ, config, workers or default_workers())
    settings = load_settings(config, environ)
    secrets = load_secrets(require=NEEDED_SECRETS, environ=environ)
    return nullcontext(Connected(settings, secrets, environ))
