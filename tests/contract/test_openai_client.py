"""The official `openai` package works against our HTTP app, without a socket."""

from __future__ import annotations

import asyncio
import base64

import httpx2
import openai
import pytest

from service.errors import DeadlineExceeded, QueueFull
from tests.rest_kit import rest_bench


@pytest.fixture
def bench():
    with rest_bench() as made:
        yield made


def openai_client(bench, max_retries=0):
    transport = httpx2.ASGITransport(app=bench.app())
    return openai.AsyncOpenAI(
        api_key="unused",
        base_url="http://mintmark.test/v1",
        max_retries=max_retries,
        http_client=httpx2.AsyncClient(transport=transport),
    )


async def test_images_generate(bench):
    bench.generate.warnings = ("not drawn: 'zeppelin'",)
    async with openai_client(bench) as client:
        answer = await client.images.generate(
            model="toy",
            prompt="a red apple",
            n=2,
            size="64x64",
            quality="standard",
            response_format="b64_json",
            output_format="png",
            user="u-1",
            extra_body={"seed": 5, "num_inference_steps": 3},
        )
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "") == bench.generate.content
    assert answer.data[1].model_extra is not None
    assert answer.data[1].model_extra["seed"] == 6
    assert answer.model_extra is not None
    assert answer.model_extra["warnings"] == ["not drawn: 'zeppelin'"]
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3
    assert answer.size == "64x64"
    assert answer.output_format == "png"
    assert bench.generate.requests[0].sampling.num_inference_steps == 3


async def test_models_list_and_retrieve(bench):
    async with openai_client(bench) as client:
        listed = [model async for model in client.models.list()]
        model = await client.models.retrieve("toy")
    assert [entry.id for entry in listed] == ["toy"]
    assert model.object == "model"
    assert model.owned_by == "mintmark"


async def test_errors_arrive_as_the_clients_own_classes(bench):
    async with openai_client(bench) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.images.generate(model="nope", prompt="x")
        with pytest.raises(openai.BadRequestError) as refused:
            await client.images.generate(prompt="x", response_format="url")
        bench.generate.error = QueueFull("Full.", retry_after_s=1.0)
        with pytest.raises(openai.InternalServerError) as full:
            await client.images.generate(prompt="x")
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id is not None
    assert refused.value.param == "response_format"
    assert full.value.code == "queue_full"


async def test_the_client_retries_what_is_retryable(bench):
    bench.generate.error = QueueFull("Full.", retry_after_s=0.001)
    async with openai_client(bench, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.images.generate(prompt="x")
    assert len(bench.generate.requests) == 3


@pytest.mark.parametrize("error", [RuntimeError("defect"), DeadlineExceeded("Too late.")])
async def test_the_client_does_not_repeat_what_would_fail_again(bench, error):
    bench.generate.error = error
    async with openai_client(bench, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.images.generate(prompt="x")
    assert len(bench.generate.requests) == 1


async def test_a_client_that_gives_up_frees_the_engine(bench):
    bench.generate.hold = asyncio.Event()
    async with openai_client(bench) as client:
        call = asyncio.create_task(client.images.generate(prompt="x"))
        await bench.generate.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(bench.generate.cancelled) == 1
