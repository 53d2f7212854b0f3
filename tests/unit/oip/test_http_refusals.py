"""What infer requests over HTTP are refused for, and which field or tensor is named."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from models.families.toy import toy_spec
from tests.oip_kit import (
    INFER,
    PROMPT,
    binary_request,
    raw_bytes,
    raw_tensor,
    read_answer,
    tensor,
)


async def infer(bench, *inputs, path=INFER, **members):
    async with bench.client() as client:
        return await client.post(path, json={"inputs": [PROMPT, *inputs], **members})


async def refusal(bench, *inputs, status=400, **members):
    response = await infer(bench, *inputs, **members)
    assert response.status_code == status, response.text
    assert bench.generate.requests == []
    return response.json()


@pytest.mark.parametrize(
    ("inputs", "param"),
    [
        ([tensor("CFG", "FP32", [1])], "CFG"),
        ([tensor("STEPS", "INT64", [1])], "STEPS"),
        ([tensor("STEPS", "NUMBER", [1])], "STEPS"),
        ([tensor("STEPS", "INT32", [1, 2])], "STEPS"),
        ([tensor("STEPS", "INT32", [])], "STEPS"),
        ([tensor("STEPS", "INT32", [1], [1, 1, 1])], "STEPS"),
        ([tensor("STEPS", "INT32", [1], [2, 1])], "STEPS"),
        ([tensor("STEPS", "INT32", [1], [-1])], "STEPS"),
        ([tensor("STEPS", "INT32", [0])], "STEPS"),
        ([tensor("STEPS", "INT32", [2**31])], "STEPS"),
        ([tensor("STEPS", "INT32", [True])], "STEPS"),
        ([tensor("STEPS", "INT32", ["4"])], "STEPS"),
        ([tensor("SEED", "INT64", [-1])], "SEED"),
        ([tensor("GUIDANCE_SCALE", "FP32", [1e39])], "GUIDANCE_SCALE"),
        ([tensor("GUIDANCE_SCALE", "FP32", [1000])], "GUIDANCE_SCALE"),
        ([tensor("WIDTH", "INT32", [64])], "WIDTH"),
        ([tensor("WIDTH", "INT32", [-64]), tensor("HEIGHT", "INT32", [64])], "WIDTH"),
        ([tensor("WIDTH", "INT32", [65]), tensor("HEIGHT", "INT32", [64])], "WIDTH"),
        ([tensor("MASK", "BYTES", ["eA=="])], "MASK"),
        ([tensor("STRENGTH", "FP32", [0.5])], "STRENGTH"),
        ([tensor("INIT_IMAGE", "BYTES", ["eA=="])], "INIT_IMAGE"),
        ([tensor("INIT_IMAGE", "BYTES", ["not base64"])], "INIT_IMAGE"),
        ([tensor("NEGATIVE_PROMPT", "BYTES", ["x" * 5000])], "NEGATIVE_PROMPT"),
        (
            [tensor("NEGATIVE_PROMPT", "BYTES", ["x"]), tensor("NEGATIVE_PROMPT", "BYTES", ["x"])],
            "NEGATIVE_PROMPT",
        ),
        (
            [{**tensor("SEED", "INT64", [1]), "parameters": {"shared_memory_region": "r"}}],
            "shared_memory_region",
        ),
        ([{**tensor("SEED", "INT64", [1]), "parameters": {"content_type": "base64"}}], "SEED"),
        ([{**tensor("SEED", "INT64", [1]), "parameters": {"binary_data_size": 8}}], "SEED"),
        ([{"name": "SEED", "datatype": "INT64", "shape": [1]}], "SEED"),
        ([{"datatype": "INT64", "shape": [1], "data": [1]}], "inputs"),
        ([{**tensor("SEED", "INT64", [1]), "extra": 1}], "extra"),
        ([tensor(f"T{i}", "INT64", [1]) for i in range(40)], "inputs"),
    ],
)
async def test_a_wrong_input_is_refused_by_name(bench, inputs, param):
    answer = await refusal(bench, *inputs)
    assert answer["code"] == "invalid_request"
    assert answer["param"] == param
    assert param in answer["error"]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"outputs": [{"name": "PIXELS"}]}, "PIXELS"),
        ({"outputs": [{"name": "IMAGE"}, {"name": "IMAGE"}]}, "IMAGE"),
        ({"outputs": [{"name": "IMAGE", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "IMAGE", "parameters": {"binary_data": 1}}]}, "binary_data"),
        ({"outputs": "IMAGE"}, "outputs"),
        ({"parameters": {"sequence_id": 3}}, "sequence_id"),
        ({"parameters": {"priority": 1}}, "priority"),
        ({"parameters": {"scheduler": "nope"}}, "scheduler"),
        ({"parameters": {"scheduler": 3}}, "scheduler"),
        ({"parameters": {"output_format": "gif"}}, "output_format"),
        ({"parameters": {"output_compression": "80"}}, "output_compression"),
        ({"parameters": {"output_compression": 101}}, "output_compression"),
        ({"parameters": {"timeout": -1}}, "timeout"),
        ({"parameters": {"scheduler": []}}, "scheduler"),
        ({"parameters": [1]}, "parameters"),
        ({"id": 5}, "id"),
        ({"stream": True}, "stream"),
        ({"model_name": "other"}, "model_name"),
    ],
)
async def test_a_wrong_member_is_refused_by_name(bench, members, param):
    answer = await refusal(bench, **members)
    assert answer["param"] == param
    assert param in answer["error"]


@pytest.mark.parametrize(
    "inputs", [None, [], {}, [tensor("SEED", "INT64", [1])], [tensor("PROMPT", "BYTES", [], [0])]]
)
async def test_a_prompt_is_required(bench, inputs):
    async with bench.client() as client:
        response = await client.post(INFER, json={"inputs": inputs})
    assert response.status_code == 400
    assert response.json()["param"] in ("inputs", "PROMPT")


async def test_more_prompts_than_pictures_per_request_are_refused(bench):
    most = bench.limits.max_images_per_request
    body = {"inputs": [tensor("PROMPT", "BYTES", ["x"] * (most + 1))]}
    async with bench.client() as client:
        response = await client.post(INFER, json=body)
    assert (
        response.json()["error"] == f"'PROMPT' has {most + 1} elements; at most {most} are allowed."
    )


async def test_the_prompt_at_fault_is_named(bench):
    body = {"inputs": [tensor("PROMPT", "BYTES", ["fine", " "])]}
    async with bench.client() as client:
        response = await client.post(INFER, json=body)
    assert response.json()["error"] == "Prompt 1: 'PROMPT' must not be empty."
    assert bench.generate.requests == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\xed\xa0\x80"])
async def test_a_prompt_must_be_utf_8(bench, content):
    raw = raw_bytes(content)
    members = {"inputs": [raw_tensor("PROMPT", "BYTES", 1, raw)]}
    async with bench.client() as client:
        response = await client.post(INFER, **binary_request(members, raw))
    assert response.status_code == 400
    assert response.json()["param"] == "PROMPT"


@pytest.mark.parametrize("length", ["", "-1", "1e3", "²", "9" * 13, "99999", "5", "0"])
async def test_a_header_length_that_lies_is_refused(bench, length):
    raw = raw_bytes(b"x")
    call = binary_request({"inputs": [raw_tensor("PROMPT", "BYTES", 1, raw)]}, raw)
    call["headers"]["Inference-Header-Content-Length"] = length.encode("latin-1")
    async with bench.client() as client:
        response = await client.post(INFER, **call)
    assert response.status_code == 400
    assert bench.generate.requests == []


@pytest.mark.parametrize(
    ("sections", "size"),
    [
        (b"", None),
        (raw_bytes(b"x")[:-1], None),
        (raw_bytes(b"x") + b"y", None),
        (raw_bytes(b"x"), 4),
        (raw_bytes(b"x"), -1),
        (raw_bytes(b"x"), 2**40),
        (raw_bytes(b"x"), "5"),
    ],
)
async def test_sections_that_do_not_fit_are_refused(bench, sections, size):
    item = raw_tensor("PROMPT", "BYTES", 1, raw_bytes(b"x"))
    if size is not None:
        item["parameters"]["binary_data_size"] = size
    async with bench.client() as client:
        response = await client.post(INFER, **binary_request({"inputs": [item]}, sections))
    assert response.status_code == 400
    assert response.json()["param"] in ("PROMPT", "inputs")
    assert bench.generate.requests == []


async def test_a_media_type_or_encoding_that_is_not_read_is_refused(bench):
    async with bench.client() as client:
        form = await client.post(INFER, data={"a": "b"})
        packed = await client.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"})
    assert [form.status_code, packed.status_code] == [415, 415]


async def test_nothing_is_drawn_before_the_model_has_loaded(bench):
    bench.is_loaded = False
    response = await infer(bench)
    assert (response.status_code, response.json()["code"]) == (503, "model_not_ready")
    assert bench.metric('mintmark_admission_refusals_total{reason="model_not_ready"}') == 1


async def test_a_version_that_is_not_served_is_not_found(bench):
    assert (await infer(bench, path="/v2/models/toy/versions/1/infer")).status_code == 404
    path = f"/v2/models/toy/versions/{toy_spec().revision}/infer"
    assert (await infer(bench, path=path)).status_code == 200


async def test_a_model_with_a_slash_in_its_name_can_be_called(bench):
    bench.models["org/another"] = replace(toy_spec(), model_id="org/another")
    answer = read_answer(await infer(bench, path="/v2/models/org/another/infer"))
    assert answer.json["model_name"] == "org/another"


async def test_a_large_answer_is_sent_whole(bench):
    bench.generate.content = bytes(range(256)) * 4096 + b"!"
    answer = read_answer(await infer(bench))
    assert base64.b64decode(answer.output("IMAGE")["data"][0]) == bench.generate.content
