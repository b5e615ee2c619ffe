"""Adds a symbol to ``config.yml``: ``python -m deployment.symbols check|add SYMBOL …``.

``check`` asks MariaDB whether the venue lists the symbol, ``add`` changes the file; they run in
different containers, because none of them has both the database and the right to write the file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from shared.config import ConfigError, load_secrets, load_settings
from shared.database import UnitOfWork, make_engine
from shared.storage.products import ProductStore

BAD_INPUT, FAILED = 2, 1
_LINE = re.compile(r"^(?P<head>  symbols: \[)(?P<names>[^\]\n]*)(?P<tail>\].*)$", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Exit code: 0 listed or added, 1 the database does not answer, 2 bad input."""
    match arguments:
        case ["check", symbol]:
            return check(symbol)
        case ["add", symbol, file]:
            return add(symbol, Path(file))
    sys.stderr.write("usage: python -m deployment.symbols {check SYMBOL | add SYMBOL FILE}\n")
    return BAD_INPUT


def check(symbol: str) -> int:
    """Whether the venue lists a symbol."""
    try:
        engine = make_engine(load_settings(), load_secrets(require=["database.app_password"]))
        with UnitOfWork(engine) as uow:
            listed = sorted(ProductStore(uow.conn).all())
    except ConfigError as error:
        return _fail(str(error), BAD_INPUT)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        return _fail(f"the database cannot be read: {reason}", FAILED)
    if symbol not in listed:
        some = ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")
        return _fail(f"{symbol}: the venue does not list it; it lists {some or 'nothing yet'}")
    return 0


def add(symbol: str, file: Path) -> int:
    """Append a symbol to ``reconciliation_engine.symbols``; everything else in the file stays."""
    try:
        if symbol in load_settings(file, {}).reconciliation_engine.symbols:
            return _fail(f"{symbol}: is in {file.name} already")
        before = file.read_text(encoding="utf-8")
        after, changes = _LINE.subn(rf"\g<head>\g<names>, {symbol}\g<tail>", before)
        if changes != 1:
            return _fail(
                f"{file.name}: has no line '  symbols: [...]' to add to; add {symbol} by hand"
            )
        draft = file.with_name(file.name + ".new")
        draft.write_text(after, encoding="utf-8")
        try:
            load_settings(draft, {})
        except ConfigError:
            draft.unlink()
            raise
        # Written in place: the file may be mounted, and a mount follows the file, not its name.
        file.write_text(after, encoding="utf-8")
        draft.unlink()
    except ConfigError as error:
        return _fail(str(error), BAD_INPUT)
    sys.stdout.write(f"{file.name}: {symbol} added\n")
    return 0


def _fail(message: str, code: int = BAD_INPUT) -> int:
    sys.stderr.write(f"{message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
