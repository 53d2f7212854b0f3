"""Applies every installation to the API server and looks at what it keeps of them."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from deploy.verify.cluster_api import Refused
from deploy.verify.cluster_manifests import (
    TOO_YOUNG,
    adapt,
    definitions,
    installations,
    kserve,
    lost,
    render,
)
from deploy.verify.cluster_report import wait_until

if TYPE_CHECKING:
    from deploy.verify.cluster_api import Api, Manifest
    from deploy.verify.cluster_report import Report

_DEFINITION_LIMIT_S = 60.0
_NAMESPACE_LIMIT_S = 120.0


def create_namespace(api: Api, name: str) -> None:
    """Create a namespace that enforces nothing. Raises Refused."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def delete_namespaces(api: Api, names: list[str]) -> None:
    """Delete namespaces with all that is in them. Raises ClusterFault if they do not go."""
    for name in names:
        api.delete(f"/api/v1/namespaces/{name}")
    for name in names:
        wait_until(
            partial(_is_gone, api, f"/api/v1/namespaces/{name}"),
            f"the namespace {name} is gone",
            _NAMESPACE_LIMIT_S,
        )


def apply_all(api: Api, manifests: list[Manifest], namespace: str, report: Report) -> None:
    """Apply manifests as the old server takes them, saying what it does not. Raises Refused."""
    for manifest in manifests:
        adapted = adapt(manifest)
        for change in adapted.changes:
            report.leave_out(change)
        api.apply(adapted.manifest, namespace)


def check_apply(api: Api, report: Report) -> None:
    """Prove that a server takes every installation, whole, and the same again unchanged."""
    report.section("server-side apply")
    _define(api, report)
    _check_refusal(api, report)
    namespaces = []
    for name, path in installations().items():
        if name in TOO_YOUNG:
            report.leave_out(f"the installation {name}: {TOO_YOUNG[name]}")
            continue
        namespace = f"apply-{name}"
        namespaces.append(namespace)
        _check_installation(api, name, render("shop", namespace, [path]), namespace, report)
    namespaces.append("apply-kserve")
    _check_installation(api, "kserve", kserve(), "apply-kserve", report)
    delete_namespaces(api, namespaces)


def _define(api: Api, report: Report) -> None:
    for definition in definitions():
        api.apply(definition)
        path = api.path_of(definition)
        wait_until(
            partial(_is_established, api, path),
            f"{definition['metadata']['name']} is served",
            _DEFINITION_LIMIT_S,
            partial(_status, api, path),
        )
    report.prove(
        True, f"the {len(definitions())} vendored schemas are structural: CRDs are made of them"
    )


def _is_gone(api: Api, path: str) -> bool:
    return not api.has(path)


def _status(api: Api, path: str) -> Any:
    return api.get(path).get("status")


def _is_established(api: Api, path: str) -> bool:
    # The server writes an empty list as null.
    conditions = api.get(path).get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _check_refusal(api: Api, report: Report) -> None:
    """Without this, a server that takes anything would prove nothing."""
    namespace = "apply-wrong"
    create_namespace(api, namespace)
    rendered = render("shop", namespace, [installations()["cpu"]])
    (deployment,) = (each for each in rendered if each["kind"] == "Deployment")
    wrong = copy.deepcopy(adapt(deployment).manifest)
    wrong["spec"]["replica"] = 2
    try:
        api.apply(wrong, namespace)
    except Refused as refusal:
        report.prove("replica" in refusal.message, "a misspelt field is refused", refusal.message)
    else:
        report.prove(False, "a misspelt field is refused")
    delete_namespaces(api, [namespace])


def _check_installation(
    api: Api, name: str, manifests: list[Manifest], namespace: str, report: Report
) -> None:
    create_namespace(api, namespace)
    changed, different = [], []
    for manifest in manifests:
        adapted = adapt(manifest)
        for change in adapted.changes:
            report.leave_out(change)
        place = f"{manifest['kind']} {manifest['metadata']['name']}"
        first = api.apply(adapted.manifest, namespace)
        different += [f"{place}: {path}" for path in lost(adapted.manifest, first)]
        again = api.apply(adapted.manifest, namespace)
        changed += [f"{place}: {path}" for path in lost(_content(first), _content(again))]
    report.prove(
        not different, f"{name}: {len(manifests)} objects applied, every field kept", different
    )
    report.prove(not changed, f"{name}: applied again, nothing is changed", changed)


def _content(manifest: Manifest) -> Manifest:
    """Return what is asked for, without what the server keeps of its own."""
    return {name: part for name, part in manifest.items() if name not in {"metadata", "status"}}
