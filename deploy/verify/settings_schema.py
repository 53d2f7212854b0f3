"""Keeps the chart's schema of `settings` equal to the settings that the service has.

`python -m deploy.verify.settings_schema` writes that part of values.schema.json again; a test
compares it. What the chart sets by itself, and every secret, is left out, so that Helm refuses it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.config import Settings, setting_names

SCHEMA = Path(__file__).parents[1] / "helm" / "mintmark" / "values.schema.json"
# The chart derives these from its own values: ports, mounted files, what the pod's storage is.
SET_BY_CHART = frozenset(
    {
        "server.host", "server.http_port", "server.grpc_port", "server.admin_port",
        "server.state_dir", "server.lame_duck_s", "server.startup_budget_s",
        "model.path", "model.hub_revision", "model.allow_download", "model.device",
        "access.keys_file", "access.keys", "access.allow_open",
        "provenance.certificate_chain_path", "provenance.private_key_path",
        "provenance.trust_anchors_path",
        "ledger.url",
        "telemetry.otlp_endpoint",
        "storage.kind", "storage.folder", "storage.public_base_url", "storage.link_key_path",
        "storage.s3_bucket", "storage.s3_prefix", "storage.s3_region", "storage.s3_endpoint_url",
        "rpc.certificate_path", "rpc.private_key_path", "rpc.client_ca_path",
        "rpc.require_client_certificate",
    }
)  # fmt: skip
_KEPT = (
    "type", "enum", "anyOf", "items", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "minItems", "maxItems", "pattern",
)  # fmt: skip


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the value `settings`: sections of fields, nothing else."""
    whole = Settings.model_json_schema()
    sections: dict[str, Any] = {}
    for section, field, variable in setting_names():
        options = _resolve(whole["properties"][section], whole)
        form = options["properties"][field]
        if f"{section}.{field}" in SET_BY_CHART or _is_secret(form):
            continue
        described = {"description": f"{variable}; docs/configuration.md explains it."}
        fields = sections.setdefault(
            section,
            {
                "type": "object",
                "description": f"Settings of the section {section}.",
                "additionalProperties": False,
                "properties": {},
            },
        )
        fields["properties"][field] = described | _reduce(form)
    return {
        "type": "object",
        "description": "Settings of the service as section and field; docs/configuration.md.",
        "additionalProperties": False,
        "properties": sections,
    }


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the chart's schema with the part about `settings` as the service has it."""
    properties = schema["properties"] | {"settings": settings_schema()}
    return schema | {"properties": properties}


def _resolve(form: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    reference = form.get("$ref") or form["allOf"][0]["$ref"]
    found: dict[str, Any] = whole["$defs"][reference.rpartition("/")[2]]
    return found


def _is_secret(form: dict[str, Any]) -> bool:
    return any(each.get("writeOnly") for each in (form, *form.get("anyOf", ())))


def _reduce(form: Any) -> Any:
    """Return the form without titles, defaults and what Helm's validator does not know."""
    reduced = {key: form[key] for key in _KEPT if key in form}
    if "const" in form:
        reduced["enum"] = [form["const"]]
    if "items" in reduced:
        reduced["items"] = _reduce(reduced["items"])
    if "anyOf" in reduced:
        reduced["anyOf"] = [_reduce(each) for each in reduced["anyOf"]]
    return reduced


def main() -> int:
    """Write the part again; return the exit code."""
    schema = with_settings(json.loads(SCHEMA.read_text(encoding="utf-8")))
    SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
