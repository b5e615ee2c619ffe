"""A kill switch set while the database was away: on the gateway's own disk until it is stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

UNREADABLE = "the note of a kill switch that was set without the database cannot be read"


@dataclass(frozen=True, slots=True)
class KeptSwitch:
    """Why and by whom it was set."""

    reason: str
    actor: str


class SwitchFile:
    """One small file that is there while a switch waits to be stored."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, switch: KeptSwitch) -> None:
        """Put the switch on the disk; raises ``OSError`` if it refuses."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("wb") as file:
            file.write(orjson.dumps({"reason": switch.reason, "actor": switch.actor}))
            file.flush()
            os.fsync(file.fileno())

    def kept(self) -> KeptSwitch | None:
        """The switch that waits; what cannot be read is one, too."""
        try:
            found = orjson.loads(self._path.read_bytes())
            return KeptSwitch(str(found["reason"]), str(found["actor"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return KeptSwitch(UNREADABLE, "gateway")

    def forget(self) -> None:
        """It is stored."""
        self._path.unlink(missing_ok=True)
