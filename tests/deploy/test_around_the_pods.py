"""What stands around the pods: who reaches them, who scales them, who watches them."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from service.telemetry.metric_table import METRICS
from tests.deploy.kit import (
    CHART,
    KSERVE,
    MATRIX,
    SOUND,
    Manifest,
    container,
    manifests,
    of_kind,
    only,
    parse,
    pod_spec,
    render,
)

EVERY = pytest.mark.parametrize("name", MATRIX)
METRIC_NAMES = {metric.name for metric in METRICS}


def labels_of(found: list[Manifest]) -> dict[str, str]:
    labels: dict[str, str] = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


def selectors(found: list[Manifest]) -> list[dict[str, str]]:
    """Return everything that is meant to select the server's pods."""
    chosen = [service["spec"]["selector"] for service in of_kind(found, "Service")]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        chosen += [each["spec"]["selector"]["matchLabels"] for each in of_kind(found, kind)]
    policies = of_kind(found, "NetworkPolicy")
    return chosen + [each["spec"]["podSelector"]["matchLabels"] for each in policies]


@EVERY
def test_selectors_find_the_server_and_not_the_test(name):
    found = manifests(name)
    tests = [pod["metadata"]["labels"] for pod in of_kind(found, "Pod")]
    for selector in selectors(found):
        assert selector.items() <= labels_of(found).items()
        assert not any(selector.items() <= labels.items() for labels in tests)


@EVERY
def test_services_lead_to_ports_that_the_pod_has(name):
    found = manifests(name)
    ports = {port["name"] for port in container(found)["ports"]}
    for service in of_kind(found, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@EVERY
def test_metrics_are_on_no_service_that_callers_use(name):
    for service in of_kind(manifests(name), "Service"):
        targets = [port["targetPort"] for port in service["spec"]["ports"]]
        assert targets == ["admin"] or "admin" not in targets


def test_grpc_clients_see_every_replica():
    (service,) = (
        each
        for each in of_kind(manifests("hpa"), "Service")
        if each["metadata"]["name"].endswith("-grpc")
    )
    assert service["spec"]["clusterIP"] == "None"


def test_routes_lead_to_the_services_that_there_are():
    found = manifests("everything")
    ports = {
        (each["metadata"]["name"], port["port"])
        for each in of_kind(found, "Service")
        for port in each["spec"]["ports"]
    }
    for kind in ("HTTPRoute", "GRPCRoute"):
        for rule in only(found, kind)["spec"]["rules"]:
            assert {(each["name"], each["port"]) for each in rule["backendRefs"]} <= ports
    (rule,) = only(found, "Ingress")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == "acme-pictures"


def rules_for(found: list[Manifest], port: str) -> list[Manifest]:
    rules = only(found, "NetworkPolicy")["spec"]["ingress"]
    return [rule for rule in rules if {"port": port} in rule["ports"]]


@EVERY
def test_only_monitoring_reaches_the_metrics(name):
    (rule,) = rules_for(manifests(name), "admin")
    assert rule["ports"] == [{"port": "admin"}]
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]


def test_callers_can_be_named_and_the_test_still_gets_in():
    found = manifests("hardened")
    (rule,) = rules_for(found, "http")
    assert {"port": "grpc"} in rule["ports"]
    assert rule["from"][1] == {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    labels = only(found, "Pod")["metadata"]["labels"]
    assert rule["from"][-1]["podSelector"]["matchLabels"].items() <= labels.items()


def reached(*sets: str) -> set[int]:
    rules = only(render(*sets), "NetworkPolicy")["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_a_pod_reaches_what_is_configured_and_nothing_else():
    alone = ("profile=development", "access.allowOpen=true")
    assert reached(*alone) == set()
    assert reached(*SOUND, "ledger.port=6432") == {53, 6432}
    bucket = ("storage.kind=s3", "storage.s3.bucket=b", "storage.s3.existingSecret=s")
    assert reached(*alone, *bucket) == {53, 443}
    assert reached(*alone, *bucket, "storage.s3.endpointUrl=http://minio:9000") == {53, 9000}
    assert reached(*alone, "tracing.endpoint=http://c:4318") == {53, 4318}
    assert reached(*alone, "tracing.endpoint=http://c/v1/traces") == {53, 80}
    assert reached(*alone, "model.source=cache", "model.cache.hubId=a/b") == {53, 443}
    assert reached(*alone, "networkPolicy.egress[0].ports[0].port=3128") == {53, 3128}


def test_the_metric_that_scales_exists():
    (metric,) = only(manifests("hpa"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in METRIC_NAMES
    (trigger,) = only(manifests("values-many-gpus"), "ScaledObject")["spec"]["triggers"]
    (service,) = parse((KSERVE / "inference-service.yaml").read_text())
    (external,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    queries = [trigger["metadata"]["query"], external["external"]["metric"]["query"]]
    for query in queries:
        assert set(re.findall(r"mintmark_\w+", query)) <= METRIC_NAMES


def test_the_query_counts_the_pods_of_this_release_only():
    (trigger,) = only(manifests("values-many-gpus"), "ScaledObject")["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    assert 'namespace="pictures"' in query
    pattern = re.search(r'pod=~"([^"]+)"', query)
    assert pattern is not None
    assert re.fullmatch(pattern[1], "shop-mintmark-7d9c5b7f4-x2x9z")
    assert not re.fullmatch(pattern[1], "another-shop-mintmark-7d9c5b7f4-x2x9z")
    assert not re.fullmatch(pattern[1], "shop-mintmark-test-picture-a-b")


@pytest.mark.parametrize("name", ["hpa", "values-many-gpus", "everything"])
def test_who_scales_alone_says_how_many(name):
    assert "replicas" not in only(manifests(name), "Deployment")["spec"]


def test_without_autoscaling_the_values_say_how_many():
    assert only(manifests("postgres"), "Deployment")["spec"]["replicas"] == 2


def test_monitors_ask_a_port_that_there_is():
    pod_monitor = only(manifests("values-many-gpus"), "PodMonitor")
    ports = {port["name"] for port in container(manifests("values-many-gpus"))["ports"]}
    assert pod_monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
    found = manifests("hpa")
    wanted = only(found, "ServiceMonitor")["spec"]
    chosen = [
        service
        for service in of_kind(found, "Service")
        if wanted["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ]
    (service,) = chosen
    assert service["spec"]["ports"][0]["name"] == wanted["endpoints"][0]["port"]


def test_replicas_spread_within_their_own_version():
    for constraint in pod_spec(manifests("hpa"))["topologySpreadConstraints"]:
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
        assert (
            constraint["labelSelector"]["matchLabels"].items()
            <= labels_of(manifests("hpa")).items()
        )
    (own,) = pod_spec(manifests("everything"))["topologySpreadConstraints"]
    assert own["whenUnsatisfiable"] == "DoNotSchedule"
    assert own["labelSelector"]["matchLabels"]


def test_rules_are_those_of_the_files():
    files = sorted((CHART / "files" / "rules").glob("*.yaml"))
    rendered = of_kind(manifests("values-many-gpus"), "PrometheusRule")
    assert files
    assert {each["metadata"]["name"]: each["spec"] for each in rendered} == {
        f"shop-mintmark-{path.stem}": yaml.safe_load(path.read_text()) for path in files
    }


def test_a_threshold_can_be_changed():
    key = "monitoring.rules.thresholds.queued_work_seconds=12"
    found = render(*SOUND, "monitoring.rules.enabled=true", key)
    expressions = {
        rule["record"]: rule["expr"]
        for each in of_kind(found, "PrometheusRule")
        for group in each["spec"]["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    assert expressions["mintmark:threshold:queued_work_seconds"] == "vector(12)"
    assert expressions["mintmark:threshold:availability_objective"] == "vector(0.995)"


def test_dashboards_are_those_of_the_files():
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    rendered = of_kind(manifests("values-many-gpus"), "ConfigMap")
    assert files
    contents = {name: text for each in rendered for name, text in each["data"].items()}
    assert {name: json.loads(text) for name, text in contents.items()} == {
        f"mintmark-{path.name}": json.loads(path.read_text()) for path in files
    }
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in rendered)


def test_the_test_has_a_key_or_needs_none():
    assert of_kind(manifests("cpu"), "Pod")
    assert of_kind(manifests("postgres"), "Pod") == []
    (one,) = only(manifests("hardened"), "Pod")["spec"]["containers"]
    keys = {variable["name"]: variable for variable in one["env"]}
    assert keys["MM_API_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "test-key"
