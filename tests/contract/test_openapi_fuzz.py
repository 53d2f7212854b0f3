"""Whatever a client sends within or outside the OpenAPI document, no 5xx and only our error shape.

Few fixed cases in CI; `make fuzz-api` plays thousands of new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.access.control import AccessControl
from service.access.options import AccessOptions
from service.intake import LimitsOptions
from service.rest.openapi_operations import OPERATIONS, Operation
from tests.pictures import mask_png, png
from tests.rest_kit import rest_bench

PICTURES = [None, png(), png(96, 64), mask_png()]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def api() -> Iterator[BaseSchema]:
    with rest_bench() as bench:
        # Small, so that generated values fall on both sides of the limits.
        bench.limits = LimitsOptions(max_prompt_chars=64, max_images_per_request=3)
        # Keys of a single character are drawn again and again: for other requests, mostly.
        bench.access = AccessControl(AccessOptions(idempotency_max_bytes=0))
        yield schemathesis.openapi.from_asgi("/openapi.json", bench.app())


def modes(operation: Operation) -> list[GenerationMode]:
    """Return what is generated: within the document and outside.

    The library breaks off on a form with a file that is to be wrong; tests/property has those.
    """
    has_file = "multipart/form-data" in (operation.body or {})
    return [GenerationMode.POSITIVE] if has_file else list(GenerationMode)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        pytest.param(operation, mode, id=f"{operation.method} {operation.path} {mode.value}")
        for operation in OPERATIONS
        for mode in modes(operation)
    ],
)
def test_every_answer_is_one_that_the_document_announces(
    api: BaseSchema, operation: Operation, mode: GenerationMode
):
    target = api[operation.path][operation.method.upper()]

    @settings(
        max_examples=max(1, settings().max_examples // 10),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=target.as_strategy(generation_mode=mode), picture=st.sampled_from(PICTURES))
    def check(case: Case[Any], picture: bytes | None) -> None:
        # What is drawn at random is no picture; with a real one the other fields are reached too.
        if picture is not None and isinstance(case.body, dict) and "image" in case.body:
            body: dict[str, Any] = {**case.body, "image": picture}
            case.body = body
        case.call_and_validate(checks=CHECKS)

    check()
