"""Studies: claimed once, resumed, taken over; and the choice never sees its test."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy import text

from shared.market_data.archive import Archive
from shared.research.data.importing import import_rows, read_file
from shared.research.errors import ResearchError
from shared.research.optimize import work
from shared.research.optimize.outcome import Outcome, outcome_of
from shared.research.optimize.progress import TrialProgress
from shared.research.optimize.search import Counts, Optimisation, plan, run
from shared.research.optimize.senders import InlineSender
from shared.research.optimize.studies import (
    StudySpec,
    claimed,
    finish,
    load_study,
    open_study,
    revive,
    top_up,
)
from shared.research.optimize.work import prepared, run_trial
from shared.research.performance import DAY_MS
from shared.research.request import Request
from shared.tests.research.optimize import small
from shared.tests.research.samples import FIRST_MS, MINUTE_MS, candle_text, walk, write


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    return small.storage(tmp_path)


def silent(_counts: Counts, _problem: str) -> None:
    pass


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Optimisation, Outcome, RDBStorage]:
    """A search of eight trials in each of two folds."""
    folder = tmp_path_factory.mktemp("search")
    storage = small.storage(folder, 10)
    wanted = small.search(folder, trials=8)
    studies = run(wanted, storage, InlineSender(storage), silent)
    return wanted, outcome_of(wanted.folds, studies, wanted.settings), storage


Done = tuple[Optimisation, Outcome, RDBStorage]


def test_every_fold_has_its_trials_and_the_present_configuration(done: Done) -> None:
    _, outcome, _ = done
    assert len(outcome.folds) == 2
    for fold in outcome.folds:
        assert fold.count == 8
        assert fold.current is not None
        assert fold.current.values == {}
        assert fold.chosen in fold.front
        assert 0.0 <= fold.rank <= 1.0
        assert fold.overfitting is None or 0.0 <= fold.overfitting.probability <= 1.0


def test_choice_is_made_by_training_alone(done: Done) -> None:
    _, outcome, _ = done
    for fold in outcome.folds:
        assert fold.chosen is not None
        growths = [trial.train.objectives.growth for trial in fold.trading]
        assert fold.chosen.train.objectives.growth == max(growths)


def test_walk_is_the_tests_of_the_choices_end_to_end(done: Done) -> None:
    _, outcome, _ = done
    parts = [fold.chosen.test.returns for fold in outcome.folds if fold.chosen]
    np.testing.assert_array_equal(outcome.walk.returns, np.concatenate(parts))
    total = np.prod([1.0 + f.chosen.test.net_return for f in outcome.folds if f.chosen])
    assert outcome.walk.net_return == pytest.approx(total - 1.0)
    assert (np.diff(outcome.walk.tick_ms) > 0).all()


def test_study_is_told_of_training_only(done: Done) -> None:
    wanted, _, storage = done
    for spec in wanted.specs():
        study, _ = load_study(storage, spec.name)
        for trial in study.trials:
            if trial.state == TrialState.COMPLETE:
                assert trial.values == trial.user_attrs["found"]["train"]["objectives"]
                assert trial.values != trial.user_attrs["found"]["test"]["objectives"]


def test_same_search_again_does_nothing_anew_and_more_trials_extend_it(done: Done) -> None:
    wanted, outcome, storage = done
    asked: list[Counts] = []
    run(wanted, storage, InlineSender(storage), lambda counts, _: asked.append(counts))
    assert [counts.done for counts in asked] == [16]
    more = plan(wanted.request, wanted.settings, 9)
    assert more.id == wanted.id
    studies = run(more, storage, InlineSender(storage), silent)
    again = outcome_of(more.folds, studies, more.settings)
    for before, after in zip(outcome.folds, again.folds, strict=True):
        assert after.count == 9
        old = {t.number: t.train.objectives for t in before.tried}
        assert {t.number: t.train.objectives for t in after.tried if t.number in old} == old


def test_search_from_one_seed_is_one_search(done: Done, tmp_path: Path) -> None:
    wanted, outcome, _ = done
    storage = small.storage(tmp_path)
    fewer = replace(wanted, trials=3)
    studies = run(fewer, storage, InlineSender(storage), silent)
    again = outcome_of(wanted.folds, studies, wanted.settings)
    for before, after in zip(outcome.folds, again.folds, strict=True):
        for one, other in zip(before.tried[:3], after.tried, strict=True):
            assert one.values == other.values
            np.testing.assert_array_equal(one.test.returns, other.test.returns)


def test_fewer_trials_than_before_are_enough_in_every_fold(
    storage: RDBStorage, tmp_path: Path
) -> None:
    """The first fold has six done, the second none: three in each are wanted now."""
    many = small.search(tmp_path, trials=6)

    def interrupt(counts: Counts, _problem: str) -> None:
        if counts.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(many, storage, InlineSender(storage), interrupt)
    few = replace(many, trials=3)
    studies = run(few, storage, InlineSender(storage), silent)
    assert [fold.count for fold in outcome_of(few.folds, studies, few.settings).folds] == [6, 3]


def test_other_data_seed_or_configuration_is_another_search(done: Done, tmp_path: Path) -> None:
    wanted, _, _ = done
    assert small.search(tmp_path, seed=2).id != wanted.id
    assert small.search(tmp_path).id == wanted.id  # the same data in another folder
    other = small.settings(T3__providence__sizing__base_fraction="0.6")
    assert plan(wanted.request, other, 10).id != wanted.id


def _study(storage: RDBStorage, folder: Path) -> tuple[optuna.Study, StudySpec]:
    spec = small.search(folder).specs()[0]
    return open_study(storage, spec), spec


def test_a_trial_sent_twice_is_done_once(storage: RDBStorage, tmp_path: Path) -> None:
    study, spec = _study(storage, tmp_path)
    assert top_up(study, 3) == [0, 1, 2]
    assert run_trial(storage, spec.name, 0) is not None
    before = study.trials[0]
    assert run_trial(storage, spec.name, 0) is None
    with claimed(storage, study, 1) as trial:
        assert trial is not None
        with claimed(storage, study, 1) as second:
            assert second is None
    assert study.trials[0] == before


def test_what_a_dead_worker_had_is_made_anew_with_its_values(
    storage: RDBStorage, tmp_path: Path
) -> None:
    study, _ = _study(storage, tmp_path)
    top_up(study, 2)
    storage.record_heartbeat(study.trials[1]._trial_id)
    storage.set_trial_state_values(study.trials[1]._trial_id, TrialState.RUNNING)
    dead = optuna.Trial(study, study.trials[1]._trial_id)
    value = dead.suggest_float("providence.dead_band.1", 0.005, 0.05)
    revive(study)
    assert study.trials[1].state == TrialState.RUNNING
    with storage.engine.begin() as conn:
        conn.execute(text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'"))
    revive(study)
    assert study.trials[1].state == TrialState.FAIL
    assert study.trials[2].state == TrialState.WAITING
    assert study.trials[2].params == {"providence.dead_band.1": value}
    assert not finish(study, dead, TrialState.COMPLETE, [0.0, 0.0, 0.0])


def test_data_that_were_moved_are_found_by_the_next_call(
    storage: RDBStorage, tmp_path: Path
) -> None:
    _, spec = _study(storage, tmp_path)
    (tmp_path / "moved").mkdir()
    for name in ("BTC_1m.csv", "ETH_1m.csv"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    wanted = small.search(tmp_path / "moved", trials=2)
    assert wanted.specs()[0].name == spec.name
    run(wanted, storage, InlineSender(storage), silent)


def test_an_archive_that_grows_is_the_same_search_until_midnight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    price, archive, found = walk(2_000, 9, 3_000.0), Archive(tmp_path / "archive"), []
    midnight_ms = (FIRST_MS // DAY_MS + 2) * DAY_MS
    monkeypatch.setattr(time, "time_ns", lambda: (midnight_ms + 3 * 3_600_000) * 1_000_000)
    for first, end in ((0, 1_700), (1_700, 2_000)):
        text = candle_text(price[first:end], FIRST_MS + first * MINUTE_MS)
        rows = read_file("BTC", write(tmp_path / "BTC.csv", text))
        import_rows(archive, *rows, lambda _: None)
        wanted = plan(Request(data=(str(archive.root),)), small.settings(), 3)
        assert wanted.inputs.series.last_ms <= midnight_ms
        found.append((wanted.id, wanted.specs()[0].to_json()))
    assert found[0] == found[1]


def test_an_archive_that_began_today_says_why_nothing_of_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "archive")
    monkeypatch.setattr(time, "time_ns", lambda: (FIRST_MS + 3_600_000) * 1_000_000)
    text = candle_text(walk(50, 9, 3_000.0), FIRST_MS)
    import_rows(archive, *read_file("BTC", write(tmp_path / "BTC.csv", text)), lambda _: None)
    with pytest.raises(ResearchError, match="until the last midnight"):
        plan(Request(data=(str(archive.root),)), small.settings(), 3)


def test_a_paused_search_leaves_its_trials_waiting(storage: RDBStorage, tmp_path: Path) -> None:
    study, spec = _study(storage, tmp_path)
    top_up(study, 2)
    study.set_user_attr("paused", True)
    assert run_trial(storage, spec.name, 0) is None
    assert study.trials[0].state == TrialState.WAITING


def test_interruption_pauses_and_the_next_call_goes_on(storage: RDBStorage, tmp_path: Path) -> None:
    wanted = small.search(tmp_path, trials=3)

    def interrupt(counts: Counts, _problem: str) -> None:
        if counts.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(wanted, storage, InlineSender(storage), interrupt)
    study, _ = load_study(storage, wanted.specs()[0].name)
    assert study.user_attrs["paused"]
    first: list[Counts] = []
    run(wanted, storage, InlineSender(storage), lambda counts, _: first.append(counts))
    assert first[0].done == 2
    assert first[-1].done == 6


@pytest.mark.parametrize("lost", [True, False], ids=["absent", "changed"])
def test_a_host_without_the_data_says_so_and_leaves_the_trial(
    storage: RDBStorage, tmp_path: Path, lost: bool
) -> None:
    study, spec = _study(storage, tmp_path)
    top_up(study, 2)
    prepared.cache_clear()
    if lost:
        (tmp_path / "ETH_1m.csv").unlink()
    else:
        small.files(tmp_path, minutes=1_400)
    assert run_trial(storage, spec.name, 0) is None
    assert study.trials[0].state == TrialState.WAITING
    (problem,) = [v for k, v in study.user_attrs.items() if k.startswith("problem:")]
    assert ("there is no such file" if lost else "copy the same files") in problem


def test_errors_of_their_own_end_the_search_with_a_sentence(
    storage: RDBStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of the trial")

    class Tolerant(InlineSender):
        def wait(self) -> None:
            with suppress(ZeroDivisionError):
                super().wait()

    monkeypatch.setattr(work, "evaluate", broken)
    with pytest.raises(ResearchError, match="ZeroDivisionError: of the trial"):
        run(small.search(tmp_path, trials=6), storage, Tolerant(storage), silent)


def test_a_database_that_goes_away_is_a_sentence(storage: RDBStorage, tmp_path: Path) -> None:
    class Breaking(InlineSender):
        def wait(self) -> None:
            with storage.engine.begin() as conn:
                conn.execute(text("ALTER TABLE trials RENAME TO gone"))
            super().wait()

    with pytest.raises(ResearchError, match="the same command goes on when it is back"):
        run(small.search(tmp_path, trials=2), storage, Breaking(storage), silent)


def test_who_waits_sees_rate_and_rest_and_what_is_in_the_way() -> None:
    for terminal in (True, False):
        stream = StringIO()
        console = Console(file=stream, force_terminal=terminal, width=120)
        with TrialProgress(20, console) as progress:
            progress(Counts(wanted=20, done=4), "")
            progress(Counts(wanted=20, done=4, waiting=16), "no research worker takes trials")
            progress(Counts(wanted=20, done=20, pruned=2), "")
        shown = stream.getvalue()
        assert "4 trials of an earlier call are kept" in shown
        assert shown.count("no research worker takes trials") == 1
        assert "trials/min" in shown
        assert ("\x1b[" in shown) is terminal


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 1}, "trials is 1; allowed is 2"),
        ({"folds": 60}, "folds is 60"),
        ({"folds": 40}, "need"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(
    tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    request = Request(data=small.files(tmp_path))
    with pytest.raises(ResearchError, match=message):
        plan(request, small.settings(), **changes)


def test_baselines_and_an_empty_space_are_refused(tmp_path: Path) -> None:
    data = small.files(tmp_path)
    with pytest.raises(ResearchError, match="baseline"):
        plan(Request(data=data, strategy="sma"), small.settings())
    with pytest.raises(ResearchError, match="names no key"):
        plan(Request(data=data), small.settings(T3__research__parameters="{}"))
