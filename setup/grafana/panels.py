"""The kinds of panels of which the dashboards are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="prometheus")
MARIADB = model.DataSourceRef(type_val="mysql", uid="mariadb")
RATE = "$__rate_interval"
GOOD, BAD, WARN = "green", "red", "orange"
NO_YES = {"0": "no", "1": "yes"}
_TRACE = (
    '{"t":{"datasource":"tempo","queries":[{"refId":"A","queryType":"traceql","query":"TRACE",'
    '"datasource":{"type":"tempo","uid":"tempo"}}],"range":{"from":"now-14d","to":"now"}}}'
)
TRACE_URL = f"/explore?schemaVersion=1&panes={quote(_TRACE)}".replace("TRACE", "${__value.raw}")
"""Grafana's page of one trace; it puts the id of the cell in."""
Panels = tuple[timeseries.Panel | stat.Panel | table.Panel, ...]
Query = tuple[str, str]
"""PromQL, and the legend that names a series by its labels."""


@dataclass
class Sql(variants.Dataquery):
    """A query of Grafana's MySQL datasource; ``time_series`` needs a column ``time``."""

    sql: str
    ref: str = "A"
    time_series: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the datasource keeps it."""
        return {
            "datasource": MARIADB,
            "editorMode": "code",
            "format": "time_series" if self.time_series else "table",
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref,
        }


@dataclass
class SqlQuery(builder.Builder[variants.Dataquery]):
    """The builder that panels want."""

    sql: str

    def build(self) -> variants.Dataquery:
        """The query."""
        return Sql(self.sql)


def series(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    empty: str = "",
    stacked: bool = False,
    exemplars: bool = False,
    span: int = 12,
) -> timeseries.Panel:
    """Lines over time; with exemplars each dot leads to its trace."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(span)
        .height(8)
        .fill_opacity(25 if stacked else 8)
        .line_width(1)
        .show_points(looks.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    )
    if empty:
        panel.no_value(empty)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    for place, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend)
        panel.with_target(query.ref_id(chr(ord("A") + place)).exemplar(exemplars))
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),),
    words: Mapping[str, str] | None = None,
    empty: str = "",
    decimals: int | None = None,
) -> stat.Panel:
    """One number, coloured by its steps; ``words`` replace values."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(4)
        .height(4)
        .graph_mode(looks.BigValueGraphMode.AREA)
        .color_mode(looks.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .with_target(prometheus.Dataquery().expr(expression).ref_id("A"))
    )
    if decimals is not None:
        panel.decimals(decimals)
    if empty:
        panel.no_value(empty)
    if words:
        options = {value: model.ValueMappingResult(text=text) for value, text in words.items()}
        panel.mappings([model.ValueMap(options=options)])
    return panel


def rows(
    title: str,
    description: str,
    sql: str,
    *,
    empty: str = "",
    span: int = 24,
    traces: str = "",
) -> table.Panel:
    """A table from the database; ``traces`` names a column of trace ids, which lead to Tempo."""
    panel = table.Panel().title(title).description(description).datasource(MARIADB)
    if empty:
        panel.no_value(empty)
    if traces:
        link = {"title": "Trace", "url": TRACE_URL}
        panel.override_by_name(traces, [model.DynamicConfigValue(id_val="links", value=[link])])
    return panel.span(span).height(9).with_target(SqlQuery(sql))


def labels(title: str, description: str, expression: str, *, empty: str = "") -> table.Panel:
    """A table of the labels of what a query finds now."""
    query = prometheus.Dataquery().expr(expression).instant().ref_id("A")
    panel = table.Panel().title(title).description(description).datasource(PROMETHEUS)
    if empty:
        panel.no_value(empty)
    query.format(PromQueryFormat.TABLE)
    return panel.span(12).height(8).with_target(query)


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    found = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def rate(metric: str, by: str, where: str = "") -> str:
    """Increase per second of a counter, summed over what ``by`` does not name."""
    return f"sum by ({by}) (rate({metric}{where}[{RATE}]))"


def quantile(q: float, metric: str, by: str, where: str = "") -> str:
    """A quantile of a histogram over the last moments."""
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{where}[{RATE}])))"
