"""The chart's manifests, as an API server of Kubernetes 1.20 can take them.

What that server is too old for is listed here, each with the version that brought it, and is said
in the report. A field that is not listed and not known makes the server refuse the manifest.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deploy.verify.cluster_processes import run
from deploy.verify.tools import find
from deploy.verify.vendor_schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.verify.cluster_api import Manifest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "mintmark"
KSERVE = ROOT / "deploy" / "kserve"
# The chart refuses to render for anything older.
RENDERED_FOR = "1.29"
# Installations of the chart that nothing here can run, and why.
TOO_YOUNG = {"image-volume": "image volumes came with Kubernetes 1.33"}
_HOOK = "helm.sh/hook"


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that came later; `path`: where it is, with * for every item of a list."""

    path: tuple[str, ...]
    since: str


# The same fields under an older name of the version.
_VERSIONS = {
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
}
_FIELDS = {
    "PodDisruptionBudget": (_Field(("spec", "unhealthyPodEvictionPolicy"), "1.26"),),
    "Deployment": (
        _Field(
            ("spec", "template", "spec", "topologySpreadConstraints", "*", "matchLabelKeys"),
            "1.25",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Adapted:
    """A manifest that the old server takes, and what was done to it, as sentences."""

    manifest: Manifest
    changes: list[str] = field(default_factory=list)


def installations() -> dict[str, Path]:
    """Return the values of every installation that the chart describes, by name."""
    found = sorted([*CHART.glob("values-*.yaml"), *CHART.glob("ci/*.yaml")])
    return {path.stem: path for path in found}


def render(
    release: str, namespace: str, files: Sequence[Path] = (), sets: Sequence[str] = ()
) -> list[Manifest]:
    """Return what Helm makes of values files and `--set` assignments. Raises ClusterFault."""
    command: list[str | Path] = [find("helm"), "template", release, CHART, "--namespace", namespace]
    command += ["--kube-version", RENDERED_FOR]
    for path in files:
        command += ["--values", path]
    for assignment in sets:
        command += ["--set", assignment]
    return parse(run(command))


def installed(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return those that `helm install` installs: no hooks, such as the pod of `helm test`."""
    return [each for each in manifests if _HOOK not in each["metadata"].get("annotations", {})]


def kserve() -> list[Manifest]:
    """Return the manifests for KServe."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(KSERVE.glob("*.yaml")))
    return [each for text in texts for each in parse(text)]


def parse(text: str) -> list[Manifest]:
    """Return the manifests of a YAML text."""
    return [each for each in yaml.safe_load_all(text) if each]


def adapt(manifest: Manifest) -> Adapted:
    """Return a manifest as Kubernetes 1.20 knows it; the original is left alone."""
    adapted = Adapted(copy.deepcopy(manifest))
    version, kind = manifest["apiVersion"], manifest["kind"]
    older = _VERSIONS.get((version, kind))
    if older is not None:
        adapted.manifest["apiVersion"] = older
        adapted.changes.append(f"{kind} of {version}: applied as {older}, with the same fields")
    for young in _FIELDS.get(kind, ()):
        if _remove(adapted.manifest, young.path):
            name = young.path[-1]
            adapted.changes.append(f"{kind}'s {name}, of Kubernetes {young.since}: left out")
    if kind == "Deployment" and _write_quantities(adapted.manifest):
        adapted.changes.append("Deployment's quantities that are numbers: written as text")
    if kind == "Service" and _add_protocols(adapted.manifest):
        adapted.changes.append("Service's ports: TCP written out, the default of apply since 1.21")
    return adapted


def _add_protocols(service: Manifest) -> bool:
    """Write out the protocol of a Service's ports; say whether one had none.

    Ports are merged by number and protocol, and the old server looks before it fills defaults in.
    """
    without = [port for port in service["spec"]["ports"] if "protocol" not in port]
    for port in without:
        port["protocol"] = "TCP"
    return bool(without)


def _write_quantities(deployment: Manifest) -> bool:
    """Make text of quantities, as the old server's apply wants them; say whether one was none."""
    was_number = False
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for amounts in container.get("resources", {}).values():
            for name, amount in amounts.items():
                was_number |= not isinstance(amount, str)
                amounts[name] = str(amount)
    return was_number


def _remove(place: Any, path: tuple[str, ...]) -> bool:
    """Remove a field; say whether it was there."""
    head, *tail = path
    if head == "*":
        # A list first: every item has to lose it, not only the first that has it.
        found = [_remove(item, tuple(tail)) for item in place]
        return any(found)
    if not isinstance(place, dict) or head not in place:
        return False
    if not tail:
        del place[head]
        return True
    return _remove(place[head], tuple(tail))


def definitions() -> list[Manifest]:
    """Return a CustomResourceDefinition for every vendored schema."""
    return [definition(path.stem) for path in sorted(SCHEMAS.glob("*.json"))]


def definition(kind: str) -> Manifest:
    """Return the CustomResourceDefinition of one kind, with the one version that is vendored."""
    found = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    group, _, version = found["apiVersion"].partition("/")
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups of Kubernetes' own must say who approved them.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a copy to check with"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": found["schema"]},
                }
            ],
        },
    }


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of what was given and is not kept, or not as it was given.

    Lists must keep their order and length: what a server adds, it adds inside of the items.
    """
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            place
            for name, value in given.items()
            for place in lost(value, kept.get(name), f"{path}.{name}")
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [
            place for index, (one, other) in pairs for place in lost(one, other, f"{path}.{index}")
        ]
    # What is empty or false is not stored.
    is_kept = given == kept or (given in ([], {}, "", False) and kept is None)
    return [] if is_kept else [path.lstrip(".")]
