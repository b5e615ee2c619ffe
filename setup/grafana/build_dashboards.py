"""Writes the dashboards that Grafana is provisioned with: ``make dashboards``.

One dashboard per question. A panel whose query may have nothing to show says why in place of the
data, and a test asks every other one whether it has something to show in a running platform.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import page_execution
import page_population
import page_portfolio
import page_queues
import page_system
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

HERE = Path(__file__).parent / "dashboards"
PAGES = {
    "portfolio": page_portfolio,
    "population": page_population,
    "queues": page_queues,
    "execution": page_execution,
    "system": page_system,
}


def main(folder: Path = HERE) -> int:
    """Write every dashboard into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        built = build(name, page).build()
        text = JSONEncoder(sort_keys=True, indent=1).encode(built)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return 0


def build(name: str, page: ModuleType) -> dashboard.Dashboard:
    """A dashboard with links to the others, in the order of its panels."""
    others = dashboard.DashboardLink("3T").type(model.DashboardLinkType.DASHBOARDS)
    found = (
        dashboard.Dashboard(page.TITLE)
        .uid(f"3t-{name}")
        .description(page.QUESTION)
        .tags(["3t"])
        .readonly()
        .timezone("utc")
        .refresh("10s")
        .time("now-1h", "now")
        .link(others.tags(["3t"]).keep_time(True))
    )
    for panel in page.PANELS:
        found.with_panel(panel)
    return found


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:2])))
