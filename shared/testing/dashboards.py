"""The queries of Grafana's provisioned dashboards, as a test can ask them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import requests
from sqlalchemy import text
from sqlalchemy.engine import Connection

from shared.native_servers import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "setup" / "grafana" / "dashboards"
RATE_INTERVAL = "30s"


@dataclass(frozen=True)
class PanelQuery:
    """A query of a panel. ``may_be_empty``: the panel says what it means to have nothing."""

    dashboard: str
    panel: str
    datasource: str
    text: str
    may_be_empty: bool

    @property
    def name(self) -> str:
        """Which one it is."""
        return f"{self.dashboard}: {self.panel}"

    def promql(self) -> str:
        """The query with Grafana's variables filled in."""
        return self.text.replace("$__rate_interval", RATE_INTERVAL)


def panel_queries(folder: Path = FOLDER) -> list[PanelQuery]:
    """Every query of every dashboard."""
    found = []
    for file in sorted(folder.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            defaults = panel.get("fieldConfig", {}).get("defaults", {})
            for target in panel["targets"]:
                query = PanelQuery(
                    dashboard=file.stem,
                    panel=panel["title"],
                    datasource=panel["datasource"]["uid"],
                    text=target.get("rawSql") or target["expr"],
                    may_be_empty=bool(defaults.get("noValue")),
                )
                found.append(query)
    return found


def ask_prometheus(url: str, query: PanelQuery) -> list[object]:
    """What Prometheus finds now; raises ``AssertionError`` with its words for a bad query."""
    reply = requests.get(f"{url}/api/v1/query", params={"query": query.promql()}, timeout=10)
    body = reply.json()
    assert body["status"] == "success", f"{query.name}: {body.get('error')}"
    return [one for one in body["data"]["result"] if one["value"][1] != "NaN"]


def ask_mariadb(connection: Connection, query: PanelQuery) -> list[object]:
    """The rows of a table panel."""
    return list(connection.execute(text(query.text)))
