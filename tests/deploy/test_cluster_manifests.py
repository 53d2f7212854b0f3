"""What an old API server is given of the chart, and that nothing of it goes in silence."""

from __future__ import annotations

import copy

import pytest

from deploy.verify.cluster_manifests import (
    TOO_YOUNG,
    adapt,
    definition,
    definitions,
    installations,
    installed,
    kserve,
    lost,
    render,
)
from deploy.verify.vendor_schemas import RESOURCES
from tests.deploy.kit import MATRIX, OLDEST, manifests, only, tool

RENDERABLE = sorted(set(MATRIX) - set(TOO_YOUNG))
SENTENCES = {
    "apiVersion": "applied as",
    "unhealthyPodEvictionPolicy": "unhealthyPodEvictionPolicy, of Kubernetes 1.26: left out",
    "resources": "quantities that are numbers: written as text",
    "matchLabelKeys": "matchLabelKeys, of Kubernetes 1.25: left out",
}


def test_the_same_installations_are_applied_as_are_rendered_elsewhere():
    assert installations() == MATRIX
    assert set(TOO_YOUNG) < set(MATRIX)


@pytest.mark.parametrize("name", RENDERABLE)
def test_whatever_is_changed_for_the_old_server_is_said(name):
    for manifest in manifests(name, OLDEST):
        before = copy.deepcopy(manifest)
        adapted = adapt(manifest)
        assert manifest == before
        places = [path.split(".") for path in lost(manifest, adapted.manifest)]
        gone = {"resources" if "resources" in path else path[-1] for path in places}
        added = {path.rpartition(".")[2] for path in lost(adapted.manifest, manifest)}
        added &= {"protocol"}
        assert len(adapted.changes) == len(gone | added)
        for field in gone:
            assert any(SENTENCES[field] in each for each in adapted.changes)


def test_quantities_become_text_and_are_said():
    deployment = only(manifests("values-gpu", OLDEST), "Deployment")
    adapted = adapt(deployment)
    resources = [
        container["resources"]
        for container in adapted.manifest["spec"]["template"]["spec"]["containers"]
    ]
    assert [each["limits"] for each in resources] == [{"memory": "16Gi", "nvidia.com/gpu": "1"}]


def test_a_port_without_a_protocol_gains_the_default():
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP"}]
    meta = {"name": "shop"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}}
    adapted = adapt(service)
    assert adapted.manifest["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}, ports[1]]
    assert adapted.changes == ["Service's ports: TCP written out, the default of apply since 1.21"]
    service["spec"] = {"ports": ports[1:]}
    assert adapt(service).changes == []


def test_renamed_versions_keep_their_fields():
    autoscaler = only(manifests("hpa", OLDEST), "HorizontalPodAutoscaler")
    adapted = adapt(autoscaler)
    assert adapted.manifest["apiVersion"] == "autoscaling/v2beta2"
    assert adapted.manifest["spec"] == autoscaler["spec"]
    assert adapted.changes == [
        "HorizontalPodAutoscaler of autoscaling/v2: applied as autoscaling/v2beta2, "
        "with the same fields"
    ]


def test_a_younger_field_is_removed_from_every_item():
    deployment = only(manifests("cpu", OLDEST), "Deployment")
    pod = adapt(deployment).manifest["spec"]["template"]["spec"]
    assert len(pod["topologySpreadConstraints"]) == 2
    assert not [each for each in pod["topologySpreadConstraints"] if "matchLabelKeys" in each]


def test_the_pod_of_helm_test_is_no_part_of_an_installation():
    tool("helm")
    rendered = render("shop", "pictures", [MATRIX["cpu"]])
    assert {each["kind"] for each in rendered} - {each["kind"] for each in installed(rendered)} == {
        "Pod"
    }


def test_every_vendored_schema_and_every_kind_for_kserve_has_a_definition():
    assert {each["spec"]["names"]["kind"] for each in definitions()} == set(RESOURCES)
    served = {
        (f"{each['spec']['group']}/{each['spec']['versions'][0]['name']}") for each in definitions()
    }
    assert {each["apiVersion"] for each in kserve()} <= served


def test_a_definition_is_named_for_its_plural_and_group():
    found = definition("ScaledObject")
    assert found["metadata"]["name"] == "scaledobjects.keda.sh"
    (version,) = found["spec"]["versions"]
    assert version["name"] == "v1alpha1"
    assert "triggers" in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_what_a_server_drops_or_changes_is_found_and_what_it_adds_is_not():
    given = {"a": {"b": 1}, "c": [{"d": "x"}, {"d": "y"}], "e": "z"}
    assert lost(given, {**given, "status": {}, "c": [{"d": "x", "new": 1}, {"d": "y"}]}) == []
    assert lost(given, {"a": {}, "c": [{"d": "x"}], "e": "other"}) == ["a.b", "c", "e"]
    assert lost({"a": [], "b": {}, "c": [1], "d": False, "e": True}, {}) == ["c", "e"]
    assert lost(given, {**given, "c": [{"d": "y"}, {"d": "x"}]}) == ["c.0.d", "c.1.d"]
