"""Grafana's JSON of dashboards, rows and panels, from what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

_SCHEMA_VERSION = 39  # Grafana 10.4 and later read it
_GRID_COLUMNS = 24
_PANEL_HEIGHT = 8
_STAT_HEIGHT = 4
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Variable -> (label, metric it is looked up on). A label that nobody attaches matches as well.
_VARIABLES = {
    "namespace": ("Namespace", "mintmark_build_info"),
    "job": ("Job", 'mintmark_build_info{namespace=~"$namespace"}'),
    "pod": ("Pod", 'mintmark_build_info{namespace=~"$namespace", job=~"$job"}'),
    "model": ("Model", 'mintmark_model_info{namespace=~"$namespace", job=~"$job"}'),
}

Kind = Literal["timeseries", "stat"]


@dataclass(frozen=True, slots=True)
class Query:
    """One line, or family of lines, of a panel. `legend`: Grafana's, as in "{{pod}}"."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Limit:
    """From `value` on, in the unit of the panel, it is shown in `color`."""

    value: float
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit`: one of Grafana's, such as "s" or "reqps"; `width`: of 24 columns.

    `limits`: ascending; below the first one the color is `base_color`.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    limits: tuple[Limit, ...] = ()
    base_color: str = "green"
    is_stacked: bool = False
    min_value: float | None = 0
    max_value: float | None = None
    decimals: int | None = None

    @property
    def height(self) -> int:
        """Return the height in rows of Grafana's grid."""
        return _STAT_HEIGHT if self.kind == "stat" else _PANEL_HEIGHT


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, from left to right, wrapped where the grid ends."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `uid` is its lasting name in URLs."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "tags": ["mintmark"],
            "editable": False,
            "graphTooltip": 1,  # one crosshair through all panels
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Mintmark",
                    "tags": ["mintmark"],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                }
            ],
            "templating": {"list": _variables()},
            "panels": _placed(self.rows),
        }


def where(matchers: str = "") -> str:
    """Return the selector that follows the dashboard's variables, with further matchers."""
    chosen = 'namespace=~"$namespace", job=~"$job", pod=~"$pod"'
    return f"{{{chosen}, {matchers}}}" if matchers else f"{{{chosen}}}"


def quantile(quantile_: float, metric: str, by: str, matchers: str = "") -> str:
    """Return the query of a quantile of a histogram; `by`: the labels that are kept."""
    labels = f"{by}, le" if by else "le"
    rates = f"rate({metric}_bucket{where(matchers)}[$__rate_interval])"
    return f"histogram_quantile({quantile_}, sum by ({labels}) ({rates}))"


def mean(metric: str, by: str, matchers: str = "") -> str:
    """Return the query of the mean of a histogram; `by`: the labels that are kept."""
    total, count = (total_rate(f"{metric}_{part}", by, matchers) for part in ("sum", "count"))
    return f"{total} / {count}"


def total_rate(metric: str, by: str, matchers: str = "") -> str:
    """Return the query of a counter's rate per second; `by`: the labels that are kept."""
    return f"sum by ({by}) (rate({metric}{where(matchers)}[$__rate_interval]))"


def threshold(name: str) -> Query:
    """Return the line of one of the alerts' thresholds."""
    return Query(f"mintmark:threshold:{name}", "threshold")


def _variables() -> list[dict[str, Any]]:
    datasource = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }
    return [datasource, *(_label_variable(name) for name in _VARIABLES)]


def _label_variable(name: str) -> dict[str, Any]:
    label, metric = _VARIABLES[name]
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _placed(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        placed.append(_heading(row.title, len(placed) + 1, y))
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > _GRID_COLUMNS:
                x, y, height = 0, y + height, 0
            position = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1, position))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return placed


def _heading(title: str, id_: int, y: int) -> dict[str, Any]:
    position = {"x": 0, "y": y, "w": _GRID_COLUMNS, "h": 1}
    return {"id": id_, "type": "row", "title": title, "collapsed": False, "gridPos": position}


def _panel(panel: Panel, id_: int, position: dict[str, int]) -> dict[str, Any]:
    return {
        "id": id_,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": position,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": panel.kind == "timeseries",
                "instant": panel.kind == "stat",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field_defaults(panel), "overrides": [_threshold_style()]},
        "options": _options(panel.kind),
    }


def _field_defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": panel.base_color}]
    steps += [{"value": limit.value, "color": limit.color} for limit in panel.limits]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": panel.min_value if panel.kind == "timeseries" else None,
        "max": panel.max_value,
        "decimals": panel.decimals,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.is_stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.is_stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.limits else "off"},
        }
    return {key: value for key, value in defaults.items() if value is not None}


def _threshold_style() -> dict[str, Any]:
    """Draw the alerts' thresholds as a dashed red line, which is never stacked."""
    style = {
        "color": {"mode": "fixed", "fixedColor": "red"},
        "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
        "custom.fillOpacity": 0,
        "custom.stacking": {"mode": "none"},
    }
    properties = [{"id": id_, "value": value} for id_, value in style.items()]
    return {"matcher": {"id": "byName", "options": "threshold"}, "properties": properties}


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "stat":
        return {
            "colorMode": "background",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
