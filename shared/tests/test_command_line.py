"""A mistake on a command line is one sentence that says what is wrong and where."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from shared.command_line import Parser

ROOT = Path(__file__).parents[2]


def _parser() -> Parser:
    parser = Parser(prog="python -m weather")
    parser.add_argument("--days", type=int)
    parser.add_argument("--limit", type=float)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show")
    show.add_argument("--place", required=True)
    return parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--days", "x", "show"], "weather: --days: must be a whole number, found 'x'"),
        (["--days", "1.5", "show"], "weather: --days: must be a whole number, found '1.5'"),
        (["--limit", "nan", "show"], "weather: --limit: must be a number, found 'nan'"),
        (["show"], "weather show: the following arguments are required: --place"),
        ([], "weather: the following arguments are required: command"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(words)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert told.endswith(" --help)\n")
    assert told.count("\n") == 1


def test_numbers_are_numbers() -> None:
    parsed = _parser().parse_args(["--days", "3", "--limit", "2.5", "show", "--place", "Bern"])
    assert parsed == argparse.Namespace(days=3, limit=2.5, command="show", place="Bern")


def test_a_docstring_is_a_description_with_its_lines() -> None:
    parser = Parser(prog="python -m weather", description="``weather``: today.\n\n  one example\n")
    assert "`weather`: today.\n\n  one example\n" in parser.format_help()


def test_every_command_line_answers_so() -> None:
    """The paper exchange stands by itself and has the same in its own words."""
    roots = [ROOT / "shared", ROOT / "celery-services" / "worker", ROOT / "components" / "src"]
    sources = [path for root in roots for path in root.rglob("*.py") if "tests" not in path.parts]
    own = {ROOT / "shared/command_line.py", ROOT / "components/src/paper_exchange/command_line.py"}
    bare = re.compile(r"argparse\.ArgumentParser\(")
    assert [p for p in sources if bare.search(p.read_text(encoding="utf-8")) and p not in own] == []
