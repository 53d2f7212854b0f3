"""The official `openai` package, sync and async, against a served app: streams, edits, links."""

from __future__ import annotations

import asyncio
import base64
import io

import httpx2
import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from service.errors import DeadlineExceeded, DeviceLost, QueueFull
from service.rest.options import RestOptions
from tests.pictures import mask_png, png
from tests.rest_kit import rest_bench, served
from tests.storage_kit import folder_storage, ready


@pytest.fixture
def bench():
    with rest_bench() as made:
        yield made


def file(content, name="a.png"):
    stream = io.BytesIO(content)
    stream.name = name
    return stream


def async_client(url):
    return openai.AsyncOpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0)


async def in_thread(url, call):
    """Return what `call` makes of a synchronous client, in a thread of its own."""

    def run():
        with openai.OpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


async def test_partial_pictures_arrive_before_the_completed_one(bench):
    async with served(bench.app()) as url, async_client(url) as client:
        stream = await client.images.generate(
            prompt="x", stream=True, partial_images=2, output_format="webp"
        )
        events = [event async for event in stream]
    first, second, last = events
    assert isinstance(first, ImageGenPartialImageEvent)
    assert isinstance(second, ImageGenPartialImageEvent)
    assert isinstance(last, ImageGenCompletedEvent)
    assert (first.partial_image_index, second.partial_image_index) == (0, 1)
    assert base64.b64decode(last.b64_json) == bench.generate.content
    assert last.usage.total_tokens == 259
    assert last.output_format == "webp"
    assert last.model_extra is not None
    assert last.model_extra["image_index"] == 0
    for event in events:
        type(event).model_validate(event.model_dump())  # the client itself does not check


async def test_the_synchronous_client_reads_the_same(bench):
    def call(client):
        stream = client.images.edit(
            image=file(png()), mask=file(mask_png()), prompt="x", stream=True, partial_images=1, n=2
        )
        return list(stream)

    async with served(bench.app()) as url:
        events = await in_thread(url, call)
    assert [type(event) for event in events] == [
        ImageEditPartialImageEvent,
        ImageEditCompletedEvent,
    ] * 2
    assert [event.model_extra["image_index"] for event in events] == [0, 0, 1, 1]
    for event in events:
        type(event).model_validate(event.model_dump())


async def test_pauses_do_not_disturb_the_client(bench):
    bench.options = RestOptions(keepalive_s=0.05)
    bench.generate.hold = asyncio.Event()
    async with served(bench.app()) as url, async_client(url) as client:
        stream = await client.images.generate(prompt="x", stream=True)
        assert stream.response.headers["x-request-id"].startswith("req_")  # before any event
        await asyncio.sleep(0.2)
        bench.generate.hold.set()
        assert [event.type async for event in stream] == ["image_generation.completed"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeadlineExceeded("Too late."), "deadline_exceeded"),
        (DeviceLost("a secret"), "device_lost"),
        (RuntimeError("a secret"), "internal_error"),
    ],
)
async def test_an_error_within_a_stream_is_the_clients_own(bench, error, code):
    bench.generate.late_error = error
    async with served(bench.app()) as url, async_client(url) as client:
        stream = await client.images.generate(prompt="x", stream=True, partial_images=1)
        events = aiter(stream)
        assert (await anext(events)).type == "image_generation.partial_image"
        with pytest.raises(openai.APIError) as failed:
            await anext(events)

        def call(client):
            stream = client.images.generate(prompt="x", stream=True)
            with pytest.raises(openai.APIError) as failed:
                next(stream)
            return failed.value

        failed_in_thread = await in_thread(url, call)
    assert failed.value.code == failed_in_thread.code == code
    assert "secret" not in str(failed.value)


async def test_a_refused_stream_is_an_ordinary_error(bench):
    bench.generate.error = QueueFull("Full.", retry_after_s=1.0)
    async with served(bench.app()) as url, async_client(url) as client:
        with pytest.raises(openai.InternalServerError) as full:
            await client.images.generate(prompt="x", stream=True)
    assert full.value.code == "queue_full"


async def test_a_client_that_leaves_a_stream_frees_the_engine(bench):
    bench.generate.hold = asyncio.Event()
    async with served(bench.app()) as url, async_client(url) as client:
        stream = await client.images.generate(prompt="x", stream=True)
        await stream.close()
        async with asyncio.timeout(5):
            while not bench.generate.cancelled:
                await asyncio.sleep(0.01)


async def test_an_edit_with_a_mask(bench):
    async with served(bench.app()) as url, async_client(url) as client:
        answer = await client.images.edit(
            image=[file(png())],
            mask=file(mask_png()),
            prompt="x",
            n=2,
            input_fidelity="high",
            size="64x64",
            extra_body={"seed": 5, "num_inference_steps": 4},
        )
    assert answer.data is not None
    assert len(answer.data) == 2
    (request,) = bench.generate.requests
    assert request.source is not None
    assert request.source.strength == 0.5
    assert request.source.mask is not None
    assert request.sampling.seed == 5
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 256


async def test_what_is_not_done_is_refused_by_its_name(bench):
    async with served(bench.app()) as url, async_client(url) as client:
        with pytest.raises(openai.BadRequestError) as several:
            await client.images.edit(image=[file(png()), file(png(), "b.png")], prompt="x")
        with pytest.raises(openai.BadRequestError) as markup:
            await client.images.edit(image=file(png()), markup=file(mask_png()), prompt="x")
        with pytest.raises(openai.BadRequestError) as svg:
            await client.images.edit(image=file(png()), svg={"model": "m"}, prompt="x")
    assert [error.value.param for error in (several, markup, svg)] == ["image", "markup", "svg"]


async def test_a_variation_needs_nothing_but_a_picture(bench):
    async with served(bench.app()) as url, async_client(url) as client:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            answer = await client.images.create_variation(image=file(png()), n=2)
    assert answer.data is not None
    assert len(answer.data) == 2
    (request,) = bench.generate.requests
    assert request.prompt == ""
    assert request.source is not None
    assert (request.source.strength, request.source.mask) == (0.5, None)


async def test_a_link_leads_to_the_picture(bench, tmp_path):
    storage = folder_storage(tmp_path)
    with ready(storage, storage) as bench.storage:
        async with served(bench.app()) as url, async_client(url) as client:
            answer = await client.images.generate(prompt="x", response_format="url")
            assert answer.data is not None
            link = answer.data[0].url
            assert link is not None
            async with httpx2.AsyncClient() as browser:
                fetched = await browser.get(link)
    assert link.startswith(url)
    assert fetched.content == bench.generate.content
