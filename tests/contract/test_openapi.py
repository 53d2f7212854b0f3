"""The OpenAPI document is complete, says what is true, and changes only on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from pydantic import BaseModel

from service.access.control import open_access
from service.reference import error_classes
from service.rest import openapi_answers as answers
from service.rest.app import build_routes
from service.rest.openai_schema import UNSUPPORTED, ImagesEditBody, ImagesGenerateBody
from service.rest.openapi import build_document
from tests.rest_kit import IMAGES, rest_bench

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
# They have a standard of their own: the Open Inference Protocol.
OTHERS = "/v2"
NEVER_SEEN = {"cancelled", "method_not_allowed"}  # nobody is there; not an operation


@pytest.fixture
def bench():
    with rest_bench() as made:
        yield made


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document()


def test_the_document_in_the_docs_is_up_to_date(document):
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == document, "run `make docs`"


async def test_it_is_served_without_a_key_and_without_a_model(bench, document):
    bench.is_loaded = False
    async with bench.client() as client:
        response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document


def test_every_route_is_in_it_and_nothing_else(bench, document):
    routes = build_routes(bench.environment(), open_access(), has_admin_port=False)
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in routes
        for method in (route.methods or {"GET"})
        if method != "HEAD" and not route.path.startswith(OTHERS)
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == served


def test_every_error_can_be_looked_up_in_it(document):
    text = json.dumps(document["paths"])
    missing = {error.code for error in error_classes() if f"`{error.code}`" not in text}
    assert missing == NEVER_SEEN


def test_its_references_lead_somewhere_and_its_schemas_are_schemas(document):
    references: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            references.update(value[key] for key in value if key == "$ref")
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(document)
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
        )


def test_every_field_that_is_taken_is_described(document):
    schemas = document["components"]["schemas"]
    taken = set(ImagesGenerateBody.model_fields)
    assert set(schemas["ImagesGenerateBody"]["properties"]) == taken
    form = {"image", "mask", *ImagesEditBody.model_fields}
    assert set(schemas["ImagesEditForm"]["properties"]) == form
    assert set(schemas["ImagesVariationForm"]["properties"]) == form - {"mask"}
    assert not form & set(UNSUPPORTED)


def test_every_field_is_in_the_page_for_people():
    page = (DOCUMENT.parent / "api.md").read_text(encoding="utf-8")
    names = {*ImagesGenerateBody.model_fields, *ImagesEditBody.model_fields, *UNSUPPORTED}
    assert {name for name in names if f"`{name}`" not in page} == set()


async def test_real_answers_are_what_it_describes(bench):
    bench.generate.warnings = ("w",)
    body = {"prompt": "x", "n": 2, "user": "u"}
    async with bench.client() as client:
        images = await client.post(IMAGES, json=body, headers={"x-request-id": "mine"})
        found: dict[type[BaseModel], httpx.Response] = {
            answers.ImagesResponse: images,
            answers.RequestProgress: await client.get("/v1/requests/mine"),
            answers.RequestCancelled: await client.post("/v1/requests/mine/cancel"),
            answers.ModelList: await client.get("/v1/models"),
            answers.Model: await client.get("/v1/models/toy"),
            answers.Index: await client.get("/"),
            answers.Status: await client.get("/readyz"),
            answers.Error: await client.get("/v1/models/none"),
        }
    for model, response in found.items():
        model.model_validate_json(response.content)
