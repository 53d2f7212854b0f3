"""GET /openapi.json: our HTTP API as an OpenAPI 3.1 document, made from what the code checks by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from service.provenance.report import VerificationReport
from service.rest import openapi_answers as answers
from service.rest.json_answer import encode_json
from service.rest.openai_schema import ImagesEditBody, ImagesGenerateBody, ImagesVariationBody
from service.rest.openapi_operations import describe_paths

if TYPE_CHECKING:
    from starlette.requests import Request

# Of the interface, not of the server: `GET /` has that.
API_VERSION = "1"

_REF = "#/components/schemas/{model}"
_BODIES = (ImagesGenerateBody, ImagesEditBody, ImagesVariationBody)
_ANSWERS = (
    answers.ImagesResponse,
    answers.ImagePartialEvent,
    answers.ImageCompletedEvent,
    answers.Error,
    answers.Model,
    answers.ModelList,
    answers.RequestProgress,
    answers.RequestCancelled,
    answers.Status,
    answers.Index,
)
_FILES = {
    "image": {
        "type": "string",
        "format": "binary",
        "description": "PNG, JPEG or WebP. `image[]` is the same; the models edit one picture.",
    },
    "mask": {
        "type": "string",
        "format": "binary",
        "description": "PNG of the same size, transparent where the picture is drawn anew.",
    },
}


# As OpenAPI 3.2 describes an event of a stream: its fields, of which `data` is itself JSON.
_EVENT = {
    "type": "object",
    "description": "One server-sent event. A stream ends after the last picture or an error; lines "
    "that begin with a colon mean nothing but that it goes on.",
    "properties": {
        "event": {
            "enum": [
                *get_args(answers.ImagePartialEvent.model_fields["type"].annotation),
                *get_args(answers.ImageCompletedEvent.model_fields["type"].annotation),
                "error",
            ]
        },
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "oneOf": [
                    {"$ref": _REF.format(model=name)}
                    for name in ("ImagePartialEvent", "ImageCompletedEvent", "Error")
                ]
            },
        },
    },
    "required": ["event", "data"],
    "additionalProperties": False,
}


class OpenApiEndpoint:
    """Answers with the document, which is made when it is first asked for."""

    def __init__(self) -> None:
        self._content: bytes | None = None

    async def retrieve(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """Answer with the document; it needs no key and no loaded model."""
        if self._content is None:
            self._content = encode_json(build_document())
        return Response(self._content, media_type="application/json")


def build_document() -> dict[str, Any]:
    """Return the whole document, JSON-ready. The Open Inference routes have their own standard."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mintmark",
            "version": API_VERSION,
            "summary": "OpenAI's Images API, every picture signed, watermarked and verifiable.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}],
        "paths": describe_paths(),
        "components": {
            "schemas": _schemas(),
            "parameters": _PARAMETERS,
            "headers": {
                "RequestId": {
                    "description": "The id of the request, in logs and errors as well.",
                    "schema": {"type": "string"},
                }
            },
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Only where the server has keys.",
                }
            },
        },
    }


_PARAMETERS: dict[str, Any] = {
    "RequestId": {
        "name": "x-request-id",
        "in": "header",
        "description": "An id of the caller's own for this request.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "IdempotencyKey": {
        "name": "idempotency-key",
        "in": "header",
        "description": "A request that is made again with it is answered again, not carried out.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
}


def _schemas() -> dict[str, Any]:
    _, described = models_json_schema(
        [(model, "validation") for model in (*_BODIES, *_ANSWERS)], ref_template=_REF
    )
    schemas: dict[str, Any] = described["$defs"]
    report = TypeAdapter(VerificationReport).json_schema(ref_template=_REF, mode="serialization")
    schemas |= report.pop("$defs")
    schemas["VerificationReport"] = report
    schemas["ImagesEditForm"] = _form(schemas.pop("ImagesEditBody"), _FILES)
    only_image = {"image": _FILES["image"]}
    schemas["ImagesVariationForm"] = _form(schemas.pop("ImagesVariationBody"), only_image)
    schemas["ImageEvent"] = _EVENT
    return dict(sorted(schemas.items()))


def _form(body: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the whole form: files, and text, where empty means null."""
    fields = {}
    for name, schema in body["properties"].items():
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        fields[name] = {**rest, **(kinds[0] if kinds else {})}
    return {
        **body,
        "title": body["title"].replace("Body", "Form"),
        "properties": {**files, **fields},
        "required": ["image", *body.get("required", ())],
    }
