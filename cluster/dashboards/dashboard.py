"""The Grafana dashboard, out of the panels: everything Grafana asks for and nobody wants to write."""

import json
from typing import Any, Final

from cluster.dashboards.panels import SECTIONS, Panel

_WIDTH: Final = 24  # columns of Grafana's grid
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def as_json() -> str:
    """The file `dubline.json`."""
    return json.dumps(dashboard(), indent=1) + "\n"


def dashboard() -> dict[str, Any]:
    """Grafana's model of the dashboard; two panels a line, a row for each section."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, section in SECTIONS:
        panels.append(
            {
                "type": "row",
                "id": len(panels) + 1,
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
            }
        )
        top += 1
        for number, panel in enumerate(section):
            place = {"x": number % 2 * _WIDTH // 2, "y": top + number // 2 * _HEIGHT, "w": _WIDTH // 2, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
        top += (len(section) + 1) // 2 * _HEIGHT
    return {
        "uid": "dubline",
        "title": "dubline",
        "tags": ["dubline", "ray"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-12h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_DATASOURCE, _RUN]},
        "annotations": {"list": []},
        "panels": panels,
    }


_DATASOURCE: Final = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
_RUN: Final = {
    "name": "run",
    "label": "run",
    "type": "query",
    "datasource": _SOURCE,
    "query": {"query": "label_values(ray_dubline_run_films, run)", "refId": "run"},
    "refresh": 2,  # whenever the time range changes
    "sort": 2,  # ids begin with the time: the last run first
    "multi": True,
    "includeAll": True,
    "allValue": ".*",
}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "id": number,
        "title": panel.title,
        "description": panel.tells,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"fillOpacity": 20 if panel.stacked else 0, "stacking": {"mode": _mode(panel)}},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
            for at, query in enumerate(panel.queries)
        ],
    }


def _mode(panel: Panel) -> str:
    return "normal" if panel.stacked else "none"
