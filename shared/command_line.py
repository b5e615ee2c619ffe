"""Command lines that answer a mistake in one sentence."""

from __future__ import annotations

import argparse
import math
from typing import Any, NoReturn

BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong and no more: the usage is in ``--help``.

    ``int`` and ``float`` arguments say what they take; ``float`` ones take no NaN and no infinity.
    Descriptions, such as a module's docstring, keep their lines.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.description = (self.description or "").replace("``", "`")
        self.register("type", int, _whole_number)
        self.register("type", float, _number)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and a sentence such as ``demo: --speed: must be a number …``."""
        sentence = message.removeprefix("argument ")
        name = self.prog.removeprefix("python -m ")
        self.exit(BAD_INPUT, f"{name}: {sentence} (see {self.prog} --help)\n")


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, found {text!r}") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, found {text!r}")
    return value
