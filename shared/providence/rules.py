"""What a population is told: costs and sizing, the space of parameters, how clones are made.

Frozen values, checked on construction; ``config.yml`` fills them. Every error is a ``ValueError``
of one sentence that names the field, the value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from shared.providence.codes import Interpretation

Span = tuple[float, float]
Cell = tuple[int, int, int]
"""(order d, delay tau in samples, window w in samples)."""

MIN_ORDER, MAX_ORDER = 3, 6
MAX_WINDOW = 100_000
MAX_DELAY = 255
MAX_LOOKBACK = 100_000
MAX_DURATION_SECS = 10 * 365 * 86_400.0
INTERPRETATIONS = tuple(item.name.lower() for item in Interpretation)
RUIN = 1e-6
"""Share of the start balance below which a log-growth is no longer distinguished (ln = -13.8)."""


def _number(owner: str, field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{owner}.{field} is {value!r}; allowed is {low:g} to {high:g}")


def _span(owner: str, field: str, span: Span, low: float, high: float) -> None:
    if len(span) != 2:
        raise ValueError(f"{owner}.{field} is {span!r}; allowed is a pair (low, high)")
    for value in span:
        _number(owner, field, value, low, high)
    if span[0] > span[1]:
        raise ValueError(f"{owner}.{field} is {span!r}; allowed is low <= high")


def _integers(owner: str, field: str, values: Sequence[int], low: int, high: int) -> None:
    if not values or list(values) != sorted(set(values)):
        raise ValueError(f"{owner}.{field} is {values!r}; allowed is a rising list, not empty")
    for value in values:
        if isinstance(value, bool) or value != int(value):
            raise ValueError(f"{owner}.{field} holds {value!r}; allowed are whole numbers")
        _number(owner, field, value, low, high)


@dataclass(frozen=True, slots=True)
class Rules:
    """Costs and limits that every step applies; a change takes effect at a named tick.

    Rates and fractions are plain ratios (0.00045 is 4.5 bps). Fractions are of a run's equity.
    """

    taker_fee_rate: float
    """Fee per unit of notional, charged once per side, 0 to 0.1."""
    slippage_rate: float
    """Virtual fills happen at price x (1 +- this), 0 to 0.1."""
    base_fraction: float
    """Position notional / equity before ``min_trades`` closed trades, > 0."""
    probation_fraction: float
    """The same while Kelly is not positive, 0 to ``max_fraction``."""
    max_fraction: float
    """Upper bound of the Kelly-scaled fraction, up to 100 (leverage binds below it)."""
    max_reward_ratio: float
    """Cap of R = mean win / mean loss, > 0."""
    min_trades: int
    """Closed trades before Kelly is used, >= 1."""
    judge_after_trades: int
    """Closed trades after which K <= 0 ends a run, >= ``min_trades``."""
    live_pnl_threshold: float
    """A run counts toward targets while its live PnL (USD) is above this."""

    def __post_init__(self) -> None:
        _number("Rules", "taker_fee_rate", self.taker_fee_rate, 0.0, 0.1)
        _number("Rules", "slippage_rate", self.slippage_rate, 0.0, 0.1)
        _number("Rules", "base_fraction", self.base_fraction, 1e-6, 100.0)
        _number("Rules", "max_fraction", self.max_fraction, 1e-6, 100.0)
        _number("Rules", "probation_fraction", self.probation_fraction, 0.0, self.max_fraction)
        _number("Rules", "max_reward_ratio", self.max_reward_ratio, 1e-3, 1e6)
        _number("Rules", "min_trades", self.min_trades, 1, 1_000_000)
        _number(
            "Rules", "judge_after_trades", self.judge_after_trades, self.min_trades, 1_000_000_000
        )
        _number("Rules", "live_pnl_threshold", self.live_pnl_threshold, -1e12, 1e12)


@dataclass(frozen=True, slots=True)
class ParameterSpace:
    """Where run parameters are drawn from, and where mutation may move them.

    ``orders`` x ``delays`` x ``windows`` is the finite grid of entropy cells; every combination
    must hold at least two ordinal patterns. Pairs are (low, high) with both ends allowed.
    """

    orders: tuple[int, ...]
    """Embedding dimensions d, within 3 to 6."""
    delays: tuple[int, ...]
    """Delays tau in samples, >= 1."""
    windows: tuple[int, ...]
    """Windows w in samples."""
    lookbacks: tuple[int, ...]
    """Look-backs m in samples of ``breakout`` and ``swing``, >= 1."""
    theta_quantile: Span
    """Quantile of the cell's recent entropy that becomes the threshold, within 0 to 1."""
    dead_band: Span
    """Dead band epsilon in normalised entropy, within 0 to 1."""
    interpretations: Mapping[str, float]
    """Weight of each interpretation by lower-case name; missing means 0."""
    kelly_multiplier: Span
    """Share of the Kelly fraction that is used, > 0."""
    max_duration_secs: Span
    """Longest life of a run in seconds."""
    max_drawdown: Span
    """Largest fall from the equity peak, within 0 to 1."""
    take_profit: Span
    """Growth that ends a run, in units of the price volatility over its life; 0 = off."""
    max_symbol_share: float
    """Largest share of the population on one symbol, (0, 1]."""
    start_balance: float
    """Virtual balance of a new run in USD, > 0."""
    theta_min_samples: int = 30
    """Recent entropy values a cell needs before a threshold is drawn from it."""

    def __post_init__(self) -> None:
        name = "ParameterSpace"
        _integers(name, "orders", self.orders, MIN_ORDER, MAX_ORDER)
        _integers(name, "delays", self.delays, 1, MAX_DELAY)
        _integers(name, "windows", self.windows, MIN_ORDER + 1, MAX_WINDOW)
        _integers(name, "lookbacks", self.lookbacks, 1, MAX_LOOKBACK)
        shortest = (max(self.orders) - 1) * max(self.delays) + 2
        if min(self.windows) < shortest:
            raise ValueError(
                f"{name}.windows holds {min(self.windows)}; allowed is {shortest} or more, because "
                f"order {max(self.orders)} with delay {max(self.delays)} needs two patterns"
            )
        _span(name, "theta_quantile", self.theta_quantile, 0.0, 1.0)
        _span(name, "dead_band", self.dead_band, 0.0, 1.0)
        _span(name, "kelly_multiplier", self.kelly_multiplier, 1e-6, 100.0)
        _span(name, "max_duration_secs", self.max_duration_secs, 1.0, MAX_DURATION_SECS)
        _span(name, "max_drawdown", self.max_drawdown, 1e-6, 1.0)
        _span(name, "take_profit", self.take_profit, 0.0, 1e6)
        _number(name, "max_symbol_share", self.max_symbol_share, 1e-9, 1.0)
        _number(name, "start_balance", self.start_balance, 1e-6, 1e12)
        _number(name, "theta_min_samples", self.theta_min_samples, 1, 1_000_000)
        self._check_interpretations()

    def __hash__(self) -> int:
        """Of the grid alone: the interpretations are a mapping, which has no hash."""
        return hash((*self.orders, *self.delays, *self.windows, *self.lookbacks))

    def _check_interpretations(self) -> None:
        for key, weight in self.interpretations.items():
            if key not in INTERPRETATIONS:
                raise ValueError(
                    f"ParameterSpace.interpretations holds {key!r}; "
                    f"allowed are {', '.join(INTERPRETATIONS)}"
                )
            _number("ParameterSpace", f"interpretations.{key}", weight, 0.0, 1e6)
        if sum(self.interpretations.values()) <= 0.0:
            raise ValueError(
                "ParameterSpace.interpretations are all 0; one weight must be positive"
            )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All (d, tau, w), in the row order of :class:`shared.providence.step.Grid`."""
        return tuple(product(self.orders, self.delays, self.windows))

    @property
    def interpretation_weights(self) -> tuple[float, ...]:
        """Probabilities in the order of :class:`Interpretation`, adding up to 1."""
        raw = [float(self.interpretations.get(name, 0.0)) for name in INTERPRETATIONS]
        total = sum(raw)
        return tuple(weight / total for weight in raw)


@dataclass(frozen=True, slots=True)
class CloneRules:
    """How vacancies are filled from the living and how far a clone may differ."""

    clonal_fraction: float
    """Probability that a vacancy is filled by a clone, 0 to 1."""
    min_parent_age_secs: float
    """A parent is at least this old, >= 0."""
    min_trades: int
    """A parent has at least this many closed trades, >= 1."""
    mutation_scale: float
    """Standard deviation of a continuous step, as a share of the parameter's range, 0 to 1."""
    integer_step_probability: float
    """Probability that an integer parameter moves to a neighbour, 0 to 1."""
    flip_probability: float
    """Probability that the clone takes the other side, 0 to 1."""
    shrinkage: float
    """Trades at which a parent's growth counts half and the cohort's mean half, >= 0."""

    def __post_init__(self) -> None:
        for field in (
            "clonal_fraction",
            "mutation_scale",
            "integer_step_probability",
            "flip_probability",
        ):
            _number("CloneRules", field, getattr(self, field), 0.0, 1.0)
        _number("CloneRules", "min_parent_age_secs", self.min_parent_age_secs, 0.0, 1e9)
        _number("CloneRules", "min_trades", self.min_trades, 1, 1_000_000)
        _number("CloneRules", "shrinkage", self.shrinkage, 0.0, 1e9)
