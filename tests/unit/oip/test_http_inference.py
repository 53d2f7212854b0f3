"""Inference over HTTP: tensors in JSON and in binary, many pictures, deadlines and leaving."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from models.families.toy import toy_spec
from service.errors import QueueFull
from tests.oip_kit import (
    INFER,
    PROMPT,
    binary_request,
    raw_bytes,
    raw_tensor,
    read_answer,
    tensor,
)

REVISION = toy_spec().revision


async def infer(bench, *inputs, path=INFER, **members):
    async with bench.client() as client:
        return await client.post(path, json={"inputs": [PROMPT, *inputs], **members})


async def test_json_in_json_out(bench):
    response = await infer(bench, tensor("SEED", "INT64", [5]), id="call 1")
    assert response.headers["content-type"] == "application/json"
    answer = read_answer(response)
    assert answer.json["model_name"] == "toy"
    assert answer.json["model_version"] == REVISION
    assert answer.json["id"] == "call 1"
    image = answer.output("IMAGE")
    assert image["parameters"] == {"content_type": "base64"}
    assert image["shape"] == [1]
    assert [base64.b64decode(each) for each in image["data"]] == [bench.generate.content]
    assert answer.output("SEED_USED")["data"] == [5]
    (provenance,) = map(json.loads, answer.output("PROVENANCE")["data"])
    assert provenance["output_id"] == "out_0"
    assert provenance["manifest_id"] == "urn:c2pa:0"
    assert provenance["watermark_id"] == "000abcde"
    assert provenance["model_revision"] == REVISION
    assert provenance["request_id"] == response.headers["x-request-id"]
    assert provenance["mime_type"] == "image/png"


async def test_an_id_that_was_not_given_does_not_come_back(bench):
    assert "id" not in read_answer(await infer(bench)).json


async def test_binary_in_binary_out(bench):
    prompts = raw_bytes(b"a red apple", "ein Käse".encode())
    seeds = (7).to_bytes(8, "little")
    members = {
        "inputs": [
            raw_tensor("PROMPT", "BYTES", 2, prompts),
            raw_tensor("SEED", "INT64", 1, seeds),
            tensor("STEPS", "INT32", [9]),
        ],
        "parameters": {"binary_data_output": True},
    }
    async with bench.client() as client:
        response = await client.post(INFER, **binary_request(members, prompts, seeds))
    assert response.headers["content-type"] == "application/octet-stream"
    answer = read_answer(response)
    assert answer.elements("IMAGE") == [bench.generate.content] * 2
    assert answer.sections["SEED_USED"] == seeds * 2
    assert [json.loads(each)["width_px"] for each in answer.elements("PROVENANCE")] == [64, 64]
    assert [request.prompt for request in bench.generate.requests] == ["a red apple", "ein Käse"]
    assert [request.sampling.num_inference_steps for request in bench.generate.requests] == [9, 9]


async def test_an_outputs_own_wish_goes_before_the_requests(bench):
    response = await infer(
        bench,
        parameters={"binary_data_output": True},
        outputs=[
            {"name": "SEED_USED", "parameters": {"binary_data": False}},
            {"name": "IMAGE"},
        ],
    )
    answer = read_answer(response)
    assert [output["name"] for output in answer.json["outputs"]] == ["SEED_USED", "IMAGE"]
    assert len(answer.output("SEED_USED")["data"]) == 1
    assert answer.elements("IMAGE") == [bench.generate.content]


async def test_one_binary_output_among_others(bench):
    response = await infer(
        bench,
        outputs=[{"name": "IMAGE", "parameters": {"binary_data": True}}, {"name": "PROVENANCE"}],
    )
    answer = read_answer(response)
    assert answer.elements("IMAGE") == [bench.generate.content]
    assert json.loads(answer.output("PROVENANCE")["data"][0])["model"] == "toy"


async def test_every_input_reaches_its_picture(bench):
    body = {
        "inputs": [
            tensor("PROMPT", "BYTES", ["a", "b", "c"], [3, 1]),
            tensor("NEGATIVE_PROMPT", "BYTES", ["blue", "", "red"], [3, 1]),
            tensor("SEED", "INT64", [1, 2, 3]),
            tensor("STEPS", "INT32", [5]),
            tensor("GUIDANCE_SCALE", "FP32", [[1.5], [2], [3.25]], [3, 1]),
            tensor("WIDTH", "INT32", [96]),
            tensor("HEIGHT", "INT32", [64]),
        ],
        "parameters": {"output_format": "webp", "output_compression": 80, "scheduler": "euler"},
    }
    async with bench.client() as client:
        answer = read_answer(await client.post(INFER, json=body))
    assert answer.output("SEED_USED")["data"] == [1, 2, 3]
    requests = sorted(bench.generate.requests, key=lambda request: request.prompt)
    assert [request.prompt for request in requests] == ["a", "b", "c"]
    assert [request.negative_prompt for request in requests] == ["blue", "", "red"]
    assert [request.sampling.guidance_scale for request in requests] == [1.5, 2, 3.25]
    for request in requests:
        assert request.num_images == 1
        assert (request.width_px, request.height_px) == (96, 64)
        assert request.sampling.num_inference_steps == 5
        assert request.sampling.scheduler == "euler"
        assert request.output.format.value == "webp"
        assert request.output.compression == 80


async def test_a_seed_that_is_not_given_is_drawn_for_each_picture_and_returned(bench):
    body = {"inputs": [tensor("PROMPT", "BYTES", ["x"] * 3)]}
    async with bench.client() as client:
        answer = read_answer(await client.post(INFER, json=body))
    used = answer.output("SEED_USED")["data"]
    assert len(set(used)) == 3
    assert sorted(used) == sorted(request.sampling.seed for request in bench.generate.requests)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "application/json"}, {"Content-Type": "application/octet-stream"}],
)
async def test_clients_name_the_media_type_or_not(bench, headers):
    body = json.dumps({"inputs": [PROMPT]}).encode()
    async with bench.client() as client:
        response = await client.post(INFER, content=body, headers=headers)
    assert response.status_code == 200


async def test_a_body_as_kserves_client_writes_it(bench):
    body = {
        "id": "63a9ad2e",
        "model_name": "toy",
        "inputs": [tensor("PROMPT", "BYTES", ["x"], [1, 1])],
        "parameters": None,
        "outputs": None,
    }
    async with bench.client() as client:
        response = await client.post(INFER, content=json.dumps(body).encode())
    assert read_answer(response).json["id"] == "63a9ad2e"


async def test_pictures_run_at_once_and_under_their_own_ids(bench):
    bench.generate.hold = asyncio.Event()
    body = {"inputs": [tensor("PROMPT", "BYTES", ["a", "b", "c"])]}
    async with bench.client() as client:
        call = asyncio.create_task(client.post(INFER, json=body, headers={"x-request-id": "mine"}))
        while len(bench.generate.requests) < 3:
            await asyncio.sleep(0)
        bench.generate.hold.set()
        assert (await call).status_code == 200
    assert sorted(bench.generate.request_ids) == ["mine.0", "mine.1", "mine.2"]


async def test_one_picture_runs_under_the_requests_id(bench):
    async with bench.client() as client:
        await client.post(INFER, json={"inputs": [PROMPT]}, headers={"x-request-id": "mine"})
    assert bench.generate.request_ids == ["mine"]


class FailingOnce:
    """Fails for one prompt once the others wait."""

    def __init__(self, inner, error):
        self.inner = inner
        self.error = error

    async def __call__(self, request, *, request_id, deadline):
        if request.prompt == "bad":
            while len(self.inner.requests) < 2:
                await asyncio.sleep(0)
            raise self.error
        return await self.inner(request, request_id=request_id, deadline=deadline)

    def progress(self, request_id):
        return self.inner.progress(request_id)


async def test_one_failing_picture_stops_its_siblings(bench):
    fake = bench.generate
    fake.hold = asyncio.Event()
    bench.generate = FailingOnce(fake, QueueFull("Full.", retry_after_s=3.0))
    body = {"inputs": [tensor("PROMPT", "BYTES", ["a", "bad", "c"])]}
    async with bench.client() as client:
        response = await client.post(INFER, json=body)
    assert (response.status_code, response.json()["code"]) == (503, "queue_full")
    assert response.headers["retry-after"] == "3"
    assert len(fake.cancelled) == 2


async def test_a_defect_has_the_shape_and_shows_nothing(bench):
    bench.generate.error = RuntimeError("a secret path")
    response = await infer(bench)
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert response.headers["x-request-id"] in response.json()["error"]


async def test_a_client_that_leaves_stops_every_picture(bench):
    bench.generate.hold = asyncio.Event()
    body = {"inputs": [tensor("PROMPT", "BYTES", ["a", "b"])]}
    async with bench.client() as client:
        call = asyncio.create_task(client.post(INFER, json=body))
        while len(bench.generate.requests) < 2:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(bench.generate.cancelled) == 2


@pytest.mark.parametrize(
    ("timeout_us", "within_s"), [(None, 30.0), (0, 30.0), (2_500_000, 2.5), (99_000_000, 30.0)]
)
async def test_the_deadline_is_the_callers_or_ours(bench, timeout_us, within_s):
    loop = asyncio.get_running_loop()
    before_s = loop.time()
    parameters = {} if timeout_us is None else {"timeout": timeout_us}
    assert (await infer(bench, parameters=parameters)).status_code == 200
    (deadline,) = bench.generate.deadlines
    assert before_s + within_s <= deadline.at_s <= loop.time() + within_s


async def test_idempotency_keys_hold_here_too(bench):
    headers = {"Idempotency-Key": "k1"}
    async with bench.client() as client:
        first = await client.post(INFER, json={"inputs": [PROMPT]}, headers=headers)
        again = await client.post(INFER, json={"inputs": [PROMPT]}, headers=headers)
        other = await client.post(INFER, json={"inputs": [PROMPT], "id": "other"}, headers=headers)
    assert again.content == first.content
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len(bench.generate.requests) == 1
