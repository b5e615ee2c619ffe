"""Behind ``make chaos``: seeded faults against the running platform.

The whole platform is started on ports of its own, beside a demo or a deployment, and trades all
the time. Each seed strikes it a few times, always while an order is at a certain step: journaled,
sent, executed, filled, not yet reconciled. Then everything it did is checked against the venue's
ledger.

  make chaos                      five seeds
  make chaos SEEDS=200            an hour or two; Ctrl-C, and the same command goes on from there
  make chaos SEEDS=1 SEED=17      one seed again

The last line on stdout is one JSON object: seeds, faults put in force, orders in the journal,
violations, seeds that ended halted with an alert, and the time from the end of the last fault to
the account at its target (or halted). Exit code 0 without violations, 1 with at least one (stderr
names each and the seed that repeats it), 2 for bad input or a platform that does not start, 130
after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from chaos.outcomes import DamagedOutcomes, OutcomeFile
from chaos.platform import RunningPlatform
from chaos.report import coverage, matrix, summary
from chaos.runner import Outcome, run_seed
from chaos.schedule import deal
from demo.running import DemoError
from shared.command_line import Parser
from shared.config import ConfigError
from shared.config_sections import ObservabilitySettings
from shared.native_servers import PROJECT_ROOT
from shared.opentelemetry_config import set_up_logging

OK, VIOLATED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
HOME = PROJECT_ROOT / ".local" / "chaos"
START_SECS = 240.0
SEEDS_PER_PLATFORM = 25
"""Then it starts anew: what it wrote down is checked whole after each seed, and must stay small."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run all seeds; returns the exit code."""
    arguments = _parser().parse_args(argv)
    kept = OutcomeFile(arguments.home, arguments.first_seed, arguments.seeds, arguments.strikes)
    try:
        outcomes = kept.read()
        kept.start(outcomes)
        interrupted = _run(arguments, kept, outcomes)
    except (DamagedOutcomes, DemoError, ConfigError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return BAD_INPUT
    if arguments.matrix is not None and outcomes:
        arguments.matrix.write_text(matrix(outcomes), encoding="utf-8")
        _say(f"wrote {arguments.matrix}: {coverage(outcomes)}")
    print(json.dumps(summary(outcomes)), flush=True)
    if interrupted:
        _say("stopped; the same command goes on from here")
        return INTERRUPTED
    return VIOLATED if any(outcome.violations for outcome in outcomes) else OK


def _parser() -> Parser:
    parser = Parser(
        prog="python -m chaos",
        description=__doc__,
    )
    parser.add_argument("--seeds", type=_count, default=5, help="how many seeds (default 5)")
    parser.add_argument("--first-seed", type=_count, default=1, help="where to begin (default 1)")
    parser.add_argument("--strikes", type=_count, default=4, help="faults per seed (default 4)")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of platform and outcomes")
    parser.add_argument("--matrix", type=Path, help="write the fault matrix to this file")
    return parser


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found {text!r}")
    return value


def _run(arguments: argparse.Namespace, kept: OutcomeFile, outcomes: list[Outcome]) -> bool:
    """Run the seeds that have no outcome yet, adding to ``outcomes``; whether Ctrl-C ended it."""
    done = {outcome.seed for outcome in outcomes}
    seeds = [seed for seed in range(kept.first, kept.first + kept.count) if seed not in done]
    if done:
        _say(f"going on: {len(done)} of {kept.count} seeds are done")
    try:
        while seeds:
            batch, seeds = seeds[:SEEDS_PER_PLATFORM], seeds[SEEDS_PER_PLATFORM:]
            _run_batch(arguments, kept, batch, outcomes)
    except KeyboardInterrupt:
        return True
    return False


def _run_batch(
    arguments: argparse.Namespace, kept: OutcomeFile, seeds: Sequence[int], outcomes: list[Outcome]
) -> None:
    home = arguments.home / "platform"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    known: set[tuple[str, str]] = set()
    _say("starting the platform")
    with RunningPlatform(home) as platform:
        _log_to(arguments.home / "chaos.log", platform.plan.settings.observability)
        platform.wait_started(START_SECS)
        records = platform.records()
        for seed in seeds:
            strikes = deal(seed, kept.strikes)
            _say(f"seed {seed}: {', '.join(str(strike) for strike in strikes)}")
            outcome = _only_new(run_seed(platform, records, seed, strikes), known)
            outcomes.append(outcome)
            kept.add(outcome)
            _tell(outcomes, kept.count)


def _only_new(outcome: Outcome, known: set[tuple[str, str]]) -> Outcome:
    """The history grows from seed to seed: a violation counts for the seed it came with."""
    fresh = tuple(v for v in outcome.violations if (v.rule, v.detail) not in known)
    known.update((v.rule, v.detail) for v in fresh)
    return replace(outcome, violations=fresh)


def _tell(outcomes: Sequence[Outcome], count: int) -> None:
    outcome, done = outcomes[-1], len(outcomes)
    ended = "halted: " + "; ".join(outcome.halts) if outcome.halts else "at target"
    took = "never" if outcome.recovery_secs is None else f"after {outcome.recovery_secs:.1f} s"
    mean_secs = sum(one.secs for one in outcomes) / done
    left = timedelta(seconds=round((count - done) * mean_secs))
    _say(
        f"seed {outcome.seed}: {ended}, recovered {took}, {outcome.orders} orders, "
        f"{outcome.secs:.0f} s; {done} of {count} done, about {left} left"
    )
    for violation in outcome.violations:
        _say(f"seed {outcome.seed}: VIOLATION {violation.rule}: {violation.detail}")
    if outcome.violations:
        _say(f"repeat it: make chaos SEEDS=1 SEED={outcome.seed}")


def _log_to(path: Path, settings: ObservabilitySettings) -> None:
    """Strikes and what could not be asked meanwhile; the terminal is for progress."""
    set_up_logging("chaos", settings)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("a", encoding="utf-8"))


def _say(sentence: str) -> None:
    print(f"chaos: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
