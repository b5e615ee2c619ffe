"""What of the configuration a step depends on, as of a tick.

Each row of ``tick_inputs`` names the version of this that was in force: a replay years later
applies the costs, the limits and the symbols of that tick. Only what changes a step is in it:
another log level makes no new version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shared.config import Settings
from shared.providence.rules import Rules


@dataclass(frozen=True, slots=True)
class TickConfig:
    """Length of a tick (ms), symbols that are traded, and the kernel's rules."""

    interval_ms: int
    symbols: tuple[str, ...]
    rules: Rules

    @classmethod
    def of(cls, settings: Settings) -> TickConfig:
        """The part of ``settings`` that a step depends on."""
        symbols = tuple(sorted(settings.reconciliation_engine.symbols))
        return cls(settings.interval_ms, symbols, settings.rules())

    def to_json(self) -> dict[str, object]:
        """Plain values for ``config_versions.content``."""
        return {
            "interval_ms": self.interval_ms,
            "symbols": list(self.symbols),
            "rules": asdict(self.rules),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TickConfig:
        """What :meth:`to_json` wrote; ``ValueError`` or ``TypeError`` for anything else."""
        missing = {"interval_ms", "symbols", "rules"} - set(content)
        if missing:
            raise ValueError(f"configuration version lacks {', '.join(sorted(missing))}")
        return cls(
            int(content["interval_ms"]), tuple(content["symbols"]), Rules(**content["rules"])
        )
