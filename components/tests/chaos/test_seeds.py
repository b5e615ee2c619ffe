"""A short set of seeds against the whole platform, and the command's bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.__main__ import main
from chaos.platform import RunningPlatform
from chaos.runner import run_seed
from chaos.schedule import deal

START_SECS = 240.0
SEEDS, STRIKES = (22, 23), 3
"""Among them: the disk full, the venue's clock off, kills of gateway, worker and MariaDB."""


@pytest.mark.timeout(600)
def test_every_seed_ends_at_target_or_halted_and_breaks_no_rule(tmp_path: Path) -> None:
    with RunningPlatform(tmp_path) as platform:
        platform.wait_started(START_SECS)
        records = platform.records()
        outcomes = [run_seed(platform, records, seed, deal(seed, STRIKES)) for seed in SEEDS]
    for outcome in outcomes:
        assert outcome.violations == ()
        assert outcome.recovery_secs is not None
        assert len(outcome.struck) == STRIKES
        assert outcome.orders > 0
    assert any(one.at_step for outcome in outcomes for one in outcome.struck)


@pytest.mark.parametrize("option", ["--seeds=0", "--seeds=x", "--strikes=-1", "--first-seed=0"])
def test_bad_input_is_one_sentence(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_a_damaged_file_of_outcomes_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seeds-1-2x4.jsonl").write_text("{}\n")
    assert main(["--seeds=2", f"--home={tmp_path}"]) == 2
    assert "line 1: is no outcome; remove the file" in capsys.readouterr().err
