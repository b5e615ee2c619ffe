"""``python -m chaos --seeds 20``: seeded faults against the running platform.

Behind ``make chaos``.

The last line on stdout is one JSON object: seeds, faults put in force, orders in the journal,
violations, seeds that ended halted with an alert, and the time from the end of the last fault to
the account at its target (or halted). Exit code 0 without violations, 1 with at least one (stderr
names each and the seed that repeats it), 2 for bad input or a platform that does not start.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.platform import PlatformError, RunningPlatform
from chaos.report import matrix, summary
from chaos.runner import Outcome, run_seed
from chaos.schedule import draw, names
from shared.config import ConfigError
from shared.native_servers import PROJECT_ROOT
from shared.opentelemetry_config import setup

OK, VIOLATED, BAD_INPUT = 0, 1, 2
HOME = PROJECT_ROOT / ".local" / "chaos"
START_SECS = 240.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run all seeds; returns the exit code."""
    arguments = _parser().parse_args(argv)
    shutil.rmtree(arguments.home, ignore_errors=True)
    arguments.home.mkdir(parents=True)
    try:
        outcomes, orders = _run(arguments)
    except (PlatformError, ConfigError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return BAD_INPUT
    if arguments.matrix is not None:
        arguments.matrix.write_text(matrix(outcomes, orders), encoding="utf-8")
    print(json.dumps(summary(outcomes, orders)), flush=True)
    return VIOLATED if any(outcome.violations for outcome in outcomes) else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=_count, default=5, help="how many seeds (default 5)")
    parser.add_argument("--first-seed", type=_count, default=1, help="where to begin (default 1)")
    parser.add_argument("--secs", type=_count, default=20, help="length of a seed's faults")
    parser.add_argument("--strikes", type=_count, default=4, help="faults per seed (default 4)")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the platform; emptied")
    parser.add_argument("--matrix", type=Path, help="write the fault matrix to this file")
    return parser


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found {text!r}")
    return value


def _run(arguments: argparse.Namespace) -> tuple[list[Outcome], int]:
    outcomes: list[Outcome] = []
    known: set[tuple[str, str]] = set()
    with RunningPlatform(arguments.home) as platform:
        setup("chaos", platform.plan.settings.observability)
        platform.wait_started(START_SECS)
        records = platform.records()
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            strikes = draw(seed, arguments.secs, arguments.strikes)
            _say(f"seed {seed}: {', '.join(names(strikes))}")
            outcome = _only_new(run_seed(platform, records, seed, strikes), known)
            outcomes.append(outcome)
            _tell(outcome)
        orders = len(records.history().intents)
    return outcomes, orders


def _only_new(outcome: Outcome, known: set[tuple[str, str]]) -> Outcome:
    """The history grows from seed to seed: a violation counts for the seed it came with."""
    fresh = tuple(v for v in outcome.violations if (v.rule, v.detail) not in known)
    known.update((v.rule, v.detail) for v in fresh)
    return Outcome(outcome.seed, outcome.struck, outcome.halts, outcome.recovery_secs, fresh)


def _tell(outcome: Outcome) -> None:
    ended = "halted: " + "; ".join(outcome.halts) if outcome.halts else "at target"
    took = "never" if outcome.recovery_secs is None else f"{outcome.recovery_secs:.1f} s"
    _say(f"seed {outcome.seed}: {ended}, recovered after {took}")
    for violation in outcome.violations:
        _say(f"seed {outcome.seed}: VIOLATION {violation.rule}: {violation.detail}")
    if outcome.violations:
        _say(f"repeat it: make chaos SEEDS=1 SEED={outcome.seed}")


def _say(sentence: str) -> None:
    print(f"chaos: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
