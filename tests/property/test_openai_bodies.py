"""JSON and forms mean the same, and whatever comes in is either a draft or a refusal by name."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from models.families.toy import toy_spec
from models.spec import SamplingDefaults
from service.domain.request import GenerationRequest
from service.errors import InvalidRequest
from service.intake import LimitsOptions, build_request
from service.rest.openai_convert import QUALITY_SHARES, quality_of, strength_of, to_draft
from service.rest.openai_present import Presenter
from service.rest.openai_schema import (
    UNSUPPORTED,
    ImagesEditBody,
    ImagesGenerateBody,
    parse_form_body,
    parse_json_body,
)
from service.rest.openapi_answers import Usage

LIMITS = LimitsOptions()
SPEC = toy_spec()
WHOLE = st.integers(-(10**20) + 1, 10**20 - 1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)

VALUES = {
    "prompt": st.text(min_size=1, max_size=20),
    "model": st.text(min_size=1, max_size=20),
    "n": WHOLE,
    "size": st.sampled_from(["auto", "64x64", "1x1", "x"]),
    "quality": st.sampled_from(["auto", "standard", "hd", *QUALITY_SHARES, "best"]),
    "background": st.sampled_from(["auto", "opaque", "transparent"]),
    "output_format": st.sampled_from(["png", "jpeg", "webp", "gif"]),
    "output_compression": WHOLE,
    "response_format": st.sampled_from(["b64_json", "url"]),
    "stream": st.booleans(),
    "partial_images": st.integers(-1, 4),
    "user": st.text(min_size=1, max_size=20),
    "negative_prompt": st.text(min_size=1, max_size=20),
    "seed": WHOLE,
    "num_inference_steps": WHOLE,
    "guidance_scale": NUMBER,
    "scheduler": st.sampled_from(["ddim", "euler", "x"]),
    "input_fidelity": st.sampled_from(["low", "high", "x"]),
    "strength": NUMBER,
    **dict.fromkeys(UNSUPPORTED, st.just("x")),
}
BODIES = st.fixed_dictionaries({"prompt": VALUES.pop("prompt")}, optional=VALUES)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


NAMES = st.sampled_from(["prompt", *VALUES, "moderation", "other"])


def as_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def outcome(parse, members, model):
    try:
        return parse(members, model)
    except InvalidRequest as refusal:
        return refusal.param


def built(draft):
    try:
        return build_request(draft, SPEC, LIMITS)
    except InvalidRequest as refusal:
        return refusal.param


@given(BODIES)
def test_a_form_means_what_the_same_json_means(body):
    form = {name: as_text(value) for name, value in body.items()}
    assert outcome(parse_form_body, form, ImagesEditBody) == outcome(
        parse_json_body, body, ImagesEditBody
    )


@given(
    st.dictionaries(
        st.sampled_from(["prompt", *VALUES, "moderation", "other"]), ANYTHING, max_size=6
    )
)
def test_any_json_is_a_body_or_a_refusal_that_names_a_field(members):
    result = outcome(parse_json_body, {"prompt": "x"} | members, ImagesGenerateBody)
    assert isinstance(result, ImagesGenerateBody) or result in {*members, "prompt"}


@given(BODIES)
def test_a_body_that_is_taken_is_a_request_or_a_refusal_that_names_a_field(body):
    parsed = outcome(parse_json_body, body, ImagesEditBody)
    if not isinstance(parsed, ImagesEditBody):
        return
    request = built(to_draft(parsed, SPEC, LIMITS))
    if not isinstance(request, GenerationRequest):
        assert request in {*VALUES, "prompt"}
        return
    assert request.prompt == parsed.prompt
    if parsed.seed is not None:
        assert request.sampling.seed == parsed.seed
    if parsed.num_inference_steps is not None:
        assert request.sampling.num_inference_steps == parsed.num_inference_steps
    assert request.num_images == (parsed.n or 1)
    assert request.num_previews == (parsed.partial_images or 0)
    assert quality_of(parsed) in QUALITY_SHARES
    strength = strength_of(parsed, SPEC, LIMITS)
    assert parsed.strength is None or strength == parsed.strength
    usage = Presenter.of(parsed, request, SPEC).usage(7, request.num_images, 0)
    positions = (request.width_px // 4) * (request.height_px // 4)
    assert usage["output_tokens"] == positions * request.num_images
    assert (
        Usage.model_validate(usage).total_tokens == usage["input_tokens"] + usage["output_tokens"]
    )


@given(st.sampled_from(sorted(QUALITY_SHARES)), st.integers(1, 1000), st.integers(1, 1000))
def test_more_quality_never_means_fewer_steps(quality, default_steps, max_steps):
    spec = replace(SPEC, defaults=SamplingDefaults(num_inference_steps=default_steps))
    limits = LimitsOptions(max_inference_steps=max_steps)

    def steps(name):
        body = ImagesGenerateBody(prompt="x", quality=name)
        asked = to_draft(body, spec, limits).num_inference_steps
        return min(default_steps, max_steps) if asked is None else asked

    assert 1 <= steps("low") <= steps(quality) <= steps("max") <= max_steps
