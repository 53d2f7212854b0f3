"""Every operation of our HTTP API, for `/openapi.json`: what it takes, answers and refuses with."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from service import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.errors import ServiceError

Json = dict[str, Any]
Failures = tuple[type["ServiceError"], ...]

_ANY: Failures = (errors.InvalidRequest, errors.HeadersTooLarge, errors.InternalError)
_LOADED: Failures = (errors.ModelNotReady,)
_NEEDED: Failures = (errors.SignerNotReady, errors.LedgerUnavailable)
_KEY: Failures = (errors.Unauthenticated, errors.Forbidden)
_BODY: Failures = (
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.DeadlineExceeded,
    errors.RateLimited,
    errors.QueueFull,
)
_DRAWING: Failures = (
    errors.ModelNotFound,
    errors.IdempotencyConflict,
    errors.Draining,
    errors.DeviceOutOfMemory,
    errors.DeviceLost,
    errors.WatermarkFailed,
    errors.EncodingFailed,
    errors.SigningFailed,
    errors.LedgerFailed,
    *_NEEDED,
    errors.StorageFull,
    errors.StorageFailed,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `content`: of a success. `is_public`: it asks for no key."""

    path: str
    method: str
    summary: str
    content: Json
    failures: Failures = ()
    body: Json | None = None
    parameters: tuple[Json, ...] = ()
    is_public: bool = False
    status: HTTPStatus = HTTPStatus.OK
    description: str = ""

    def describe(self) -> Json:
        """Return the operation object."""
        described: Json = {
            "operationId": _operation_id(self.method, self.path),
            "summary": self.summary,
            "responses": self._responses(),
        }
        parameters = [*self.parameters, {"$ref": "#/components/parameters/RequestId"}]
        described["parameters"] = parameters
        if self.description:
            described["description"] = self.description
        if self.body is not None:
            described["requestBody"] = {"required": True, "content": self.body}
        if self.is_public:
            described["security"] = []
        return described

    def _responses(self) -> Json:
        responses: Json = {}
        if self.content:
            headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
            responses[str(self.status.value)] = {
                "description": self.status.phrase,
                "headers": headers,
                "content": self.content,
            }
        keys = () if self.is_public else _KEY
        responses.update(describe_failures((*_ANY, *keys, *self.failures)))
        return dict(sorted(responses.items()))


def describe_failures(failures: Sequence[type[ServiceError]]) -> Json:
    """Return a response object for each status that `failures` have, naming their codes."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for failure in dict.fromkeys(failures):
        by_status.setdefault(failure.http_status, []).append(failure)
    return {
        str(status): {
            "description": " ".join(
                f"`{failure.code}`: {(failure.__doc__ or '').splitlines()[0]}"
                for failure in several
            ),
            "content": json_content("Error"),
        }
        for status, several in by_status.items()
    }


def json_content(schema: str) -> Json:
    """Return the content of a JSON body of a schema in the components."""
    return {"application/json": {"schema": _ref(schema)}}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _operation_id(method: str, path: str) -> str:
    words = "".join(char if char.isalnum() else " " for char in path).split()
    return "_".join([method, *(words or ["index"])])


def _path_parameter(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _query_parameter(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": True, "schema": schema}


_IDEMPOTENCY_KEY: Json = {"$ref": "#/components/parameters/IdempotencyKey"}
_REQUEST_ID = _path_parameter("request_id", "The x-request-id of the request.")
_FILE: Json = {"type": "string", "format": "binary"}
_PICTURES: Json = {
    **json_content("ImagesResponse"),
    "text/event-stream": {"schema": _ref("ImageEvent")},
}
_TEXT: Json = {"text/plain": {"schema": {"type": "string"}}}

OPERATIONS: Sequence[Operation] = (
    Operation(
        "/v1/images/generations",
        "post",
        "Draw pictures",
        _PICTURES,
        (*_LOADED, *_BODY, *_DRAWING),
        body=json_content("ImagesGenerateBody"),
        parameters=(_IDEMPOTENCY_KEY,),
        description="With `stream`, the answer is a stream of server-sent events, and an error "
        "after its beginning is its last event.",
    ),
    Operation(
        "/v1/images/edits",
        "post",
        "Draw pictures from a picture",
        _PICTURES,
        (*_LOADED, *_BODY, *_DRAWING),
        body={
            "multipart/form-data": {
                "schema": _ref("ImagesEditForm"),
                "encoding": {
                    "image": {"contentType": "image/png, image/jpeg, image/webp"},
                    "mask": {"contentType": "image/png"},
                },
            }
        },
        parameters=(_IDEMPOTENCY_KEY,),
    ),
    Operation(
        "/v1/images/variations",
        "post",
        "Draw pictures like a picture",
        _PICTURES,
        (*_LOADED, *_BODY, *_DRAWING),
        body={
            "multipart/form-data": {
                "schema": _ref("ImagesVariationForm"),
                "encoding": {"image": {"contentType": "image/png, image/jpeg, image/webp"}},
            }
        },
        parameters=(_IDEMPOTENCY_KEY,),
        description="An edit that needs no prompt.",
    ),
    Operation(
        "/v1/images/files/{name}",
        "get",
        "Fetch a picture by its link",
        {f"image/{name}": {"schema": _FILE} for name in ("png", "jpeg", "webp")},
        (*_LOADED, errors.NotFound, errors.StorageFailed),
        parameters=(
            _path_parameter("name", "As in the link."),
            _query_parameter("expires", {"type": "string", "pattern": "^[1-9][0-9]{0,11}$"}),
            _query_parameter("signature", {"type": "string", "pattern": "^[0-9a-f]{64}$"}),
        ),
        is_public=True,
    ),
    Operation(
        "/v1/images/verify",
        "post",
        "Say where a picture comes from",
        json_content("VerificationReport"),
        (*_LOADED, *_BODY),
        body={
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": _FILE},
                    "required": ["image"],
                    "additionalProperties": False,
                }
            }
        },
    ),
    Operation("/v1/models", "get", "List the models", json_content("ModelList"), _LOADED),
    Operation(
        "/v1/models/{model_id}",
        "get",
        "Describe a model",
        json_content("Model"),
        (*_LOADED, errors.ModelNotFound),
        parameters=(_path_parameter("model_id", "May hold a slash."),),
    ),
    Operation(
        "/v1/requests/{request_id}",
        "get",
        "Tell how far a request has come",
        json_content("RequestProgress"),
        (*_LOADED, errors.NotFound),
        parameters=(_REQUEST_ID,),
    ),
    Operation(
        "/v1/requests/{request_id}/cancel",
        "post",
        "Stop a request",
        json_content("RequestCancelled"),
        (*_LOADED, errors.NotFound),
        parameters=(_REQUEST_ID,),
    ),
    Operation(
        "/v1/provenance/trust-anchors",
        "get",
        "The roots that our signatures chain to, as PEM",
        {"application/x-pem-file": {"schema": {"type": "string"}}},
        _LOADED,
        is_public=True,
    ),
    Operation("/", "get", "Say what there is", json_content("Index"), is_public=True),
    Operation(
        "/livez",
        "get",
        "Whether the process can serve",
        json_content("Status"),
        (errors.ModelNotReady, errors.DeviceLost),
        is_public=True,
    ),
    Operation(
        "/healthz",
        "get",
        "The same",
        json_content("Status"),
        (errors.ModelNotReady, errors.DeviceLost),
        is_public=True,
    ),
    Operation(
        "/readyz",
        "get",
        "Whether new work is welcome",
        json_content("Status"),
        (*_LOADED, *_NEEDED, errors.Draining, errors.QueueFull, errors.DeviceLost),
        is_public=True,
    ),
    Operation("/metrics", "get", "Metrics in Prometheus' text format", _TEXT),
    Operation(
        "/openapi.json",
        "get",
        "This document",
        {"application/json": {"schema": {"type": "object"}}},
        is_public=True,
    ),
)


def describe_paths() -> Mapping[str, Json]:
    """Return the paths object."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = operation.describe()
    return paths
