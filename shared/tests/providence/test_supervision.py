"""Draws, clones, parents and caps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.providence import births
from shared.providence.codes import Interpretation, Status
from shared.providence.ledger import log_growth
from shared.providence.recent import Recent, sorted_entropy
from shared.providence.run_state import LAYOUT, Records, join, native, new_records
from shared.providence.step import Grid, bind
from shared.providence.supervision import Candidates, conceive, symbol_cap
from shared.testing.run_world import fresh_runs
from shared.tests.providence.samples import count_symbols, make_clone_rules, make_space, plain_run

SPACE = make_space()
IDS = [1, 2, 3, 4]
LEVERAGE = {1: 5.0, 2: 10.0, 3: 20.0, 4: 3.0}
HOUR = 3_600_000


def _recent(ids: Iterable[int] = IDS) -> NDArray[np.float64]:
    """[200, C, S]; products that are not in ``ids`` are unknown."""
    rng = np.random.default_rng(99)
    recent = np.full((200, len(SPACE.cells), len(IDS)), np.nan)
    for row in range(len(SPACE.cells)):
        for product_id in ids:
            recent[:, row, product_id - 1] = 0.4 + 0.05 * row + 0.03 * rng.random(200)
    recent[::9] = np.nan
    return recent


RECENT = _recent()


def _recent_of(record: np.void) -> NDArray[np.float64]:
    """Known values of the record's own cell and product."""
    cell = (int(record["order"]), int(record["delay"]), int(record["window"]))
    values = RECENT[:, SPACE.cells.index(cell), int(record["product_id"]) - 1]
    return values[np.isfinite(values)]


def _draw(n: int, seed: int = 1, **changes: Any) -> Records:
    values: dict[str, Any] = {
        "parameter_space": SPACE,
        "recent": sorted_entropy(RECENT, SPACE, IDS),
        "max_leverage": LEVERAGE,
        "spawn_tick": 10_000,
    } | changes
    return fresh_runs(np.random.default_rng(seed), n, **values)


def test_fresh_runs_lie_in_the_space_and_can_be_stepped() -> None:
    records = _draw(300)
    assert len(records) == 300
    bind(records, Grid.of(SPACE), {p: p - 1 for p in IDS})
    for field in ("dead_band", "kelly_multiplier", "max_drawdown", "take_profit"):
        low, high = getattr(SPACE, field)
        assert (records[field] >= low).all()
        assert (records[field] <= high).all()
        assert records[field].std() > 0.2 * (high - low)
    seconds = records["max_duration_ms"] / 1000.0
    assert SPACE.max_duration_secs[0] <= seconds.min() < seconds.max() <= 36_000.0
    assert set(records["interpretation"]) == {0, 1, 2, 3}
    assert (records["tick"] == 10_000).all()
    assert (records["spawn_tick"] == 10_000).all()
    assert (records["layout"] == LAYOUT).all()
    assert [LEVERAGE[p] for p in records["product_id"]] == records["max_leverage"].tolist()
    for field in ("equity", "peak_equity", "start_balance"):
        assert (records[field] == 1_000.0).all()
    for field in ("run_id", "parent_id", "generation", "position", "trades", "fill_seq", "status"):
        assert not records[field].any(), field


def test_thresholds_are_quantiles_of_the_cells_own_recent_entropy() -> None:
    for record in _draw(200):
        low, high = np.quantile(_recent_of(record), SPACE.theta_quantile)
        assert low <= record["theta"] <= high


def test_same_generator_same_population() -> None:
    assert _draw(50).tobytes() == _draw(50).tobytes()
    assert _draw(50).tobytes() != _draw(50, seed=2).tobytes()


def test_symbols_are_drawn_under_the_cap() -> None:
    space = make_space(max_symbol_share=0.3)
    counts = {1: 25, 2: 40}
    records = _draw(60, parameter_space=space, symbol_counts=counts, desired=100)
    total = {p: counts.get(p, 0) + int((records["product_id"] == p).sum()) for p in IDS}
    assert max(total[p] for p in (1, 3, 4)) <= 30
    assert total[2] == 40  # above its cap already: none added
    assert len(records) == 60
    assert len(_draw(500, parameter_space=space, desired=100)) == 4 * 30


def test_cap_never_keeps_a_population_from_its_size() -> None:
    assert symbol_cap(100, make_space(max_symbol_share=0.3), 4) == 30
    assert symbol_cap(100, make_space(max_symbol_share=0.1), 4) == 25
    assert symbol_cap(10, make_space(max_symbol_share=0.25), 3) == 4
    assert symbol_cap(100, SPACE, 0) == 0
    assert len(_draw(90, parameter_space=make_space(max_symbol_share=0.01), desired=90)) == 90


def test_symbols_without_enough_entropy_get_no_runs() -> None:
    nothing = np.full_like(RECENT, np.nan)
    for recent in (RECENT[:20], nothing, RECENT[:0]):
        assert len(_draw(10, recent=sorted_entropy(recent, SPACE, IDS))) == 0
    assert len(_draw(10, recent=sorted_entropy(RECENT[:, :, :0], SPACE, []))) == 0
    only = sorted_entropy(_recent([3]), SPACE, IDS)
    records = _draw(10, recent=only, parameter_space=make_space(max_symbol_share=1.0))
    assert set(records["product_id"]) == {3}


def _parents(n: int = 400) -> Records:
    parents = _draw(n)
    parents["run_id"] = np.arange(1, n + 1)
    parents["generation"] = 4
    parents["equity"], parents["trades"], parents["realised"] = 1_100.0, 9, 100.0
    parents["height"] = 2
    return parents


def _clone(
    parents: Records, seed: int = 5, recent: Recent | None = None, **changes: Any
) -> Records:
    children = new_records(len(parents))
    births.mutate(
        np.random.default_rng(seed),
        native(children),
        native(parents),
        np.arange(len(parents)),
        births.space_numbers(SPACE),
        births.clone_numbers(make_clone_rules(**changes)),
        recent or sorted_entropy(RECENT, SPACE, IDS),
    )
    for name in ("max_leverage", "start_balance"):
        children[name] = parents[name]
    return children


PARAMETERS = (
    "order",
    "delay",
    "window",
    "lookback",
    "interpretation",
    "theta",
    "dead_band",
    "kelly_multiplier",
    "max_duration_ms",
    "max_drawdown",
    "take_profit",
)


def test_clone_without_mutation_is_the_parent_with_an_empty_ledger() -> None:
    parents = _parents()
    children = _clone(
        parents, mutation_scale=0.0, integer_step_probability=0.0, flip_probability=0.0
    )
    for name in PARAMETERS:
        np.testing.assert_allclose(children[name], parents[name], rtol=0, atol=1e-12, err_msg=name)
    assert (children["parent_id"] == parents["run_id"]).all()
    assert (children["generation"] == 5).all()
    assert (children["product_id"] == parents["product_id"]).all()
    for name in ("run_id", "trades", "realised", "height", "position", "fill_seq"):
        assert not children[name].any(), name


def test_mutated_clones_stay_in_the_space_and_near_the_parent() -> None:
    parents = _parents()
    children = _clone(
        parents, mutation_scale=0.05, integer_step_probability=0.3, flip_probability=0.2
    )
    bind(children, Grid.of(SPACE), {p: p - 1 for p in IDS})
    for field in ("dead_band", "kelly_multiplier", "max_drawdown", "take_profit"):
        low, high = getattr(SPACE, field)
        step = children[field] - parents[field]
        assert (children[field] >= low).all()
        assert (children[field] <= high).all()
        assert 0.03 < step.std() / (high - low) < 0.06, field
    for field in ("order", "delay", "window", "lookback"):
        moved = (children[field] != parents[field]).mean()
        assert 0.2 < moved < 0.4, field
    flipped = children["interpretation"] != parents["interpretation"]
    assert 0.1 < flipped.mean() < 0.3
    for child, parent in zip(children[flipped], parents[flipped], strict=True):
        assert Interpretation(parent["interpretation"]).flipped == child["interpretation"]


def test_threshold_moves_to_a_new_cell_as_a_quantile() -> None:
    parents = _parents()
    children = _clone(parents, mutation_scale=0.0, integer_step_probability=1.0)
    for child, parent in zip(children, parents, strict=True):
        ranks = [np.mean(_recent_of(record) < record["theta"]) for record in (child, parent)]
        assert ranks[0] == pytest.approx(ranks[1], abs=0.02)


def test_clone_keeps_cell_and_threshold_where_nothing_recent_is_known() -> None:
    parents = _parents(20)
    nothing = sorted_entropy(np.full_like(RECENT, np.nan), SPACE, IDS)
    children = _clone(parents, 1, nothing, mutation_scale=0.2, integer_step_probability=1.0)
    for name in ("order", "delay", "window", "theta"):
        assert (children[name] == parents[name]).all()


def test_parent_off_the_grid_has_children_on_it() -> None:
    parent = plain_run(order=6, delay=3, window=33, lookback=7, theta=0.5)
    child = _clone(parent, mutation_scale=0.0, integer_step_probability=0.0)
    bind(child, Grid.of(SPACE), {1: 0})
    assert (child["order"][0], child["delay"][0], child["window"][0]) == (4, 2, 40)


def _family(growths: list[float], trades: int = 1_000_000, hours: float = 2.0) -> Records:
    parts = [
        plain_run(run_id=i + 1, equity=1_000.0 * math.exp(g), trades=trades, product_id=1 + i % 2)
        for i, g in enumerate(growths)
    ]
    return join(parts)


def _weights(records: Records, now_ms: int, **changes: Any) -> NDArray[np.float64]:
    """Of every record."""
    weights = np.zeros(len(records))
    rules = births.clone_numbers(make_clone_rules(**changes))
    rows, fit = births.parent_weights(native(records), np.arange(len(records)), now_ms, rules)
    weights[rows] = fit
    return weights


def test_parents_are_weighted_by_their_positive_growth_per_hour() -> None:
    records = _family([0.1, 0.3, -0.2, 0.0])
    weights = _weights(records, 2 * HOUR, shrinkage=0.0)
    assert weights.tolist() == pytest.approx([0.25, 0.75, 0.0, 0.0])
    records["spawn_tick"][1] = -4 * HOUR  # three times as old
    again = _weights(records, 2 * HOUR, shrinkage=0.0)
    assert again.tolist() == pytest.approx([0.5, 0.5, 0, 0])


def test_growth_on_few_trades_is_shrunk_towards_the_cohort() -> None:
    records = _family([0.1, 0.3], trades=5)
    weights = _weights(records, HOUR, shrinkage=5.0)
    assert weights.tolist() == pytest.approx([0.15 / 0.4, 0.25 / 0.4])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", Status.COMPLETED),
        ("spawn_tick", 2 * HOUR - 1_000),
        ("spawn_tick", 3 * HOUR),
        ("trades", 2),
        ("exit_at_tick", 5),
    ],
)
def test_unfit_parents_have_no_weight(field: str, value: int) -> None:
    records = _family([0.3, 0.3])
    records[field][0] = value
    weights = _weights(records, 2 * HOUR, min_parent_age_secs=600.0)
    assert weights.tolist() == [0.0, 1.0]


def test_losing_cohort_has_no_parents() -> None:
    assert not _weights(_family([-0.1, -0.3]), HOUR).any()
    assert not len(_weights(new_records(0), HOUR))


def test_parents_of_a_full_symbol_are_not_chosen() -> None:
    records = _family([0.3, 0.1, 0.3, 0.1])  # products 1, 2, 1, 2
    weights = _weights(records, HOUR, shrinkage=0.0)
    chosen = _choose(records, weights, 50, {1: 3, 2: 4})
    assert len(chosen) == 7
    assert (records["product_id"][chosen] == 1).sum() == 3
    assert len(_choose(records, weights * 0.0, 5, {1: 9})) == 0
    assert set(_choose(records, weights, 5, {2: 9, 7: 9})) == {1, 3}


def _choose(
    records: Records, weights: NDArray[np.float64], n: int, room: dict[int, int]
) -> NDArray[np.int64]:
    return births.choose_parents(
        np.random.default_rng(3),
        native(records),
        np.arange(len(records)),
        weights,
        n,
        np.array(list(room)),
        np.array(list(room.values())),
    )


def _conceive(
    count: int,
    active: Records,
    desired: int,
    *,
    candidates: Callable[[], Candidates] | None = None,
    **changes: Any,
) -> Records:
    return conceive(
        np.random.default_rng(8),
        count,
        make_space(max_symbol_share=0.3),
        make_clone_rules(**{"min_parent_age_secs": 0.0} | changes),
        count_symbols(active),
        candidates or (lambda: Candidates.of(active)),
        sorted_entropy(RECENT, SPACE, IDS),
        LEVERAGE,
        desired=desired,
        spawn_tick=HOUR,
    )


def test_vacancies_are_split_by_the_clonal_fraction() -> None:
    born = _conceive(10_000, _parents(400), 1_000_000, clonal_fraction=0.3)
    assert len(born) == 10_000
    assert 2_800 < (born["parent_id"] > 0).sum() < 3_200


def test_filling_reaches_the_desired_count_with_clones_and_fresh_runs() -> None:
    active = _parents(40)
    born = _conceive(60, active, 100, clonal_fraction=0.7)
    assert len(born) == 60
    assert (born["spawn_tick"] == HOUR).all()
    clones = born["parent_id"] > 0
    assert 25 < clones.sum() < 55
    everyone = join([active, born])
    assert max(count_symbols(everyone).values()) <= 30


def test_without_parents_every_vacancy_is_fresh() -> None:
    born = _conceive(20, new_records(0), 20, clonal_fraction=1.0)
    assert len(born) == 20
    assert not born["parent_id"].any()


def test_parents_are_looked_for_only_when_a_clone_is_due() -> None:
    def unasked() -> Candidates:
        raise AssertionError("no clone is due")

    born = _conceive(20, _parents(40), 100, candidates=unasked, clonal_fraction=0.0)
    assert len(born) == 20


def test_growth_of_a_ruined_run_is_finite() -> None:
    records = plain_run(equity=-50.0)
    assert log_growth(records).tolist() == [pytest.approx(math.log(1e-6))]
