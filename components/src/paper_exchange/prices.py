"""Seeded fair prices: a regime-switching random walk with jumps.

Time is cut into blocks of one minute. Each block is in one regime (trend, mean-reverting, quiet),
drawn from a Markov chain; a block may hold one jump. Random numbers of block k of a coin depend
only on (seed, coin, k), so a path is reproducible and can be continued from any block.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

STEP_MS = 100
BLOCK_SECS = 60
STEPS_PER_BLOCK = BLOCK_SECS * 1000 // STEP_MS
SECS_PER_DAY = 86_400

STAY_PROBABILITY = 0.85
TREND_STRENGTH = 1.2
REVERSION_SECS = 45.0
QUIET_VOL = 0.35
JUMP_PROBABILITY = 0.01
JUMP_VOL = 4.0
# A weak pull to the reference price (half-life three days) keeps week-long demos plausible.
PULL_PER_SEC = 0.693 / (3 * SECS_PER_DAY)

FloatArray = NDArray[np.float64]
Turns = dict[int, tuple[float, ...]]
"""Index of a step -> prices passed within it, in order, before the one at its end."""


class Regime(Enum):
    """How a block's price moves."""

    TREND = 0
    REVERT = 1
    QUIET = 2


@dataclass(frozen=True, slots=True)
class PathState:
    """Where a path stands at the start of a block; prices are natural logarithms."""

    log_px: float
    anchor: float
    regime: Regime
    drift: float


@dataclass(frozen=True, slots=True)
class PathParams:
    """What does not change along a path. ``vol`` is per square root of a second."""

    seed: int
    coin: str
    reference_log_px: float
    vol: float

    @classmethod
    def of(cls, seed: int, coin: str, reference_px: float, daily_vol: float) -> PathParams:
        vol = daily_vol / float(np.sqrt(SECS_PER_DAY))
        return cls(seed, coin, float(np.log(reference_px)), vol)


def block_rng(params: PathParams, block: int) -> np.random.Generator:
    """The random numbers of one block; negative blocks are history before the start."""
    entropy = (params.seed, zlib.crc32(params.coin.encode()), block & 0xFFFFFFFF)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def start_state(log_px: float) -> PathState:
    """A path that begins quietly at a price."""
    return PathState(log_px, log_px, Regime.QUIET, 0.0)


def _next_regime(state: PathState, params: PathParams, rng: np.random.Generator) -> PathState:
    if rng.random() < STAY_PROBABILITY:
        return state
    regime = Regime(int(rng.integers(len(Regime))))
    drift = 0.0
    if regime is Regime.TREND:
        sign = 1.0 if rng.random() < 0.5 else -1.0
        drift = sign * TREND_STRENGTH * params.vol / float(np.sqrt(BLOCK_SECS))
    return PathState(state.log_px, state.log_px, regime, drift)


def advance_block(
    state: PathState, params: PathParams, block: int, n_steps: int = STEPS_PER_BLOCK
) -> tuple[FloatArray, PathState]:
    """Log prices after each of ``n_steps`` equal steps of one block, and the state behind it."""
    return _walk(state, params, block_rng(params, block), n_steps)


def _walk(
    state: PathState, params: PathParams, rng: np.random.Generator, n_steps: int
) -> tuple[FloatArray, PathState]:
    """One block of the path.

    Trend: drift plus noise. Mean-reverting: an exact Ornstein-Uhlenbeck step towards the price
    at which the regime began. Quiet: noise at a third of the volatility.
    """
    state = _next_regime(state, params, rng)
    dt = BLOCK_SECS / n_steps
    pull = PULL_PER_SEC * (params.reference_log_px - state.log_px)
    noise = rng.standard_normal(n_steps) * (params.vol * float(np.sqrt(dt)))
    steps = np.arange(1, n_steps + 1, dtype=np.float64)
    if state.regime is Regime.REVERT:
        decay = np.exp(-dt / REVERSION_SECS * steps)
        offset = decay * (state.log_px - state.anchor + np.cumsum(noise / decay))
        path = state.anchor + offset + pull * dt * steps
    else:
        scale = QUIET_VOL if state.regime is Regime.QUIET else 1.0
        path = state.log_px + np.cumsum(noise * scale) + (state.drift + pull) * dt * steps
    if rng.random() < JUMP_PROBABILITY:
        at = int(rng.integers(n_steps))
        jump = JUMP_VOL * params.vol * float(np.sqrt(BLOCK_SECS)) * float(rng.standard_normal())
        path[at:] += jump
    return path, PathState(float(path[-1]), state.anchor, state.regime, state.drift)


def history_ending_at(
    params: PathParams, end_px: float, n_blocks: int, n_steps: int, first_block: int
) -> FloatArray:
    """Prices of ``n_blocks`` blocks that end exactly at ``end_px``, shape (n_blocks * n_steps,).

    All moves are relative, so a path drawn forwards can be shifted to meet any price. Nobody
    continues a history from its middle, so all of it comes from the numbers of ``first_block``.
    """
    state, rng = start_state(params.reference_log_px), block_rng(params, first_block)
    pieces: list[FloatArray] = []
    for _ in range(n_blocks):
        piece, state = _walk(state, params, rng, n_steps)
        pieces.append(piece)
    path = np.concatenate(pieces)
    prices: FloatArray = np.exp(path - path[-1]) * end_px
    return prices


class GeneratedSource:
    """Endless prices of one coin, one per step, continuing from a given price."""

    def __init__(self, params: PathParams, start_px: float, first_block: int = 0) -> None:
        self._params = params
        self._state = start_state(float(np.log(start_px)))
        self._block = first_block
        self._ready: FloatArray = np.empty(0)

    @property
    def position(self) -> int:
        """Number of the next block: what a restart continues from."""
        return self._block

    def take(self, n_steps: int) -> tuple[FloatArray, Turns]:
        """The next ``n_steps`` prices; a generated path has no prices between them."""
        while len(self._ready) < n_steps:
            path, self._state = advance_block(self._state, self._params, self._block)
            self._ready = np.concatenate([self._ready, np.exp(path)])
            self._block += 1
        taken, self._ready = self._ready[:n_steps], self._ready[n_steps:]
        return taken, {}
