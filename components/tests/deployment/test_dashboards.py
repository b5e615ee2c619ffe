"""Grafana's provisioned files: every query runs on the schema, every metric is one that exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from sqlalchemy import text
from sqlalchemy.engine import Engine

from shared import instruments
from shared.native_servers import PROJECT_ROOT

GRAFANA = PROJECT_ROOT / "setup" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
MACROS = {
    "$__unixEpochFrom()": "1700000000",
    "$__unixEpochTo()": "1700003600",
    "$__interval_ms": "10000",
}
_METRIC = re.compile(r"\bt3_[a-z_]+")


def _panels(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text(encoding="utf-8"))["panels"])


def _targets(kind: str) -> list[Any]:
    found = []
    for file in DASHBOARDS:
        for panel in _panels(file):
            for target in panel["targets"]:
                if target["datasource"]["type"] == kind:
                    name = f"{file.stem}: {panel['title']}"
                    query = target["rawSql" if kind == "mysql" else "expr"]
                    found.append(pytest.param(query, id=name))
    assert found, kind
    return found


@pytest.mark.parametrize("query", _targets("mysql"))
def test_sql_of_every_panel_runs_on_the_schema(query: str, engine: Engine) -> None:
    for macro, value in MACROS.items():
        query = query.replace(macro, value)
    assert "$__" not in query
    with engine.connect() as connection:
        result = connection.execute(text(query))
        assert list(result.keys())
        result.fetchall()


@pytest.mark.parametrize("query", _targets("prometheus"))
def test_metrics_of_every_panel_are_declared(query: str) -> None:
    assert instruments.record_order
    declared = set()
    for metric in prometheus_client.REGISTRY.collect():
        declared |= {metric.name, f"{metric.name}_total"}
        declared |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    for name in _METRIC.findall(query):
        assert name in declared


def test_every_panel_says_what_it_shows_and_names_a_provisioned_datasource() -> None:
    content = yaml.safe_load((GRAFANA / "datasources" / "3t.yaml").read_text(encoding="utf-8"))
    known = {(source["type"], source["uid"]) for source in content["datasources"]}
    for file in DASHBOARDS:
        for panel in _panels(file):
            assert panel["description"], panel["title"]
            for target in panel["targets"]:
                assert (target["datasource"]["type"], target["datasource"]["uid"]) in known
