"""An optimisation from end to end: folds, studies, trials until there are enough.

The same request on the same data and configuration is the same optimisation: asked for again, it
goes on where it was, whatever ended it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Protocol

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from shared.config import Settings
from shared.research.errors import ResearchError
from shared.research.optimize.folds import Fold, walk_forward
from shared.research.optimize.space import reach_of
from shared.research.optimize.studies import (
    FINISHED,
    StudySpec,
    open_study,
    revive,
    settings_content,
    states,
    top_up,
)
from shared.research.optimize.work import identity
from shared.research.performance import DAY_MS
from shared.research.request import Inputs, Request, load
from shared.research.sources import grows

BACKTESTED: Final = (
    "providence",
    "reconciliation_engine",
    "take_profit",
    "market_data",
    "price_sampler",
)
"""Sections of the configuration that a backtest depends on, beside the schedules."""
MOST_FAILURES: Final = 3
"""Trials of one study that may end in an error before the search does."""
WITHOUT_WORKERS_SECS: Final = 20.0
"""Nothing works on trials that wait: say so, and send them again."""


@dataclass(frozen=True, slots=True)
class Optimisation:
    """What is to be done: data, folds, trials per fold. ``id`` names it everywhere."""

    id: str
    request: Request
    settings: Settings
    inputs: Inputs
    folds: tuple[Fold, ...]
    trials: int

    def specs(self) -> list[StudySpec]:
        """What the workers are told, fold by fold."""
        content, data = settings_content(self.settings), identity(self.inputs)
        return [
            StudySpec(self.id, self.request, content, data, fold, self.request.seed)
            for fold in self.folds
        ]


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials of all folds, by what became of them."""

    wanted: int
    done: int = 0
    """Trials that need no more work; no fold counts more than what is wanted of it."""
    complete: int = 0
    pruned: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0


class Sender(Protocol):
    """How trials reach those who do them."""

    def send(self, study: str, numbers: Sequence[int]) -> None:
        """Have these trials of a study done; to send one again is harmless."""

    def wait(self) -> None:
        """Let some work be done: called again and again until there is no more."""


Shown = Callable[[Counts, str], None]
"""Told the counts, and a sentence where something is in the way."""


def plan(
    request: Request,
    settings: Settings,
    trials: int | None = None,
    folds: int | None = None,
) -> Optimisation:
    """Read the data and lay out the folds.

    Without an end, what is still being recorded counts until the last midnight (UTC): workers are
    to find the same, and the same call on the same day goes on with the same search.

    Raises
    ------
    ResearchError
        If it cannot be done as asked.
    """
    if not settings.research.parameters:
        raise ResearchError("research.parameters in config.yml names no key to search")
    if request.strategy != "providence":
        raise ResearchError(f"strategy {request.strategy!r} has no searched keys; it is a baseline")
    wanted = settings.research.trials if trials is None else trials
    if not 2 <= wanted <= 100_000:
        raise ResearchError(f"trials is {wanted}; allowed is 2 to 100,000")
    if request.runs is None:
        request = replace(request, runs=settings.research.runs)
    until_midnight = request.to_ms is None and any(map(grows, request.data))
    if until_midnight:
        now_ms = time.time_ns() // 1_000_000
        request = replace(request, to_ms=now_ms // DAY_MS * DAY_MS - 1)
    try:
        inputs = load(request, settings)
    except ResearchError as error:
        if not until_midnight:
            raise
        raise ResearchError(
            f"{error}; what is still being recorded counts until the last midnight (UTC), "
            "unless --to says otherwise"
        ) from error
    if not inputs.prices:
        raise ResearchError("mariadb:ticks cannot be cut into folds; name mariadb:candles_1m")
    forward = settings.research.walk_forward
    count = forward.folds if folds is None else folds
    if not 1 <= count <= 50:
        raise ResearchError(f"folds is {count}; allowed is 1 to 50")
    made = walk_forward(
        inputs.series.first_ms,
        inputs.series.last_ms,
        inputs.series.interval_ms,
        reach_of(settings, inputs.series.interval_ms),
        folds=count,
        train_tests=forward.train_tests,
        anchored=forward.anchored,
    )
    name = _name(request, settings, inputs, made)
    return Optimisation(name, request, settings, inputs, made, wanted)


def _name(request: Request, settings: Settings, inputs: Inputs, folds: Sequence[Fold]) -> str:
    """Digest of everything that trials depend on, wherever the files lie."""
    research = settings.research
    content = settings_content(settings)
    asked = {key: value for key, value in asdict(request).items() if key != "data"}
    relevant = {section: content[section] for section in BACKTESTED}
    relevant["schedules"] = content["celery"]["schedules"]
    parts = [
        asked,
        relevant,
        identity(inputs),
        [asdict(fold) for fold in folds],
        {path: searched.model_dump(mode="json") for path, searched in research.parameters.items()},
        research.pruning.model_dump(),
        research.min_orders,
    ]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run(
    optimisation: Optimisation, storage: RDBStorage, sender: Sender, shown: Shown
) -> list[Study]:
    """Have all trials done that are not done yet; the studies, fold by fold.

    Interrupted (``KeyboardInterrupt``) it asks the workers to leave what waits, and rises.

    Raises
    ------
    ResearchError
        If trials fail for a reason of their own, or the database of trials goes away.
    """
    try:
        studies = [open_study(storage, spec) for spec in optimisation.specs()]
        try:
            _Loop(optimisation, studies, sender, shown).run()
        except (KeyboardInterrupt, ResearchError):
            for study in studies:
                study.set_user_attr("paused", True)
            raise
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ResearchError(
            f"the database of trials went away ({reason}); the same command goes on when it is back"
        ) from error
    return studies


class _Loop:
    def __init__(
        self, optimisation: Optimisation, studies: list[Study], sender: Sender, shown: Shown
    ) -> None:
        self._wanted = optimisation.trials
        self._heartbeat = optimisation.settings.research.heartbeat_secs
        self._studies = studies
        self._sender = sender
        self._shown = shown
        self._errors_before = {s.study_name: len(_errors(s)) for s in studies}

    def run(self) -> None:
        self._revive()
        self._send()
        counts, moved, revived = self._counts(), time.monotonic(), time.monotonic()
        while True:
            self._shown(counts, self._problem(counts, time.monotonic() - moved))
            if counts.done >= counts.wanted:
                return
            self._sender.wait()
            now = time.monotonic()
            if now - revived > self._heartbeat:
                revived = now
                self._revive()
            latest = self._counts()
            if latest != counts or latest.running:
                moved = now
            elif now - moved > WITHOUT_WORKERS_SECS:
                moved = now
                self._send()
            counts = latest

    def _send(self) -> None:
        for study in self._studies:
            waiting = top_up(study, self._wanted)
            if waiting:
                self._sender.send(study.study_name, waiting)

    def _revive(self) -> None:
        """Take over what died, and replace what failed."""
        before = self._counts()
        for study in self._studies:
            revive(study)
            self._check_failures(study)
        after = self._counts()
        if after.waiting > before.waiting or after.done + after.running + after.waiting < (
            after.wanted
        ):
            self._send()

    def _check_failures(self, study: Study) -> None:
        errors = _errors(study)
        if len(errors) - self._errors_before[study.study_name] >= MOST_FAILURES:
            raise ResearchError(
                f"{len(errors)} trials of {study.study_name} ended in an error, the last with "
                f"{errors[-1]}"
            )

    def _counts(self) -> Counts:
        found, done = dict.fromkeys(TrialState, 0), 0
        for study in self._studies:
            trials = [trial.state for trial in study.get_trials(deepcopy=False)]
            done += min(self._wanted, sum(state in FINISHED for state in trials))
            for state in trials:
                found[state] += 1
        return Counts(
            wanted=self._wanted * len(self._studies),
            done=done,
            complete=found[TrialState.COMPLETE],
            pruned=found[TrialState.PRUNED],
            running=found[TrialState.RUNNING],
            waiting=found[TrialState.WAITING],
            failed=found[TrialState.FAIL],
        )

    def _problem(self, counts: Counts, idle_secs: float) -> str:
        for study in self._studies:
            for key, text in study.user_attrs.items():
                if key.startswith("problem:") and not counts.running and idle_secs > 1.0:
                    return f"{key.removeprefix('problem:')}: {text}"
        if counts.waiting and not counts.running and idle_secs > WITHOUT_WORKERS_SECS / 2:
            return "no research worker takes trials; start one on any host"
        return ""


def _errors(study: Study) -> list[str]:
    """What went wrong in trials that failed by themselves, not by the death of their worker."""
    failed = states(study, TrialState.FAIL)
    return [trial.user_attrs["error"] for trial in failed if "error" in trial.user_attrs]
