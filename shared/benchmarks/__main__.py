"""``python -m shared.benchmarks [--only FIGURE ...] [--list]``: one JSON line per figure.

What is measured together is printed together: asking for one figure of a run gives them all. What
this host cannot measure (containers without Docker) is named on stderr and counts as no miss.

Exit code 0 when every goal of the figures that ran is met, 1 when one is missed or a measurement
failed (its traceback is on stderr, the others go on), 2 on bad usage.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable

from shared.benchmarks.figure import Figure, NotMeasuredError
from shared.command_line import Parser

BENCHMARKS: dict[str, str] = {
    "step_runs_per_s": "shared.benchmarks.bench_kernel:step_runs_per_s",
    "step_shard_runs_per_s": "shared.benchmarks.bench_kernel:step_shard_runs_per_s",
    "kernel_warm_call_s": "shared.benchmarks.bench_kernel:kernel_warm_call_s",
    "kernel_cold_call_s": "shared.benchmarks.bench_kernel:kernel_cold_call_s",
    "entropy_ns_per_window": "shared.benchmarks.bench_entropy:entropy_ns_per_window",
    "entropy_grid_ms_per_tick": "shared.benchmarks.bench_entropy:entropy_grid_ms_per_tick",
    "backtest_run_bars_per_s": "shared.benchmarks.bench_backtest:backtest_run_bars_per_s",
    "backtest_year_s": "shared.benchmarks.bench_backtest:backtest_year_s",
    "backtest_first_call_s": "shared.benchmarks.bench_backtest:backtest_first_call_s",
    "backtest_peak_mib": "shared.benchmarks.bench_backtest:backtest_peak_mib",
    "backtest_sma_bars_per_s": "shared.benchmarks.bench_backtest:backtest_sma_bars_per_s",
    "optimize_trials_per_min_1": "shared.benchmarks.bench_optimize:optimize_trials_per_min",
    "optimize_trials_per_min_2": "shared.benchmarks.bench_optimize:optimize_trials_per_min",
    "tick_to_key_p99_ms": "shared.benchmarks.bench_market_data:tick_to_key_p99_ms",
    "sample_500_ms_per_tick": "shared.benchmarks.bench_market_data:sample_500_ms_per_tick",
    "recorder_cpu_share": "shared.benchmarks.bench_recorder:recorder_cpu_share",
    "recorded_share": "shared.benchmarks.bench_recorder:recorder_cpu_share",
    "market_loads_per_fleet_start": (
        "shared.benchmarks.bench_recorder:market_loads_per_fleet_start"
    ),
    "plans_per_s": "shared.benchmarks.bench_reconciliation:plans_per_s",
    "reconcile_200_s": "shared.benchmarks.bench_reconciliation:reconcile_200_s",
    "gateway_p50_ms": "shared.benchmarks.bench_gateway:gateway_latency",
    "gateway_p99_ms": "shared.benchmarks.bench_gateway:gateway_latency",
    "kill_switch_to_block_s": "shared.benchmarks.bench_kill_switch:kill_switch",
    "kill_switch_cli_to_block_s": "shared.benchmarks.bench_kill_switch:kill_switch",
    "paper_orders_per_s": "shared.benchmarks.bench_paper:paper_orders_per_s",
    "paper_ws_p99_ms": "shared.benchmarks.bench_paper:paper_ws_p99_ms",
    "paper_memory_growth_mib": "shared.benchmarks.bench_paper:paper_memory_growth_mib",
    "paper_replay_x": "shared.benchmarks.bench_paper:paper_replay_x",
    "rebuild_100k_s": "shared.benchmarks.bench_iterations:rebuild_100k_s",
    "db_bytes_per_run_day": "shared.benchmarks.bench_storage:db_bytes_per_run_day",
    "high_priority_wait_p99_s": "shared.benchmarks.bench_delivery:high_priority_wait_p99_s",
    "recovery_s": "shared.benchmarks.bench_delivery:recovery_s",
    "iterations_per_s": "shared.benchmarks.bench_iterations:iterations_per_s",
    "iterations_per_s_single_runs": "shared.benchmarks.bench_iterations:iterations_per_s",
    "iterations_cpu_s_per_million": "shared.benchmarks.bench_iterations:iterations_per_s",
    "skipped_ticks": "shared.benchmarks.bench_iterations:iterations_per_s",
    "tick_lag_p99_s": "shared.benchmarks.bench_iterations:iterations_per_s",
    "redis_bytes_per_run": "shared.benchmarks.bench_iterations:iterations_per_s",
    "image_services_mb": "shared.benchmarks.bench_deployment:deployment",
    "image_services_added_mb": "shared.benchmarks.bench_deployment:deployment",
    "image_worker_mb": "shared.benchmarks.bench_deployment:deployment",
    "image_worker_added_mb": "shared.benchmarks.bench_deployment:deployment",
    "image_recorder_mb": "shared.benchmarks.bench_deployment:deployment",
    "image_recorder_added_mb": "shared.benchmarks.bench_deployment:deployment",
    "install_s": "shared.benchmarks.bench_deployment:deployment",
    "idle_cpu_percent": "shared.benchmarks.bench_deployment:deployment",
    "idle_memory_mib": "shared.benchmarks.bench_deployment:deployment",
}
"""Figure -> ``module:function``; the function takes nothing and returns a :class:`Figure`.

A module is imported only when one of its figures runs, so that a missing server or library stops no
other figure. A function may also return several figures; it runs once for all of them.
"""


def run(name: str) -> list[Figure]:
    """Measure one registered figure."""
    module, function = BENCHMARKS[name].split(":")
    result = getattr(importlib.import_module(module), function)()
    return [result] if isinstance(result, Figure) else list(result)


def main(arguments: Iterable[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = Parser(prog="python -m shared.benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="FIGURE", nargs="+", choices=sorted(BENCHMARKS))
    parser.add_argument("--list", action="store_true", help="print the figures and end")
    options = parser.parse_args(None if arguments is None else list(arguments))
    names = options.only or list(BENCHMARKS)
    if options.list:
        print("\n".join(names))
        return 0
    missed = False
    functions: dict[str, str] = {}
    for name in names:
        functions.setdefault(BENCHMARKS[name], name)
    for name in functions.values():
        try:
            figures = run(name)
        except NotMeasuredError as reason:
            print(f"{name}: not measured: {reason}", file=sys.stderr)
            continue
        except KeyboardInterrupt:
            print(f"bench: stopped at {name}; ONLY={name} measures it alone", file=sys.stderr)
            return 130
        except Exception:  # noqa: BLE001 - shown, counted, and no reason to measure nothing else
            traceback.print_exc()
            print(f"{name}: failed; ONLY={name} measures it alone", file=sys.stderr)
            missed = True
            continue
        for figure in figures:
            print(figure.to_json(), flush=True)
            missed |= figure.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
