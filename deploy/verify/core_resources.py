"""Checks core resources against the schemas of a Kubernetes version, without a cluster."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema
from referencing import Registry, Resource

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def check(resource: dict[str, Any], version: str) -> None:
    """Check one resource as Kubernetes `version` ("1.37") knows it, unknown fields refused.

    Raises FileNotFoundError if that version knows no such resource, and
    jsonschema.ValidationError, whose path names the field.
    """
    _validator(resource["kind"], resource["apiVersion"], version).validate(resource)


@cache
def _validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    # The files are named kind-group-version, where the group has lost its domain.
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = json.loads((_folder(version) / f"{kind.lower()}-{name}.json").read_text("utf-8"))
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    content = json.loads((_folder(version) / "_definitions.json").read_text("utf-8"))
    registry: Registry[Any] = Resource.from_contents(content) @ Registry()
    return registry


def _folder(version: str) -> Traversable:
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
