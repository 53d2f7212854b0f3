"""Every panel of the dashboards shows something, on a Prometheus that scrapes the real service."""

from __future__ import annotations

import json
import math
import re

import pytest

from deploy.dashboards.build import DASHBOARDS as SOURCES
from deploy.dashboards.build import path_of, text_of
from tests.deploy.monitoring_kit import DASHBOARDS, TARGET, panels
from tests.deploy.promql import substituted

PATHS = sorted(DASHBOARDS.glob("*.json"))
# Panels that nothing here can fill.
_NO_COUNTER = "this machine's processor and GPU may count no energy"
MAY_BE_EMPTY = {
    "Power": _NO_COUNTER,
    "Energy of a picture": _NO_COUNTER,
    "Memory of the weights": "ONNX Runtime tells no memory of weights on the CPU",
    "Deadlines missed": "nothing here outlasts the server's own limit",
    "Pictures withheld": "a healthy service withholds no picture",
}
UNITS = {"none", "bool_on_off", "percentunit", "s", "d", "reqps", "cps", "bytes", "watt", "joule"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.uid)
def test_the_committed_json_is_what_the_source_says(source):
    assert path_of(source).read_text(encoding="utf-8") == text_of(source), "run `make docs`"


def test_there_is_no_dashboard_without_a_source():
    assert {path_of(source) for source in SOURCES} == set(PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_panels_are_complete_and_do_not_overlap(path):
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    cells = set()
    for panel in dashboard["panels"]:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24
        for x in range(position["x"], position["x"] + position["w"]):
            for y in range(position["y"], position["y"] + position["h"]):
                assert (x, y) not in cells, f"{panel['title']} lies on another panel"
                cells.add((x, y))
    for panel in panels(path):
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels(path)}) == len(panels(path))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_query_of_a_panel_gives_numbers(monitored, path):
    empty = []
    for panel in panels(path):
        for target in panel["targets"]:
            found = monitored.prometheus.series(substituted(target["expr"]))
            numbers = [float(value) for series in found for _, value in series["values"]]
            if not any(map(math.isfinite, numbers)) and panel["title"] not in MAY_BE_EMPTY:
                empty.append((panel["title"], target["expr"]))
    assert empty == []


def test_every_exception_names_a_panel():
    titles = {panel["title"] for path in PATHS for panel in panels(path)}
    assert set(MAY_BE_EMPTY) <= titles


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_variables_offer_what_is_there(monitored, path):
    variables = json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
    offered = {}
    for variable in variables[1:]:
        wanted = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
        assert wanted is not None, variable["definition"]
        selector, label = wanted.groups()
        offered[variable["name"]] = monitored.prometheus.get(
            f"label/{label}/values", **{"match[]": substituted(selector)}
        )
    assert offered.pop("model")
    assert offered == {name: [TARGET[name]] for name in ("namespace", "job", "pod")}
