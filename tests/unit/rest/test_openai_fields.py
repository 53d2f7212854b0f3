"""Which fields POST /v1/images/generations takes, what they mean, and which are refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.families.toy import toy_spec
from models.spec import SamplingDefaults
from service.intake import LimitsOptions
from tests.rest_kit import IMAGES

NEUTRAL = [
    ("quality", "auto"),
    ("quality", "standard"),
    ("background", "auto"),
    ("background", "opaque"),
    ("moderation", "auto"),
    ("moderation", "low"),
    ("style", "vivid"),
    ("style", "natural"),
    ("response_format", "b64_json"),
    ("stream", False),
    ("partial_images", 0),
    ("quality", "hd"),
    ("user", "u-1"),
    ("user", ""),
    ("safety_identifier", "s-1"),
    ("complexity", None),
    ("frame_count", None),
    ("svg", None),
]


@pytest.mark.parametrize(("field", "value"), NEUTRAL)
async def test_a_field_that_asks_for_nothing_special_is_accepted(bench, field, value):
    async with bench.client() as client:
        assert (await client.post(IMAGES, json={"prompt": "x", field: value})).status_code == 200


REFUSED = [
    ("quality", "best"),
    ("background", "transparent"),
    ("background", "clear"),
    ("moderation", "off"),
    ("style", "noir"),
    ("response_format", "url"),
    ("response_format", "jpeg"),
    ("stream", "true"),
    ("stream", 1),
    ("partial_images", 2),
    ("partial_images", -1),
    ("partial_images", 1.5),
    ("markup", "x"),
    ("strength", 0.5),
    ("input_fidelity", "high"),
    ("complexity", "high"),
    ("frame_count", 9),
    ("frame_duration_ms", 200),
    ("svg", {}),
    ("output_format", "gif"),
    ("output_format", "svg"),
    ("output_compression", 101),
    ("size", "1x1"),
    ("size", "64×64"),
    ("n", 0),
    ("n", 11),
    ("n", "1"),
    ("n", 1.0),
    ("n", True),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", "7"),
    ("num_inference_steps", 0),
    ("guidance_scale", -1),
    ("guidance_scale", "5"),
    ("scheduler", "nope"),
    ("scheduler", 3),
    ("negative_prompt", ["x"]),
    ("user", "u" * 513),
    ("steps", 20),
    ("Prompt", "x"),
    ("quality", 1),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
async def test_a_refused_field_is_named(bench, field, value):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", field: value})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == field
    assert error["code"] == "invalid_request"
    assert error["type"] == "invalid_request_error"
    assert f"'{field}'" in error["message"] or field in {"size", "scheduler"}
    assert bench.generate.requests == []


@pytest.mark.parametrize("body", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": ["a"]}])
async def test_a_prompt_is_required(bench, body):
    async with bench.client() as client:
        response = await client.post(IMAGES, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stream": True, "response_format": "url"}, "response_format"),
        ({"stream": True, "partial_images": 4}, "partial_images"),
        ({"stream": False, "partial_images": 1}, "partial_images"),
        ({"stream": None, "partial_images": 3}, "partial_images"),
    ],
)
async def test_fields_that_do_not_go_together_are_refused(bench, body, param):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert bench.generate.requests == []


@pytest.mark.parametrize(
    ("quality", "named", "steps"),
    [
        (None, "medium", 8),
        ("auto", "medium", 8),
        ("standard", "medium", 8),
        ("low", "low", 4),
        ("medium", "medium", 8),
        ("high", "high", 12),
        ("hd", "high", 12),
        ("xhigh", "xhigh", 16),
        ("max", "max", 20),  # 24, if the limit were not 20
    ],
)
async def test_quality_is_a_share_of_the_default_steps(bench, quality, named, steps):
    bench.limits = LimitsOptions(max_inference_steps=20)
    defaults = SamplingDefaults(num_inference_steps=8)
    bench.models["toy"] = replace(toy_spec(), defaults=defaults)
    async with bench.client() as client:
        answer = (await client.post(IMAGES, json={"prompt": "x", "quality": quality})).json()
    assert answer["quality"] == named
    assert bench.generate.requests[0].sampling.num_inference_steps == steps


async def test_half_of_one_step_is_one_step(bench):
    defaults = SamplingDefaults(num_inference_steps=1)
    bench.models["toy"] = replace(toy_spec(), defaults=defaults)
    async with bench.client() as client:
        await client.post(IMAGES, json={"prompt": "x", "quality": "low"})
    assert bench.generate.requests[0].sampling.num_inference_steps == 1


async def test_an_explicit_number_of_steps_wins_over_the_quality(bench):
    body = {"prompt": "x", "quality": "max", "num_inference_steps": 3}
    async with bench.client() as client:
        answer = (await client.post(IMAGES, json=body)).json()
    assert answer["quality"] == "max"
    assert bench.generate.requests[0].sampling.num_inference_steps == 3


@pytest.mark.parametrize(
    ("identifiers", "effective"),
    [
        ({"user": "u", "safety_identifier": "s"}, "s"),
        ({"user": "u", "safety_identifier": ""}, "u"),
        ({"user": "u"}, "u"),
        ({"user": "", "safety_identifier": None}, None),
    ],
)
async def test_the_effective_safety_identifier_is_echoed(bench, identifiers, effective):
    async with bench.client() as client:
        answer = (await client.post(IMAGES, json={"prompt": "x", **identifiers})).json()
    assert answer.get("safety_identifier") == effective
