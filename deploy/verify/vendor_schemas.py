"""Writes the schemas of the custom resources that the chart renders, from the projects' own CRDs.

`python -m deploy.verify.vendor_schemas NAME=FILE…` takes released CRD files, one for each name of
`RESOURCES`, and keeps what a check needs: no descriptions, no parts that no manifest here uses.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMAS = Path(__file__).with_name("schemas")
# What an API server checks and JSON Schema cannot, or says about storage and not about form.
_DROPPED = (
    "description", "title", "default", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "format",
)  # fmt: skip


@dataclass(frozen=True)
class Resource:
    """One version of a custom resource, the release it is taken from, and the parts left out."""

    version: str
    release: str
    pruned: tuple[str, ...] = ()


# KServe repeats the pod specification for each of these; the manifests here use `model`.
_UNUSED_PREDICTORS = (
    "huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow",
    "triton", "workerSpec", "xgboost",
)  # fmt: skip
RESOURCES = {
    "GRPCRoute": Resource("v1", "gateway-api 1.6.1"),
    "HTTPRoute": Resource("v1", "gateway-api 1.6.1"),
    "ScaledObject": Resource("v1alpha1", "keda 2.20.2"),
    "PodMonitor": Resource("v1", "prometheus-operator 0.93.0"),
    "PrometheusRule": Resource("v1", "prometheus-operator 0.93.0"),
    "ServiceMonitor": Resource("v1", "prometheus-operator 0.93.0"),
    "ServingRuntime": Resource("v1alpha1", "kserve 0.20.0", ("spec.workerSpec",)),
    "InferenceService": Resource(
        "v1beta1",
        "kserve 0.20.0",
        (
            "spec.canary",
            "spec.explainer",
            "spec.transformer",
            *(f"spec.predictor.{name}" for name in _UNUSED_PREDICTORS),
        ),
    ),
}


def extract(definition: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """Return {apiVersion, release, schema} of one version of a CustomResourceDefinition."""
    group = definition["spec"]["group"]
    (version,) = (
        each for each in definition["spec"]["versions"] if each["name"] == resource.version
    )
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"].pop("status", None)
    for path in resource.pruned:
        *parents, leaf = path.split(".")
        place = schema
        for name in parents:
            place = place["properties"][name]
        place["properties"].pop(leaf)
    return {
        "apiVersion": f"{group}/{resource.version}",
        "release": resource.release,
        "schema": _slim(schema),
    }


def _slim(node: Any, *, is_names: bool = False) -> Any:
    """Leave the dropped keywords out; `is_names`: the keys are names of fields, so all stay."""
    if isinstance(node, list):
        return [_slim(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _slim(value, is_names=key == "properties" and not is_names)
        for key, value in node.items()
        if is_names or key not in _DROPPED
    }


def main(arguments: Sequence[str]) -> int:
    """Write one file for each NAME=FILE; return the exit code."""
    for argument in arguments:
        name, _, path = argument.partition("=")
        (definition,) = yaml.safe_load_all(Path(path).read_text(encoding="utf-8"))
        found = extract(definition, RESOURCES[name])
        text = json.dumps(found, sort_keys=True, separators=(",", ":")) + "\n"
        (SCHEMAS / f"{name}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
