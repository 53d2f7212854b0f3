"""What an autoscaler is told of the service's metric."""

from __future__ import annotations

from deploy.verify.cluster_metrics import Adapter, read_gauge
from deploy.verify.cluster_scaling import QueuedWork
from tests.deploy.kit import OLDEST, manifests, only

METRIC = "mintmark_queued_work_seconds"
ROOT = "/apis/custom.metrics.k8s.io/v1beta1"


def adapter(exports: dict[str, str]) -> tuple[Adapter, list[tuple[str, str]]]:
    """Return an adapter over pods and what they export, and what it has looked for."""
    asked: list[tuple[str, str]] = []

    def find(namespace: str, selector: str) -> list[str]:
        asked.append((namespace, selector))
        return list(exports)

    return Adapter(METRIC, find, exports.__getitem__), asked


def test_the_group_offers_the_metric_that_the_chart_scales_by():
    autoscaler = only(manifests("hpa", OLDEST), "HorizontalPodAutoscaler")
    (metric,) = autoscaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == METRIC
    code, body = adapter({})[0].answer(ROOT)
    assert code == 200
    assert [each["name"] for each in body["resources"]] == [f"pods/{METRIC}"]


def test_every_pod_that_is_selected_has_its_own_value():
    one, other = QueuedWork(12.5), QueuedWork(0)
    found, asked = adapter({"one": one.exposition(), "other": other.exposition()})
    code, body = found.answer(f"{ROOT}/namespaces/shop/pods/%2A/{METRIC}?labelSelector=app%3Da%2Cb")
    assert code == 200
    assert asked == [("shop", "app=a,b")]
    values = {each["describedObject"]["name"]: each["value"] for each in body["items"]}
    assert values == {"one": "12500m", "other": "0m"}
    assert {each["describedObject"]["namespace"] for each in body["items"]} == {"shop"}


def test_a_pod_that_does_not_export_it_has_no_value():
    found, _asked = adapter({"silent": "# nothing\n"})
    _code, body = found.answer(f"{ROOT}/namespaces/shop/pods/*/{METRIC}")
    assert body["items"] == []


def test_there_are_no_other_metrics_and_no_single_pods():
    found, asked = adapter({"one": ""})
    for path in (
        f"{ROOT}/namespaces/shop/pods/*/other",
        f"{ROOT}/namespaces/shop/pods/one/{METRIC}",
        "/",
    ):
        code, body = found.answer(path)
        assert (code, body["kind"]) == (404, "Status")
    assert asked == []


def test_pods_share_the_work_of_their_deployment():
    work = QueuedWork(60)
    work.pods = 4
    assert read_gauge(work.exposition(), METRIC) == 15
    assert read_gauge(work.exposition(), "mintmark_no_such_metric") is None
