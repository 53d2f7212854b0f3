"""Checks custom resources as strictly as core ones: against their CRDs, unknown fields refused."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema

from deploy.verify.vendor_schemas import SCHEMAS

# The keyword with which a CRD leaves an object open on purpose.
_OPEN = "x-kubernetes-preserve-unknown-fields"


class UnknownResource(Exception):
    """There is no schema for a resource of this kind and version."""


def check(resource: dict[str, Any]) -> None:
    """Check one custom resource against the schema of its CRD.

    Raises UnknownResource, or jsonschema.ValidationError, whose path names the field.
    """
    kind, version = resource["kind"], resource["apiVersion"]
    known_version, validator = _load(kind)
    if version != known_version:
        raise UnknownResource(f"{kind} is checked as {known_version}, not as {version}.")
    validator.validate(resource)


@cache
def _load(kind: str) -> tuple[str, jsonschema.Draft202012Validator]:
    path = SCHEMAS / f"{kind}.json"
    if not path.is_file():
        raise UnknownResource(f"There is no schema for {kind}; deploy.verify.vendor_schemas.")
    found = json.loads(path.read_text(encoding="utf-8"))
    schema = closed(found["schema"])
    # The API server describes it, and CRDs leave it open.
    schema["properties"]["metadata"] = _METADATA
    return found["apiVersion"], jsonschema.Draft202012Validator(schema)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with every object closed to fields it does not name.

    An API server drops such fields in silence; here they are mistakes.
    """
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {name: closed(child) for name, child in schema["properties"].items()}
        if not schema.get(_OPEN) and "additionalProperties" not in schema:
            result["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = closed(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
