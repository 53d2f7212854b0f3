"""The draft of a request becomes a checked request, or an error that names the parameter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.families.toy import toy_spec
from service.domain.request import OutputFormat
from service.errors import InvalidRequest
from service.intake import MAX_SEED, GenerationDraft, LimitsOptions, build_request

LIMITS = LimitsOptions()
DRAFT = GenerationDraft(prompt="a red apple")


def test_defaults_come_from_the_model():
    request = build_request(DRAFT, toy_spec(), LIMITS)
    assert (request.width_px, request.height_px) == toy_spec().default_size_px
    assert request.sampling.num_inference_steps == toy_spec().defaults.num_inference_steps
    assert request.sampling.scheduler == toy_spec().defaults.scheduler
    assert request.num_images == 1
    assert request.output.format is OutputFormat.PNG


def test_a_seed_is_drawn_when_none_is_given():
    seeds = {build_request(DRAFT, toy_spec(), LIMITS).sampling.seed for _ in range(20)}
    assert len(seeds) == 20


def test_zero_is_a_value_and_not_a_default():
    request = build_request(replace(DRAFT, seed=0, guidance_scale=0.0), toy_spec(), LIMITS)
    assert request.sampling.seed == 0
    assert request.sampling.guidance_scale == 0.0


@pytest.mark.parametrize("size", ["auto", "64x64"])
def test_native_size_is_accepted(size):
    request = build_request(replace(DRAFT, size=size), toy_spec(), LIMITS)
    assert (request.width_px, request.height_px) == (64, 64)


@pytest.mark.parametrize(
    ("param", "change"),
    [
        ("prompt", {"prompt": ""}),
        ("prompt", {"prompt": " \n\t"}),
        ("prompt", {"prompt": "x" * (LIMITS.max_prompt_chars + 1)}),
        ("prompt", {"prompt": "half a pair \ud83d"}),
        ("negative_prompt", {"negative_prompt": "x" * (LIMITS.max_prompt_chars + 1)}),
        ("n", {"num_images": 0}),
        ("n", {"num_images": 11}),
        ("n", {"num_images": -1}),
        ("size", {"size": "1024x1024"}),
        ("size", {"size": "64X64"}),
        ("size", {"size": "64x64x64"}),
        ("size", {"size": ""}),
        ("size", {"size": "999999999999x64"}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": MAX_SEED + 1}),
        ("seed", {"seed": MAX_SEED, "num_images": 2}),
        ("num_inference_steps", {"num_inference_steps": 0}),
        ("num_inference_steps", {"num_inference_steps": 10_000}),
        ("guidance_scale", {"guidance_scale": -0.1}),
        ("guidance_scale", {"guidance_scale": float("nan")}),
        ("guidance_scale", {"guidance_scale": float("inf")}),
        ("scheduler", {"scheduler": "magic"}),
        ("scheduler", {"scheduler": ""}),
        ("output_format", {"output_format": "gif"}),
        ("output_compression", {"output_compression": 101}),
        ("output_compression", {"output_compression": -1}),
    ],
)
def test_a_bad_value_is_refused_by_name(param, change):
    with pytest.raises(InvalidRequest) as refusal:
        build_request(replace(DRAFT, **change), toy_spec(), LIMITS)
    assert refusal.value.param == param


def test_the_refusal_of_a_size_says_which_there_are():
    with pytest.raises(InvalidRequest, match="64x64"):
        build_request(replace(DRAFT, size="512x512"), toy_spec(), LIMITS)


def test_the_refusal_of_a_scheduler_says_which_there_are():
    with pytest.raises(InvalidRequest, match="ddim"):
        build_request(replace(DRAFT, scheduler="magic"), toy_spec(), LIMITS)
