"""Pictures of the embedded model as the official client gets them over HTTP: all are marked."""

from __future__ import annotations

import asyncio
import base64
import io

import httpx
import openai
import pytest

from service.access.control import open_access
from service.bootstrap import build_application
from service.config import ServerOptions, Settings
from service.rest.app import build_app
from service.rest.dependencies import RestEnvironment
from service.storage.options import StorageOptions
from service.telemetry.metrics import Metrics
from tests.fakes import FakeReadiness
from tests.pictures import mask_png
from tests.rest_kit import served

PROMPT = "a red apple on a white background"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    settings = Settings(
        server=ServerOptions(state_dir=tmp_path_factory.mktemp("state")),
        storage=StorageOptions(kind="folder"),
    )
    metrics = Metrics("test")
    application = build_application(settings, metrics, open_access())
    yield build_app(
        RestEnvironment(
            version="test",
            limits=settings.limits,
            request_timeout_s=60.0,
            metrics=metrics,
            readiness=FakeReadiness(),
            loaded=lambda: application.rest,
            options=settings.rest,
        ),
        open_access(),
    )
    application.close()


def client_of(url):
    return openai.AsyncOpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0)


async def verify(url, content):
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{url}/v1/images/verify", files={"image": ("a", content)})
    assert answer.status_code == 200
    return answer.json()


def check_ours(report, data):
    """The credentials hold, and the mark in the pixels says the same as they do."""
    assert report["verdict"] == "ai_generated_by_us"
    assert report["confidence"] == "proof"
    assert report["c2pa"]["state"] == "Trusted"
    assert report["c2pa"]["output_id"] == data["output_id"]
    assert report["watermark"]["present"]
    assert report["watermark"]["registered"]
    assert report["watermark"]["id"] == data["watermark_id"]


async def test_every_preview_and_picture_of_a_stream_is_signed_and_marked(app):
    async with served(app) as url, client_of(url) as client:
        stream = await client.images.generate(
            prompt=PROMPT,
            n=2,
            stream=True,
            partial_images=2,
            extra_body={"seed": 3, "num_inference_steps": 8},
        )
        events = [event async for event in stream]
        whole = await client.images.generate(
            prompt=PROMPT, n=2, extra_body={"seed": 3, "num_inference_steps": 8}
        )
        finished = {}
        for event in events:
            extra = event.model_extra
            report = await verify(url, base64.b64decode(event.b64_json))
            check_ours(report, extra)
            is_preview = event.type.endswith("partial_image")
            assert bool(report["c2pa"]["generation"]["preview"]) == is_preview
            if is_preview:
                assert extra["image_index"] not in finished
            else:
                finished[extra["image_index"]] = extra["pixels_sha256"]
    # A preview that cannot carry its marks is left out; not all of them are.
    assert len(finished) == 2
    assert 3 <= len(events) <= 2 * (2 + 1)
    # Being watched changes nothing.
    assert [finished[0], finished[1]] == [item.model_extra["pixels_sha256"] for item in whole.data]
    assert sum(e.usage.total_tokens for e in events if hasattr(e, "usage")) == (
        whole.usage.total_tokens
    )


async def test_an_edit_is_signed_with_the_picture_that_it_was_made_from(app):
    async with served(app) as url, client_of(url) as client:
        source = (
            await client.images.generate(prompt=PROMPT, extra_body={"num_inference_steps": 4})
        ).data[0]
        original = base64.b64decode(source.b64_json)
        upload = io.BytesIO(original)
        upload.name = "apple.png"
        mask = io.BytesIO(mask_png())
        mask.name = "mask.png"
        answer = await client.images.edit(
            image=upload,
            mask=mask,
            prompt="a green apple on a white background",
            extra_body={"num_inference_steps": 8, "strength": 0.75},
        )
        edited = answer.data[0]
        report = await verify(url, base64.b64decode(edited.b64_json))
    check_ours(report, edited.model_extra)
    assert report["c2pa"]["generation"]["created_or_altered"] == "altered"
    (ingredient,) = report["c2pa"]["ingredients"]
    assert ingredient["state"] == "Trusted"
    assert ingredient["manifest_id"] == source.model_extra["manifest_id"]


async def test_a_variation_is_an_edit_without_words(app):
    async with served(app) as url, client_of(url) as client:
        source = await client.images.generate(prompt=PROMPT, extra_body={"num_inference_steps": 4})
        upload = io.BytesIO(base64.b64decode(source.data[0].b64_json))
        upload.name = "apple.png"
        with pytest.warns(DeprecationWarning, match="deprecated"):
            answer = await client.images.create_variation(image=upload)
        varied = answer.data[0]
        report = await verify(url, base64.b64decode(varied.b64_json))
    check_ours(report, varied.model_extra)
    assert len(report["c2pa"]["ingredients"]) == 1


async def test_a_picture_behind_a_link_is_the_one_that_was_signed(app):
    async with served(app) as url, client_of(url) as client:
        answer = await client.images.generate(
            prompt=PROMPT, response_format="url", extra_body={"num_inference_steps": 2}
        )
        item = answer.data[0]
        async with httpx.AsyncClient() as browser:
            fetched = await browser.get(item.url)
        check_ours(await verify(url, fetched.content), item.model_extra)


async def test_leaving_a_stream_ends_the_work_within_steps(app):
    headers = {"x-request-id": "left-early"}
    body = {"prompt": PROMPT, "stream": True, "n": 4, "num_inference_steps": 150}
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        request = client.build_request("POST", "/v1/images/generations", json=body, headers=headers)
        response = await client.send(request, stream=True)
        seen = await wait_for(client, lambda progress: progress["steps_done"] > 0)
        await response.aclose()
        left = await wait_for(client, lambda progress: progress["phase"] == "cancelled")
    assert seen["phase"] == "running"
    assert left["steps_done"] < left["steps_total"]


async def wait_for(client, condition):
    """Return the request's progress once it is as wanted."""
    async with asyncio.timeout(20):
        while True:
            progress = (await client.get("/v1/requests/left-early")).json()
            if condition(progress):
                return progress
            await asyncio.sleep(0.02)
