"""What a worker does with one trial: claim, train, test, tell."""

from __future__ import annotations

import socket
import time
from functools import lru_cache
from typing import Any

import optuna
import structlog
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from shared.config import Settings
from shared.config_search import with_values
from shared.research.errors import ResearchError
from shared.research.optimize.space import SearchSpace
from shared.research.optimize.studies import StudySpec, claimed, finish, load_study
from shared.research.optimize.trial import GivenUp, Objectives, Result, evaluate, hopeless
from shared.research.outputs import code_version, fingerprint
from shared.research.request import Inputs, Request, load

log = structlog.get_logger(__name__)


def identity(inputs: Inputs) -> list[dict[str, str]]:
    """What tells data apart, wherever they lie: symbol, kind and SHA-256 of every file."""
    rows = [
        {key: str(item[key]) for key in ("symbol", "kind", "sha256")}
        for item in fingerprint(inputs)
    ]
    return sorted(rows, key=lambda row: (row["kind"], row["symbol"]))


def run_trial(storage: RDBStorage, name: str, number: int) -> TrialState | None:
    """Do trial ``number`` of a study; None if it was not to be done, or not by this host.

    A host that lacks the data says so in the study, and leaves the trial to others.
    """
    study, spec = load_study(storage, name, number)
    if study.user_attrs.get("paused"):
        return None
    try:
        settings, inputs = prepared(spec.to_json())
    except (ResearchError, OSError) as error:
        study.set_user_attr(f"problem:{socket.gethostname()}", str(error))
        log.warning("trial_without_data", study=name, trial=number, error=str(error))
        return None
    with claimed(storage, study, number) as trial:
        if trial is None:
            return None
        return _work(study, spec, settings, inputs, trial)


@lru_cache(maxsize=2)
def prepared(text: str) -> tuple[Settings, Inputs]:
    """Settings and data of a study, checked against its fingerprint.

    Raises
    ------
    ResearchError
        If this host lacks the files, or they are others.
    """
    spec = StudySpec.from_json(text)
    settings = Settings.model_validate(spec.settings)
    return settings, _same_data(spec, load(spec.request, settings))


def _same_data(spec: StudySpec, inputs: Inputs) -> Inputs:
    found = identity(inputs)
    for wanted, own in zip(spec.data, found, strict=False):
        if wanted != own:
            raise ResearchError(
                f"the {own['kind']} file of {own['symbol']} here has SHA-256 "
                f"{own['sha256'][:12]}…, the search is about {wanted['sha256'][:12]}…; copy the "
                "same files to this host"
            )
    if len(found) != len(spec.data):
        raise ResearchError(
            f"there are {len(found)} data files here, the search is about {len(spec.data)}"
        )
    return inputs


def _work(
    study: Study, spec: StudySpec, settings: Settings, inputs: Inputs, trial: optuna.Trial
) -> TrialState | None:
    start = time.perf_counter()
    found: dict[str, Any] = {"host": socket.gethostname(), "code_version": code_version()}
    try:
        state, told = _both_windows(study, spec, settings, inputs, trial, found)
        found["seconds"] = round(time.perf_counter() - start, 3)
        # one attribute: each is a transaction
        trial.set_user_attr("found", found)
    except optuna.exceptions.UpdateFinishedTrialError:
        log.warning("trial_was_taken_over", study=spec.name, trial=trial.number)
        return None
    except Exception as error:
        trial.set_user_attr("error", f"{type(error).__name__}: {error}"[:1_000])
        finish(study, trial, TrialState.FAIL)
        raise
    return state if finish(study, trial, state, told) else None


def _both_windows(
    study: Study,
    spec: StudySpec,
    settings: Settings,
    inputs: Inputs,
    trial: optuna.Trial,
    found: dict[str, Any],
) -> tuple[TrialState, list[float] | None]:
    """Train and, if the training was worth finishing, test; state and what the study is told."""
    is_current = bool(trial.user_attrs.get("current"))
    found["values"] = {} if is_current else SearchSpace.of(settings).suggest(trial)
    try:
        changed = _configuration(settings, found["values"])
        train = _train(study, trial, spec.request, changed, inputs, spec)
    except GivenUp as given_up:
        found["given_up"] = f"at look {given_up.look}"
        return TrialState.PRUNED, None
    except ResearchError as refused:
        # values that do not go together, or that no plan can be made of
        found["given_up"] = str(refused)
        return TrialState.PRUNED, None
    # not to trade is never the worst in anything, and would draw the whole search to itself
    trial.set_constraint("orders", settings.research.min_orders - train.orders)
    found["train"] = train.to_json()
    # the sampler is never told of it
    found["test"] = evaluate(spec.request, changed, inputs, spec.fold.test).to_json()
    return TrialState.COMPLETE, train.objectives.values()


def _configuration(settings: Settings, values: dict[str, Any]) -> Settings:
    try:
        return with_values(settings, values)
    except ValueError as error:
        raise ResearchError(str(error)) from None


def _train(
    study: Study,
    trial: optuna.Trial,
    request: Request,
    settings: Settings,
    inputs: Inputs,
    spec: StudySpec,
) -> Result:
    pruning = settings.research.pruning

    def judge(look: int, own: Objectives) -> bool:
        key = f"look {look}"
        trial.set_user_attr(key, own.values())
        if trial.user_attrs.get("current"):
            return False  # what is traded now is what all others are measured against
        others = [
            Objectives(*other.user_attrs[key])
            for other in study.get_trials(deepcopy=False)
            if key in other.user_attrs and other.number != trial.number
        ]
        # one that does not trade dominates all that have lost so far, and says nothing of them
        trading = [other for other in others if other.turnover > 0.0]
        return hopeless(
            own, trading, dominated_by=pruning.dominated_by, startup=pruning.startup_trials
        )

    return evaluate(request, settings, inputs, spec.fold.train, looks=pruning.looks, judge=judge)
