"""The dashboard and the alerts name metrics that there are, with labels that they have."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.dashboards.dashboard import as_json
from pipeline.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster/dashboards"
BY_NAME = {metric.exported: metric for metric in METRICS}
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
FUNCTIONS = {
    "time",
    "sum",
    "min",
    "max",
    "avg",
    "rate",
    "increase",
    "clamp_min",
    "by",
    "on",
    "and",
    "or",
    "unless",
    "last_over_time",
}


def of_ray() -> str:
    """Ray's own dashboards: the metrics of machines that they show exist."""
    return (files("ray.dashboard.modules.metrics.dashboards") / "default_dashboard_panels.py").read_text()


def board() -> dict[str, Any]:
    return json.loads((FOLDER / "dubline.json").read_text())  # type: ignore[no-any-return]


def expressions() -> dict[str, str]:
    panels = {f"{p['title']} {t['refId']}": t["expr"] for p in board()["panels"] for t in p.get("targets", [])}
    return panels | {rule["alert"]: rule["expr"] for rule in RULES}


def test_the_dashboard_is_made_from_the_panels() -> None:
    assert (FOLDER / "dubline.json").read_text() == as_json(), "python -m cluster.dashboards > dubline.json"


@pytest.mark.parametrize("name", list(expressions()))
def test_an_expression_names_what_there_is(name: str) -> None:
    expr = expressions()[name]
    for opening, closing in ("()", "{}", "[]"):
        assert expr.count(opening) == expr.count(closing), expr
    used = set(re.findall(r"\bray_\w+", expr))
    assert used, expr
    labels: set[str] = set()
    for metric in used:
        if metric in BY_NAME:
            labels |= set(BY_NAME[metric].labels)
        else:
            assert metric in of_ray(), f"{metric} is neither ours nor one that Ray's dashboards show"
            labels |= {"instance", "Location"}
    for metric, selector in re.findall(r"\b(ray_\w+)\{([^}]*)\}", expr):
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= set(BY_NAME[metric].labels), selector
    for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr):
        assert {label for label in grouped.split(", ") if label} <= labels, expr
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)', " ", expr)
    words = {word for word in re.findall(r"\b[a-zA-Z_]\w*", bare) if not word.startswith("ray_")}
    assert words <= FUNCTIONS, words - FUNCTIONS


@pytest.mark.parametrize("name", list(expressions()))
def test_counters_are_seen_as_rates_or_sums_and_gauges_never_as_rates(name: str) -> None:
    for metric in re.findall(r"(?:rate|increase)\((ray_dubline_\w+)", expressions()[name]):
        assert BY_NAME[metric].kind == "counter"


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(t["expr"] for p in board()["panels"] for t in p.get("targets", []))
    assert not [metric for metric in BY_NAME if not re.search(rf"\b{metric}\b", shown)]


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_rules_are_whole_and_lead_to_the_guide() -> None:
    guide = (ROOT / "docs/operate.md").read_text()
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 6
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        [row] = re.findall(r"docs/operate\.md, row ([\w-]+)\.", rule["annotations"]["description"])
        assert f'<a id="{row}"></a>' in guide, row
        assert rule["alert"] in guide


def test_metrics_are_in_the_guide() -> None:
    guide = (ROOT / "docs/operate.md").read_text()
    for metric in METRICS:
        assert f"| `{metric.exported}` | {', '.join(metric.labels)} | {metric.tells} |" in guide, metric.exported
    assert not set(re.findall(r"\bray_dubline_\w+", guide)) - set(BY_NAME), "metrics that there are not"
