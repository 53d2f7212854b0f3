"""POST /v1/images/generations: what it takes, what it refuses, what it answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import replace

import pytest

from models.families.toy import toy_spec
from service.domain.request import OutputFormat
from service.errors import Draining, InternalError, QueueFull
from tests.fakes import FakeGeneration
from tests.rest_kit import IMAGES


async def test_the_answer_holds_the_picture_and_its_provenance(bench):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "a red apple", "n": 2, "seed": 5})
    assert response.status_code == 200
    answer = response.json()
    assert len(response.content) == int(response.headers["content-length"])
    assert [base64.b64decode(item["b64_json"]) for item in answer["data"]] == [
        bench.generate.content,
        bench.generate.content,
    ]
    assert [item["seed"] for item in answer["data"]] == [5, 6]
    first = answer["data"][0]
    assert first["output_id"] == "out_0"
    assert first["manifest_id"] == "urn:c2pa:0"
    assert first["watermark_id"] == "000abcde"
    assert first["pixels_sha256"] == "0" * 64
    assert first["content_sha256"] == hashlib.sha256(bench.generate.content).hexdigest()
    assert answer["created"] == 1767323045
    assert answer["model"] == "toy"
    assert answer["size"] == "64x64"
    assert answer["output_format"] == "png"
    assert answer["background"] == "opaque"
    assert answer["quality"] == "medium"
    assert answer["request_id"] == response.headers["x-request-id"]
    assert "safety_identifier" not in answer
    # 16x16 positions of the toy model's latents for each of the two pictures.
    assert answer["usage"] == {
        "input_tokens": 3,
        "output_tokens": 512,
        "total_tokens": 515,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 512},
    }


@pytest.mark.parametrize("warnings", [(), ("not drawn: 'wolf'; nearest known: 'dog'",)])
async def test_the_answer_always_says_what_was_not_drawn(bench, warnings):
    bench.generate.warnings = warnings
    async with bench.client() as client:
        answer = (await client.post(IMAGES, json={"prompt": "a wolf"})).json()
    assert answer["warnings"] == list(warnings)


async def test_every_field_reaches_the_use_case(bench):
    body = {
        "prompt": "a red apple",
        "negative_prompt": "blue",
        "n": 3,
        "size": "96x64",
        "seed": 11,
        "num_inference_steps": 9,
        "guidance_scale": 4,
        "scheduler": "euler",
        "output_format": "webp",
        "output_compression": 80,
        "model": "toy",
    }
    async with bench.client() as client:
        assert (await client.post(IMAGES, json=body)).status_code == 200
    (request,) = bench.generate.requests
    assert request.prompt == "a red apple"
    assert request.negative_prompt == "blue"
    assert request.num_images == 3
    assert (request.width_px, request.height_px) == (96, 64)
    assert request.sampling.seed == 11
    assert request.sampling.num_inference_steps == 9
    assert request.sampling.guidance_scale == 4.0
    assert request.sampling.scheduler == "euler"
    assert request.output.format is OutputFormat.WEBP
    assert request.output.compression == 80


async def test_the_deadline_is_the_configured_timeout_from_arrival(bench):
    bench.request_timeout_s = 12.0
    loop = asyncio.get_running_loop()
    before_s = loop.time()
    async with bench.client() as client:
        await client.post(IMAGES, json={"prompt": "x"})
    (deadline,) = bench.generate.deadlines
    assert before_s + 12.0 <= deadline.at_s <= loop.time() + 12.0


@pytest.mark.parametrize("model", [None, "", "toy"])
async def test_the_default_model_needs_no_name(bench, model):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", "model": model})
    assert response.status_code == 200
    assert bench.generate.requests[0].model_id == "toy"


async def test_another_served_model_is_chosen_by_its_name(bench):
    bench.models["org/other"] = replace(toy_spec(), model_id="org/other")
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", "model": "org/other"})
    assert response.json()["model"] == "org/other"


async def test_an_unknown_model_is_not_found(bench):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", "model": "gpt-image-9"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert bench.generate.requests == []


async def test_refusals_never_quote_the_prompt(bench):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "secret words", "n": "many"})
    assert response.status_code == 400
    assert "secret" not in response.text


async def test_nothing_is_generated_while_the_model_loads(bench):
    bench.is_loaded = False
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_ready"
    assert response.json()["error"]["message"] == "The model is loading."
    assert int(response.headers["retry-after"]) >= 1
    assert bench.metric('mintmark_admission_refusals_total{reason="model_not_ready"}') == 1


@pytest.mark.parametrize("error", [QueueFull("Full.", retry_after_s=2.5), Draining("Leaving.")])
async def test_a_retryable_refusal_says_when_to_come_back(bench, error):
    bench.generate.error = error
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x"})
    assert response.status_code == 503
    wait_s = error.retry_after_s or 1.0
    assert int(response.headers["retry-after-ms"]) == wait_s * 1000
    assert wait_s <= int(response.headers["retry-after"]) < wait_s + 1
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize("error", [RuntimeError("/etc/secret"), InternalError("/etc/secret")])
async def test_a_defect_of_ours_stays_ours(bench, error, caplog):
    bench.generate.error = error
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "secret words"})
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    message = response.json()["error"]["message"]
    assert response.headers["x-request-id"] in message
    assert "secret" not in response.text
    (record,) = (r for r in caplog.records if r.name == "service.rest.error_response")
    assert record.exc_info is not None  # the traceback is in the log
    assert "secret words" not in caplog.text


async def test_the_client_leaving_cancels_the_work(bench):
    bench.generate.hold = asyncio.Event()
    has_left = asyncio.Event()
    body = [{"type": "http.request", "body": b'{"prompt":"x"}', "more_body": False}]

    async def receive():
        if body:
            return body.pop()
        await has_left.wait()
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": IMAGES,
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"mine")],
        "query_string": b"",
    }
    serving = asyncio.create_task(bench.app()(scope, receive, send))
    await bench.generate.started.wait()
    assert bench.metric("mintmark_http_requests_in_flight") == 1
    has_left.set()
    await asyncio.wait_for(serving, 5)
    assert bench.generate.cancelled == ["mine"]
    assert sent[0]["status"] == 499
    assert bench.metric("mintmark_http_requests_in_flight") == 0
    series = f'mintmark_http_requests_total{{method="POST",route="{IMAGES}",status="499"}}'
    assert bench.metric(series) == 1


async def test_a_server_that_stops_cancels_the_work_too(bench):
    bench.generate.hold = asyncio.Event()
    async with bench.client() as client:
        call = asyncio.create_task(client.post(IMAGES, json={"prompt": "x"}))
        await bench.generate.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(bench.generate.cancelled) == 1


async def test_a_big_answer_leaves_turns_to_others(bench):
    bench.generate = FakeGeneration(content=bytes(range(256)) * 16 * 1024)  # 4 MiB
    turns = 0
    is_done = False

    async def someone_else():
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    async with bench.client() as client:
        other = asyncio.create_task(someone_else())
        response = await client.post(IMAGES, json={"prompt": "x"})
        is_done = True
        await other
    assert base64.b64decode(response.json()["data"][0]["b64_json"]) == bench.generate.content
    assert turns > 20  # one between any two pieces of 192 KiB
