"""Grafana's provisioned files: written by their program, every query asked, every metric declared.

Whether the panels have something to show in a running platform is asked in the demo's own test.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from sqlalchemy.engine import Engine

from shared import instruments, state_metrics
from shared.native_servers import PROJECT_ROOT
from shared.testing.dashboards import FOLDER, PanelQuery, ask_mariadb, panel_queries

GRAFANA = PROJECT_ROOT / "setup" / "grafana"
NAMES = {"portfolio", "population", "queues", "execution", "system"}
QUERIES = panel_queries()
FOREIGN = re.compile(r"(up|ALERTS|(flower|process|redis|mysql|otelcol)_\w+)")
_WORDS = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]*\b")
_PROMQL = {
    "sum", "avg", "min", "max", "count", "abs", "rate", "by", "le", "vector", "or", "on",
    "histogram_quantile",
}  # fmt: skip


def _of(datasource: str) -> pytest.MarkDecorator:
    found = [query for query in QUERIES if query.datasource == datasource]
    assert found
    return pytest.mark.parametrize("query", found, ids=lambda query: query.name)


def _dashboards() -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))]


def test_files_are_those_that_their_program_writes(tmp_path: Path) -> None:
    program = GRAFANA / "build_dashboards.py"
    subprocess.run([sys.executable, str(program), str(tmp_path)], check=True)
    written = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}
    assert written == kept, "run `make docs`"
    assert {Path(name).stem for name in kept} == NAMES


@_of("mariadb")
def test_sql_of_every_panel_runs_on_the_schema(query: PanelQuery, engine: Engine) -> None:
    with engine.connect() as connection:
        ask_mariadb(connection, query)


@_of("prometheus")
def test_metrics_of_every_panel_are_declared(query: PanelQuery) -> None:
    declared = {metric.name for metric in state_metrics.DECLARED}
    for metric in instruments.DECLARED:
        parts = ("_bucket", "_count") if metric.kind == "histogram" else ("",)
        declared |= {metric.name + part for part in parts}
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", query.text)
    names = {word for word in _WORDS.findall(bare) if word not in _PROMQL}
    unknown = {name for name in names - declared if not FOREIGN.fullmatch(name)}
    assert names
    assert not unknown


def test_every_panel_says_what_it_shows_and_names_a_provisioned_datasource() -> None:
    content = yaml.safe_load((GRAFANA / "datasources" / "3t.yaml").read_text(encoding="utf-8"))
    known = {(source["type"], source["uid"]) for source in content["datasources"]}
    for dashboard in _dashboards():
        assert dashboard["description"].endswith("?"), dashboard["title"]
        for panel in dashboard["panels"]:
            assert panel["description"].endswith("."), panel["title"]
            assert (panel["datasource"]["type"], panel["datasource"]["uid"]) in known


def test_panels_do_not_overlap() -> None:
    for dashboard in _dashboards():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_metrics_traces_and_logs_lead_to_each_other() -> None:
    content = yaml.safe_load((GRAFANA / "datasources" / "3t.yaml").read_text(encoding="utf-8"))
    sources = {source["uid"]: source for source in content["datasources"]}
    (way,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert way == {"name": "trace_id", "datasourceUid": "tempo"}
    assert sources["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "loki"
    (back,) = sources["loki"]["jsonData"]["derivedFields"]
    assert (back["matcherRegex"], back["datasourceUid"]) == ("trace_id", "tempo")
    exemplars = [
        target["exemplar"]
        for dashboard in _dashboards()
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    assert exemplars


def test_a_decision_leads_to_its_trace() -> None:
    (execution,) = (board for board in _dashboards() if board["uid"] == "3t-execution")
    (panel,) = (one for one in execution["panels"] if one["title"] == "Newest decisions")
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byName", "options": "trace_id"}
    assert "AS trace_id" in panel["targets"][0]["rawSql"]
    (link,) = override["properties"][0]["value"]
    page = urlsplit(link["url"].replace("${__value.raw}", "0af7651916cd43dd"))
    (shown,) = json.loads(parse_qs(page.query)["panes"][0]).values()
    assert page.path == "/explore"
    assert [query["query"] for query in shown["queries"]] == ["0af7651916cd43dd"]
    assert {shown["datasource"], shown["queries"][0]["datasource"]["uid"]} == {"tempo"}


def test_dashboards_and_panels_have_ids_and_titles_of_their_own() -> None:
    boards = _dashboards()
    assert len({board["uid"] for board in boards}) == len({b["title"] for b in boards}) == 5
    for board in boards:
        ids = [panel["id"] for panel in board["panels"] if panel.get("id")]
        assert len(ids) == len(set(ids))
        names = [(panel["type"], panel["title"]) for panel in board["panels"]]
        assert len(names) == len(set(names))


def test_dashboards_lead_to_each_other_and_name_no_variable_that_nobody_fills() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        (link,) = json.loads(text)["links"]
        assert (link["type"], link["tags"]) == ("dashboards", ["3t"])
        assert set(json.loads(text)["tags"]) == {"3t"}
        assert set(re.findall(r"\$\{?(\w+)", text)) <= {"__rate_interval", "__value"}
