"""Pictures in infer requests over HTTP: edits, large bodies, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from service.rest.options import RestOptions
from tests.oip_kit import (
    INFER,
    PROMPT,
    binary_request,
    raw_bytes,
    raw_tensor,
    tensor,
)
from tests.rest_kit import EDITS
from tests.rpc_kit import mask_png, png


async def infer(bench, *inputs, path=INFER, **members):
    async with bench.client() as client:
        return await client.post(path, json={"inputs": [PROMPT, *inputs], **members})


async def test_a_picture_can_be_edited(bench):
    content, mask = png(80, 80), mask_png(80, 80)
    members = {
        "inputs": [
            tensor("PROMPT", "BYTES", ["a", "b"]),
            raw_tensor("INIT_IMAGE", "BYTES", 1, raw_bytes(content)),
            tensor("MASK", "BYTES", [base64.b64encode(mask).decode()]),
            tensor("STRENGTH", "FP32", [0.5, 0.75]),
        ]
    }
    async with bench.client() as client:
        response = await client.post(INFER, **binary_request(members, raw_bytes(content)))
    assert response.status_code == 200, response.text
    sources = [request.source for request in bench.generate.requests]
    assert [source.strength for source in sources] == [0.5, 0.75]
    for source in sources:
        assert source.pixels.shape == (64, 64, 3)
        assert source.originals == ((content, "image/png"),)
        assert source.mask[:, 10].min() == 255  # transparent on the left: drawn anew
        assert source.mask[:, -10].max() == 0


async def test_a_picture_in_json_is_base64_with_or_without_saying_so(bench):
    text = base64.b64encode(png()).decode()
    said = {**tensor("INIT_IMAGE", "BYTES", [text]), "parameters": {"content_type": "base64"}}
    assert (await infer(bench, said)).status_code == 200
    assert (await infer(bench, tensor("INIT_IMAGE", "BYTES", [text]))).status_code == 200
    assert all(request.source is not None for request in bench.generate.requests)


async def test_a_larger_upload_than_json_bodies_may_be_is_taken(bench):
    bench.limits = bench.limits.model_copy(update={"max_body_bytes": 1024})
    content = png() + b"\0" * 4096  # what follows the file is ignored by decoders
    members = {"inputs": [PROMPT, raw_tensor("INIT_IMAGE", "BYTES", 1, raw_bytes(content))]}
    async with bench.client() as client:
        response = await client.post(INFER, **binary_request(members, raw_bytes(content)))
        assert response.status_code == 200, response.text
        too_much = await client.post(INFER, content=b"{" * (bench.limits.max_upload_bytes + 2000))
    assert (too_much.status_code, too_much.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_pictures_too_large_for_json_are_sent_to_binary_data(bench, is_chunked):
    bench.limits = bench.limits.model_copy(update={"max_body_bytes": 1024})
    text = base64.b64encode(png() + b"\0" * 4096).decode()
    body = json.dumps({"inputs": [PROMPT, tensor("INIT_IMAGE", "BYTES", [text])]}).encode()

    async def pieces():
        yield body

    async with bench.client() as client:
        response = await client.post(INFER, content=pieces() if is_chunked else body)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert "binary data" in response.json()["error"]
    assert bench.generate.requests == []


async def test_a_small_body_need_not_say_how_long_it_is(bench):
    async def pieces():
        yield json.dumps({"inputs": [PROMPT]}).encode()

    async with bench.client() as client:
        assert (await client.post(INFER, content=pieces())).status_code == 200


async def test_large_bodies_wait_outside_when_there_are_enough(bench):
    bench.options = RestOptions(max_held_upload_bytes=1024)
    arrived, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow():
        yield b"{"
        arrived.set()
        await may_go_on.wait()

    async with bench.client() as client:
        first = asyncio.create_task(client.post(INFER, content=slow()))
        await arrived.wait()
        second = await client.post(INFER, content=slow())
        small = await client.post(INFER, json={"inputs": [PROMPT]})
        may_go_on.set()
        assert (await first).status_code == 400
    assert (second.status_code, second.json()["code"]) == (503, "queue_full")
    assert small.status_code == 200


async def test_uploads_of_both_apis_count_together(bench):
    bench.options = RestOptions(max_held_upload_bytes=1024)
    bench.generate.hold = asyncio.Event()
    form = {"image": ("a.png", png() + b"\0" * 2000)}

    async def large():
        yield b"{"

    async with bench.client() as client:
        edit = asyncio.create_task(client.post(EDITS, files=form, data={"prompt": "x"}))
        await bench.generate.started.wait()
        refused = await client.post(INFER, content=large())
        bench.generate.hold.set()
        assert (await edit).status_code == 200
        assert (await client.post(INFER, content=large())).status_code == 400  # there is room
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")


async def test_a_bad_mask_is_refused_as_the_mask(bench):
    image = tensor("INIT_IMAGE", "BYTES", [base64.b64encode(png()).decode()])
    for mask, status in ((png(), 400), (b"x", 400), (mask_png(32, 32), 400), (mask_png(), 200)):
        encoded = base64.b64encode(mask).decode()
        response = await infer(bench, image, tensor("MASK", "BYTES", [encoded]))
        assert response.status_code == status
        assert status == 200 or response.json()["param"] == "MASK"


async def test_uploads_are_bounded_before_they_are_decoded(bench):
    bench.limits = bench.limits.model_copy(update={"max_upload_pixels": 4096})
    large = base64.b64encode(png(65, 64)).decode()
    small, mask = base64.b64encode(png()).decode(), base64.b64encode(mask_png(65, 64)).decode()
    image = tensor("INIT_IMAGE", "BYTES", [large])
    response = await infer(bench, image)
    assert (response.status_code, response.json()["param"]) == (413, "INIT_IMAGE")
    response = await infer(
        bench, tensor("INIT_IMAGE", "BYTES", [small]), tensor("MASK", "BYTES", [mask])
    )
    assert (response.status_code, response.json()["param"]) == (413, "MASK")
    assert bench.generate.requests == []
