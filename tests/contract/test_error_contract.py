"""Every error reaches every client, through every front door, as the exception it promises."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import openai
import pytest

import service.bootstrap  # noqa: F401 - loads every module that could define an error
from service.errors import ServiceError
from service.oip.generated import open_inference_grpc_pb2 as oip_pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from tests.fakes import FakeGeneration
from tests.oip_kit import INFER, PROMPT
from tests.oip_rpc_kit import oip_rpc_bench, oip_stub, prompts
from tests.rest_kit import rest_bench, served
from tests.rpc_kit import refused

MESSAGE = "what the error itself says"
RETRY_AFTER_S = 7.0
REQUEST_ID = "the-call"


@dataclass(frozen=True)
class Promise:
    """What callers were told in docs/errors.md: changing one breaks somebody's client."""

    http: int
    grpc: str
    openai: type[openai.APIStatusError] = openai.InternalServerError
    is_retryable: bool = False


PROMISES = {
    "cancelled": Promise(499, "CANCELLED", openai.APIStatusError),
    "deadline_exceeded": Promise(504, "DEADLINE_EXCEEDED"),
    "device_lost": Promise(500, "INTERNAL"),
    "device_out_of_memory": Promise(503, "UNAVAILABLE", is_retryable=True),
    "draining": Promise(503, "UNAVAILABLE", is_retryable=True),
    "encoding_failed": Promise(500, "INTERNAL"),
    "forbidden": Promise(403, "PERMISSION_DENIED", openai.PermissionDeniedError),
    "headers_too_large": Promise(431, "RESOURCE_EXHAUSTED", openai.APIStatusError),
    "idempotency_conflict": Promise(409, "ALREADY_EXISTS", openai.ConflictError),
    "internal_error": Promise(500, "INTERNAL"),
    "invalid_request": Promise(400, "INVALID_ARGUMENT", openai.BadRequestError),
    "ledger_failed": Promise(500, "INTERNAL"),
    "ledger_unavailable": Promise(503, "UNAVAILABLE", is_retryable=True),
    "method_not_allowed": Promise(405, "UNIMPLEMENTED", openai.APIStatusError),
    "model_not_found": Promise(404, "NOT_FOUND", openai.NotFoundError),
    "model_not_ready": Promise(503, "UNAVAILABLE", is_retryable=True),
    "not_found": Promise(404, "NOT_FOUND", openai.NotFoundError),
    "payload_too_large": Promise(413, "RESOURCE_EXHAUSTED", openai.APIStatusError),
    "queue_full": Promise(503, "UNAVAILABLE", is_retryable=True),
    "rate_limited": Promise(429, "RESOURCE_EXHAUSTED", openai.RateLimitError, is_retryable=True),
    "signer_not_ready": Promise(503, "UNAVAILABLE", is_retryable=True),
    "signing_failed": Promise(500, "INTERNAL"),
    "storage_failed": Promise(503, "UNAVAILABLE"),
    "storage_full": Promise(503, "UNAVAILABLE", is_retryable=True),
    "unauthenticated": Promise(401, "UNAUTHENTICATED", openai.AuthenticationError),
    "unsupported_media_type": Promise(415, "INVALID_ARGUMENT", openai.APIStatusError),
    "watermark_failed": Promise(500, "INTERNAL"),
}


def all_errors(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Yield every error that the service defines, wherever it does."""
    for error in base.__subclasses__():
        if error.__module__.partition(".")[0] == "service":
            yield error
        yield from all_errors(error)


CLASSES = sorted(set(all_errors()), key=lambda error: error.code)
ERRORS = pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)


def make(error: type[ServiceError]) -> ServiceError:
    return error(MESSAGE, param="size", retry_after_s=RETRY_AFTER_S)


class RaisingByPrompt(FakeGeneration):
    """Raises the error whose code is the prompt."""

    async def __call__(self, request, *, request_id, deadline):
        (error,) = (error for error in CLASSES if error.code == request.prompt)
        raise make(error)


@pytest.fixture
def rest():
    with rest_bench() as made:
        yield made


def openai_client(bench) -> openai.AsyncOpenAI:
    transport = httpx2.ASGITransport(app=bench.app())
    return openai.AsyncOpenAI(
        api_key="unused",
        base_url="http://mintmark.test/v1",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    )


def check_message(message: str, error: type[ServiceError], request_id: str) -> None:
    """What HTTP answers with 500 is a defect of ours: its words stay with us, its id does not."""
    if PROMISES[error.code].http == 500:
        assert MESSAGE not in message
        assert request_id in message
    else:
        assert message == MESSAGE


def check_retry_headers(headers, promise: Promise) -> None:
    assert headers.get("retry-after") == ("7" if promise.is_retryable else None)
    is_final = not promise.is_retryable and (promise.http >= 500 or promise.http == 409)
    assert headers.get("x-should-retry") == ("false" if is_final else None)


def test_every_error_is_promised_and_every_promise_kept():
    assert {error.code for error in CLASSES} == set(PROMISES)
    for error in CLASSES:
        promise = PROMISES[error.code]
        assert (error.http_status, error.grpc_status) == (promise.http, promise.grpc)
        assert error.retryable == promise.is_retryable


@ERRORS
async def test_openais_client_raises_its_own_class(rest, error):
    promise, rest.generate.error = PROMISES[error.code], make(error)
    async with openai_client(rest) as client:
        with pytest.raises(promise.openai) as failed:
            await client.images.generate(prompt="x", extra_headers={"x-request-id": REQUEST_ID})
    raised = failed.value
    assert type(raised) is promise.openai
    assert raised.status_code == promise.http
    assert isinstance(raised.body, dict)
    assert set(raised.body) == {"message", "type", "param", "code"}
    assert (raised.code, raised.param, raised.type) == (error.code, "size", error.error_type)
    assert raised.request_id == REQUEST_ID
    check_message(raised.body["message"], error, REQUEST_ID)
    check_retry_headers(raised.response.headers, promise)


@ERRORS
async def test_openais_client_raises_it_from_a_stream_that_has_begun(rest, error):
    rest.generate.late_error = make(error)
    async with served(rest.app()) as url:
        client = openai.AsyncOpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0)
        async with client:
            stream = await client.images.generate(prompt="x", stream=True, partial_images=1)
            with pytest.raises(openai.APIError) as failed:
                assert [event.type async for event in stream] == ["image_generation.partial_image"]
    assert (failed.value.code, failed.value.param) == (error.code, "size")


@ERRORS
async def test_the_inference_protocol_has_its_own_shape_over_http(rest, error):
    promise, rest.generate.error = PROMISES[error.code], make(error)
    async with rest.client() as client:
        headers = {"x-request-id": REQUEST_ID}
        answer = await client.post(INFER, json={"inputs": [PROMPT]}, headers=headers)
    assert answer.status_code == promise.http
    body = answer.json()
    assert (set(body), body["code"]) == ({"error", "code", "param"}, error.code)
    if error.code not in {"invalid_request", "payload_too_large"}:  # told in terms of tensors
        check_message(body["error"], error, REQUEST_ID)
        assert body["param"] == "size"
    assert answer.headers["x-request-id"] == REQUEST_ID
    check_retry_headers(answer.headers, promise)


@ERRORS
@pytest.mark.parametrize("method", ["Generate", "ModelInfer"])
async def test_grpc_raises_the_status_with_its_details(error, method):
    promise, metadata = PROMISES[error.code], (("x-request-id", REQUEST_ID),)
    async with oip_rpc_bench() as bench:
        bench.generate.error = make(error)
        if method == "Generate":
            async with bench.stub() as stub:
                call = stub.Generate(pb.GenerateRequest(prompt="x"), metadata=metadata)
                refusal = await refused(call)
        else:
            async with oip_stub(bench) as stub:
                request = oip_pb.ModelInferRequest(model_name="toy", inputs=[prompts(b"x")])
                refusal = await refused(stub.ModelInfer(request, metadata=metadata))
    assert refusal.code is grpc.StatusCode[promise.grpc]
    assert (refusal.reason, refusal.details["ErrorInfo"].domain) == (error.code, "mintmark")
    assert refusal.request_id == refusal.details["RequestInfo"].request_id == REQUEST_ID
    assert refusal.field is not None
    retry = refusal.details.get("RetryInfo")
    assert (retry is not None) == promise.is_retryable
    assert retry is None or retry.retry_delay.seconds == RETRY_AFTER_S
    if promise.http == 500:
        assert MESSAGE not in refusal.message


async def run_triton_job(*arguments: object) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.triton_errors_job",
        *map(str, arguments),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    results: dict[str, Any] = json.loads(printed)
    return results


async def test_tritons_client_raises_its_own_exception_over_both_transports():
    with rest_bench() as rest:
        rest.generate = RaisingByPrompt()
        async with oip_rpc_bench(generate=RaisingByPrompt()) as rpc, served(rest.app()) as url:
            port = url.rpartition(":")[2]
            raised = await run_triton_job(port, rpc.port, "toy", json.dumps(sorted(PROMISES)))
    for code, promise in PROMISES.items():
        assert raised["http"][code]["status"] == str(promise.http)
        assert raised["grpc"][code]["status"] == f"StatusCode.{promise.grpc}"
        for transport in ("http", "grpc"):
            assert (MESSAGE in raised[transport][code]["message"]) == (promise.http != 500)
