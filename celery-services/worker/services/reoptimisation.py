"""Performance decays: search anew on what was recorded, and propose; nothing is applied."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from optuna.storages import RDBStorage

from shared.alerts import alert
from shared.alerts.raising import Alerts
from shared.config import Settings
from shared.market_data.archive import PRICES
from shared.ports import Clock
from shared.research.errors import ResearchError
from shared.research.optimize.outcome import Outcome, outcome_of
from shared.research.optimize.outputs import is_proven, other_ticks, verdict, write_all
from shared.research.optimize.search import Counts, Optimisation, plan, run
from shared.research.optimize.senders import InlineSender
from shared.research.request import Request
from shared.storage.reoptimisation import ReoptimisationClaim

DAY_MS: Final = 86_400_000
DAYS_AFTER_REFUSAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class Reoptimisation:
    """The use case, done by one research worker by itself."""

    settings: Settings
    config: Path
    storage: RDBStorage
    alerts: Alerts
    claim: ReoptimisationClaim
    clock: Clock

    def propose(self) -> Path | None:
        """Search on the finished days of the recorded data; the proposal, None without one.

        A search that was cut off goes on where it was when the next one is set off the same day.
        """
        research = self.settings.research.reoptimisation
        midnight_ms = self.clock.now_ms() // DAY_MS * DAY_MS
        try:
            wanted, outcome, line = self._search(midnight_ms)
        except ResearchError as error:
            day = datetime.fromtimestamp(midnight_ms / 1000, UTC).date().isoformat()
            self.alerts.raise_alert(alert.reoptimisation_refused(str(error), day), once=True)
            self.claim.done(DAYS_AFTER_REFUSAL)
            return None
        proposal = line["proposal"]
        self.alerts.raise_alert(
            alert.reoptimisation(
                Path(str(line["report"])).parent.name,
                " ".join([verdict(outcome), *other_ticks(wanted)]),
                str(proposal or ""),
                str(line["report"]),
                worth=bool(proposal)
                and not other_ticks(wanted)
                and is_proven(outcome, research.min_deflated_sharpe),
            ),
            once=True,
        )
        self.claim.done(research.min_days_between)
        return None if proposal is None else Path(str(proposal))

    def _search(self, midnight_ms: int) -> tuple[Optimisation, Outcome, dict[str, object]]:
        research = self.settings.research.reoptimisation
        start_ms = self.clock.now_ms()
        # prices, not candles: the search is to tick as the platform does
        data = research.data or (f"{self.settings.recorder.path}:{PRICES}",)
        wanted = plan(Request(data=data, to_ms=midnight_ms - 1), self.settings, research.trials)

        def renew(_counts: Counts, _problem: str) -> None:
            self.claim.renew()

        studies = run(wanted, self.storage, InlineSender(self.storage), renew)
        outcome = outcome_of(wanted.folds, studies, self.settings)
        seconds = (self.clock.now_ms() - start_ms) / 1000.0
        text = self.config.read_text(encoding="utf-8")
        return (
            wanted,
            outcome,
            write_all(self.settings.research.path / wanted.id, wanted, outcome, seconds, text),
        )
