"""Trials in a database: each is claimed by one worker, kept alive by it, and taken over when it
dies.

An optimisation is one Optuna study per fold. Its trials are made ahead, in state ``WAITING``; a
worker that is told of one claims it in one statement, so a message that comes twice does nothing
the second time. While it works it says so; a trial that has been silent for
:data:`SILENT_HEARTBEATS` is failed and made anew with the same parameters.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import optuna
import structlog
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter
from sqlalchemy import URL, NullPool
from sqlalchemy.exc import SQLAlchemyError

from shared.config import Secrets, Settings
from shared.database import connection_arguments, prepare_connections
from shared.research.errors import ResearchError
from shared.research.optimize.folds import Fold
from shared.research.optimize.trial import DIRECTIONS
from shared.research.request import Request

log = structlog.get_logger(__name__)

SILENT_HEARTBEATS: Final = 6
MOST_TAKEOVERS: Final = 5
"""A trial that has killed so many workers is left failed."""
LONGEST_ATTRIBUTE: Final = 60_000
"""Optuna keeps attributes in columns of 65,535 bytes."""
WITHHELD: Final = ("exchanges", "alerts", "order_gateway", "exchange_observer", "paper_exchange")
"""Sections of the configuration that no trial needs; a proxy's URL may hold a password."""

FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class StudySpec:
    """Everything that a worker on any host needs to know of one fold's study."""

    optimisation: str
    request: Request
    settings: dict[str, Any]
    data: list[dict[str, Any]]
    """Fingerprint of every file: symbol, kind, SHA-256."""
    fold: Fold
    seed: int

    @property
    def name(self) -> str:
        """Name of the study."""
        return study_name(self.optimisation, self.fold.number)

    def to_json(self) -> str:
        """As a text that :meth:`from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What :meth:`to_json` gave."""
        return TypeAdapter(cls).validate_json(text)


def study_name(optimisation: str, fold: int) -> str:
    """Name of one fold's study."""
    return f"{optimisation}/fold-{fold:02d}"


def settings_content(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without what no trial needs."""
    content: dict[str, Any] = settings.model_dump(mode="json", exclude=set(WITHHELD))
    return content | {"exchanges": {}, "alerts": {"enabled": []}}


def open_storage(settings: Settings, secrets: Secrets) -> RDBStorage:
    """The database of trials, as its own user.

    Raises
    ------
    ResearchError
        If it cannot be reached; the sentence says where it was looked for.
    """
    db = settings.database
    url = URL.create(
        "mysql+mysqlconnector",
        username=db.research_user,
        password=secrets.database.research_password.get_secret_value(),
        host=db.host,
        port=db.port,
        database=db.research_name,
    )
    try:
        storage = rdb_storage(
            url.render_as_string(hide_password=False),
            settings.research.heartbeat_secs,
            {"poolclass": NullPool, "connect_args": connection_arguments(settings)},
        )
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise ResearchError(
            f"the database {db.research_name} at {db.host}:{db.port} cannot be used as "
            f"{db.research_user} ({reason}); start it, or see 'Optimise' in docs/research.md"
        ) from None
    prepare_connections(storage.engine)
    return storage


def rdb_storage(
    url: str, heartbeat_secs: int, engine_options: dict[str, Any] | None = None
) -> RDBStorage:
    """Trials in any database that SQLAlchemy knows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # heartbeats and constraints are called experimental since 2020; the version is pinned
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs=engine_options,
            heartbeat_interval=heartbeat_secs,
            grace_period=SILENT_HEARTBEATS * heartbeat_secs,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_TAKEOVERS),
        )


def open_study(storage: RDBStorage, spec: StudySpec) -> Study:
    """The study of one fold, made if there is none."""
    text = spec.to_json()
    if len(text.encode()) > LONGEST_ATTRIBUTE:
        raise ResearchError("the configuration and the list of files are too long to be kept")
    study = optuna.create_study(
        storage=storage,
        study_name=spec.name,
        directions=list(DIRECTIONS),
        sampler=_sampler(spec.seed),
        load_if_exists=True,
    )
    if study.user_attrs.get("spec") != text:
        # the same data may lie in another folder now
        study.set_user_attr("spec", text)
    study.set_user_attr("paused", False)
    return study


def load_study(storage: RDBStorage, name: str, number: int = 0) -> tuple[Study, StudySpec]:
    """A study and what it is about; the sampler's seed depends on the trial's ``number``.

    Raises
    ------
    ResearchError
        If there is no such study.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise ResearchError(f"there is no study {name!r} in the database of trials") from None
    if "spec" not in study.user_attrs:
        raise ResearchError(f"study {name!r} was begun and never described; start the search again")
    spec = StudySpec.from_json(study.user_attrs["spec"])
    # every trial has a generator of its own, so that who works on what makes no difference
    seed = (spec.seed * 1_000_003 + spec.fold.number * 10_007 + number) % 2**32
    study.sampler = _sampler(seed)
    return study, spec


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Multi-objective TPE (Ozaki et al. 2020)."""
    return optuna.samplers.TPESampler(seed=seed)


def states(study: Study, *wanted: TrialState) -> list[FrozenTrial]:
    """Trials in any of these states."""
    return study.get_trials(deepcopy=False, states=wanted)


def top_up(study: Study, trials: int) -> list[int]:
    """Have ``trials`` trials made, not counting failed ones; numbers of those that are to be done.

    The first of a study is the present configuration: it is measured like any other.
    """
    known = states(study, *FINISHED, TrialState.WAITING, TrialState.RUNNING)
    have_current = any(trial.user_attrs.get("current") for trial in known)
    for _ in range(trials - len(known)):
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING, user_attrs={} if have_current else {"current": True}
            )
        )
        have_current = True
    needed = trials - len(states(study, *FINISHED, TrialState.RUNNING))
    return [trial.number for trial in states(study, TrialState.WAITING)][: max(needed, 0)]


def revive(study: Study) -> None:
    """Make anew what a dead worker left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)


@contextmanager
def claimed(storage: RDBStorage, study: Study, number: int) -> Iterator[optuna.Trial | None]:
    """The waiting trial ``number``, kept alive within the block; None if it does not wait."""
    found = [t for t in study.get_trials(deepcopy=False) if t.number == number]
    if not found or found[0].state != TrialState.WAITING:
        yield None
        return
    trial_id = found[0]._trial_id
    # before the claim: a claimed trial without a heartbeat would never be taken over
    storage.record_heartbeat(trial_id)
    try:
        if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
            yield None
            return
    except optuna.exceptions.UpdateFinishedTrialError:
        yield None
        return
    with _kept_alive(storage, trial_id):
        yield optuna.Trial(study, trial_id)


@contextmanager
def _kept_alive(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    over = threading.Event()
    interval = storage.heartbeat_interval or 10

    def beat() -> None:
        while not over.wait(interval):
            try:
                storage.record_heartbeat(trial_id)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                # if the database stays away, the trial is taken over, which loses nothing
                log.warning("heartbeat_not_kept", trial_id=trial_id, error=str(error))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def finish(
    study: Study, trial: optuna.Trial, state: TrialState, values: Sequence[float] | None = None
) -> bool:
    """Settle a trial; False if it was taken over meanwhile, and what was found is another's."""
    try:
        study.tell(trial, values, state=state)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        if not study.trials[trial.number].state.is_finished():
            raise
        log.warning("trial_was_taken_over", study=study.study_name, trial=trial.number)
        return False
    return True
