"""What checks the manifests does find mistakes, and says so where it cannot look."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from _pytest.outcomes import Failed, Skipped

from deploy.verify import core_resources, custom_resources
from deploy.verify.tools import ToolMissing, find
from deploy.verify.vendor_schemas import RESOURCES, SCHEMAS, Resource, extract
from tests.deploy.kit import NEWEST, OLDEST, manifests, only, tool


def spoilt(manifest: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy with `value` at a dotted path."""
    copied = copy.deepcopy(manifest)
    *parents, leaf = path.split(".")
    place: Any = copied
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[leaf] = value
    return copied


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", "spec.minReplica", 1),
        ("ScaledObject", "spec.triggers.0.metadata.threshold", 15),
        ("ScaledObject", "spec.advanced.horizontalPodAutoscalerConfig.behaviour", {}),
        ("ServiceMonitor", "spec.endpoints.0.prot", "admin"),
        ("PrometheusRule", "spec.groups.0.rules.0.alarm", "x"),
        ("HTTPRoute", "spec.rules.0.backendRefs.0.port", 70000),
        ("GRPCRoute", "spec.parentRefs.0.names", "public"),
    ],
)
def test_a_wrong_field_of_a_custom_resource_is_found(kind, path, value):
    found = [each for each in manifests("everything") if each["kind"] == kind]
    custom_resources.check(found[0])
    with pytest.raises(jsonschema.ValidationError):
        custom_resources.check(spoilt(found[0], path, value))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    ("path", "value"), [("spec.replica", 2), ("spec.template.spec.containers.0.startProbe", {})]
)
def test_a_wrong_field_of_a_core_resource_is_found(version, path, value):
    deployment = only(manifests("cpu"), "Deployment")
    core_resources.check(deployment, version)
    with pytest.raises(jsonschema.ValidationError):
        core_resources.check(spoilt(deployment, path, value), version)


def test_what_an_older_version_does_not_know_is_found():
    deployment = only(manifests("image-volume"), "Deployment")
    core_resources.check(deployment, NEWEST)
    with pytest.raises(jsonschema.ValidationError):
        core_resources.check(deployment, OLDEST)


def test_a_resource_without_a_schema_is_no_success():
    for kind, version in (("VirtualService", "v1"), ("ScaledObject", "keda.sh/v2")):
        with pytest.raises(custom_resources.UnknownResource):
            custom_resources.check({"apiVersion": version, "kind": kind})


def test_objects_that_a_definition_leaves_open_stay_open():
    form = {
        "properties": {
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"items": {"properties": {"name": {"type": "string"}}}},
            "either": {"type": "string", "x-kubernetes-int-or-string": True},
        }
    }
    closed = custom_resources.closed(form)
    good = {"free": {"x": 1}, "map": {"x": "y"}, "list": [{"name": "x"}], "either": 3}
    jsonschema.validate(good, closed)
    for bad in ({"other": 1}, {"map": {"x": 1}}, {"list": [{"nam": "x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, closed)


def test_schemas_keep_fields_that_are_called_like_keywords():
    version = {
        "name": "v1",
        "schema": {
            "openAPIV3Schema": {
                "properties": {
                    "spec": {
                        "description": "said",
                        "properties": {
                            "description": {"type": "string", "description": "said"},
                            "gone": {},
                        },
                    },
                    "status": {},
                }
            }
        },
    }
    definition = {"spec": {"group": "example.com", "versions": [version]}}
    assert extract(definition, Resource("v1", "example 1.0", ("spec.gone",))) == {
        "apiVersion": "example.com/v1",
        "release": "example 1.0",
        "schema": {"properties": {"spec": {"properties": {"description": {"type": "string"}}}}},
    }


def test_every_schema_says_where_it_is_from():
    for kind, resource in RESOURCES.items():
        kept = json.loads((SCHEMAS / f"{kind}.json").read_text())
        assert kept["apiVersion"].endswith(f"/{resource.version}")
        assert kept["release"] == resource.release


def test_a_missing_program_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolMissing, match=r"kubeconform is not installed\. Run `make tools`"):
        find("kubeconform")


@pytest.mark.parametrize(("is_ci", "outcome"), [("true", Failed), ("", Skipped)])
def test_where_ci_counts_on_it_a_missing_program_is_a_failure(monkeypatch, is_ci, outcome):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", is_ci)
    with pytest.raises(outcome, match="make tools"):
        tool("kubeconform")
