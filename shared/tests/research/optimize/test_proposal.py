"""A proposal changes the values it names, and nothing else that a person wrote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shared.research.optimize.proposal import changed_text, config_diff
from shared.tests.research.samples import ROOT

VALUES = {
    "providence.entropy.windows": [120, 240, 480],
    "providence.exits.max_drawdown.1": 0.3174,
    "providence.interpretations": {"breakout": 1.0},
    "reconciliation_engine.rebalance_frequency": 1344.0,
}


def test_shipped_configuration_keeps_its_comments_and_takes_the_values() -> None:
    text = (ROOT / "config.yml").read_text()
    after = changed_text(text, VALUES)
    content, before = yaml.safe_load(after), yaml.safe_load(text)
    assert content["providence"]["entropy"]["windows"] == [120, 240, 480]
    assert content["providence"]["exits"]["max_drawdown"] == [0.05, 0.3174]
    assert content["providence"]["interpretations"] == {"breakout": 1.0}
    assert content["risk"] == before["risk"]
    assert [line for line in after.splitlines() if "#" in line] == [
        line for line in text.splitlines() if "#" in line
    ]


def test_diff_applies_with_git(tmp_path: Path) -> None:
    text = (ROOT / "config.yml").read_text()
    (tmp_path / "config.yml").write_text(text)
    (tmp_path / "proposal.diff").write_text(config_diff(text, VALUES))
    git = shutil.which("git")
    assert git is not None
    subprocess.run([git, "apply", "proposal.diff"], cwd=tmp_path, check=True)
    assert (tmp_path / "config.yml").read_text() == changed_text(text, VALUES)


def test_values_in_block_style_are_replaced() -> None:
    text = "a:\n  list:\n    - 1\n    - 2\n  next: 3  # kept\n"
    after = changed_text(text, {"a.list": [5, 6, 7]})
    assert yaml.safe_load(after) == {"a": {"list": [5, 6, 7], "next": 3}}
    assert "# kept" in after


def test_nothing_changes_where_the_values_are_those_there_are() -> None:
    text = (ROOT / "config.yml").read_text()
    assert config_diff(text, {"reconciliation_engine.rebalance_frequency": 15.0}) == ""


def test_a_key_that_the_file_does_not_name_is_said() -> None:
    with pytest.raises(KeyError, match=r"does not name providence\.nothing"):
        changed_text("providence: {a: 1}\n", {"providence.nothing": 1})
