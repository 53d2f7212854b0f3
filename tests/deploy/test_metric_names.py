"""Whatever rules, dashboards, runbook and scalers ask for, the live service has."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.reference import error_classes
from service.telemetry.metric_table import METRICS
from tests.deploy.kit import MATRIX, manifests
from tests.deploy.monitoring_kit import DASHBOARDS, RUNBOOK, panels, rules
from tests.deploy.promql import TARGET_LABELS, kept_labels, selectors, substituted

# Made by Prometheus itself or by kube-state-metrics.
FOREIGN = {
    "up",
    "ALERTS",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_status_last_terminated_reason",
}
# Values that a healthy service does not show. Codes of errors are looked up in service.errors.
UNSEEN = {("mintmark_stored_pictures_total", "outcome"): {"failed"}}
# Nothing here outlasts the server's own limit. Prometheus' text names such a metric all the same.
WITHOUT_SERIES = {"mintmark_deadline_misses_total"}
LABELS = {metric.name: set(metric.labels) for metric in METRICS}
OPTIONAL = {metric.name for metric in METRICS if metric.is_optional}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}

Labels = dict[str, set[str]]


def expressions() -> dict[str, str]:
    """Return every expression by where it stands."""
    found = {f"rule {rule.get('alert', rule.get('record'))}": rule["expr"] for rule in rules()}
    for path in DASHBOARDS.glob("*.json"):
        for panel in panels(path):
            for target in panel["targets"]:
                place = f"panel {path.stem}: {panel['title']} {target['refId']}"
                found[place] = substituted(target["expr"])
    for number, expr in enumerate(runbook_queries(), start=1):
        found[f"runbook query {number}"] = expr
    return found


def runbook_queries() -> list[str]:
    text = RUNBOOK.read_text(encoding="utf-8")
    blocks = re.findall(r"```promql\n(.+?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def scaler_queries() -> list[str]:
    """Return what KEDA asks Prometheus for, and the metrics that an HPA names."""
    found = []
    for name in MATRIX:
        for manifest in manifests(name):
            if manifest["kind"] == "ScaledObject":
                triggers = (each["metadata"] for each in manifest["spec"]["triggers"])
                found += [each["query"] for each in triggers if "query" in each]
            elif manifest["kind"] == "HorizontalPodAutoscaler":
                found += [
                    each["pods"]["metric"]["name"]
                    for each in manifest["spec"]["metrics"]
                    if each["type"] == "Pods"
                ]
    return found


@pytest.fixture(scope="module")
def live(monitored) -> dict[str, Labels]:
    """Return what the service exposed: metric -> label -> values."""
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(monitored.exposition):
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels[label].add(value)
    for name in WITHOUT_SERIES:
        assert f"# TYPE {name} " in monitored.exposition
        found.setdefault(name, {label: {"any"} for label in LABELS[name]})
    return found


def check(expr: str, live: dict[str, Labels]) -> None:
    kept = kept_labels(expr) - TARGET_LABELS
    for selector in selectors(expr):
        if selector.metric in FOREIGN | RECORDED:
            kept = set()  # their labels are checked where they are recorded
            continue
        if selector.metric in OPTIONAL and selector.metric not in live:
            kept -= LABELS[selector.metric]
            continue
        assert selector.metric in live, f"the service has no {selector.metric}"
        labels = live[selector.metric]
        kept -= set(labels)
        for label, sign, value in selector.matchers:
            if label not in TARGET_LABELS:
                assert label in labels, f"{selector.metric} has no label {label}"
                _check_value(selector.metric, label, sign, value, labels[label])
    assert not kept, f"no metric of the expression has {sorted(kept)}"


def _check_value(metric: str, label: str, sign: str, value: str, seen: set[str]) -> None:
    """Every alternative of a matcher can match something: a typing error cannot."""
    known = seen | UNSEEN.get((metric, label), set())
    if label in {"outcome", "reason"}:
        known |= {error.code for error in error_classes()}
    alternatives = value.split("|") if sign in {"=~", "!~"} else [re.escape(value)]
    for alternative in alternatives:
        assert any(re.fullmatch(alternative, each) for each in known), (
            f"{metric} has no {label} like {alternative}"
        )


def test_the_live_service_has_what_is_asked_for(live):
    problems = {}
    for place, expr in expressions().items():
        try:
            check(expr, live)
        except AssertionError as problem:
            problems[place] = str(problem)
    assert problems == {}


def test_scalers_ask_for_what_the_live_service_has(live):
    queries = scaler_queries()
    assert queries
    for query in queries:
        check(query, live)


@pytest.mark.parametrize(
    "expr",
    [
        "mintmark_requests",
        'mintmark_requests_total{status="done"}',
        'mintmark_requests_total{outcome="don"}',
        "sum by (route) (mintmark_requests_total)",
    ],
)
def test_a_wrong_name_is_noticed(expr, live):
    with pytest.raises(AssertionError):
        check(expr, live)
