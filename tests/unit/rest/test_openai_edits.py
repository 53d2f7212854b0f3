"""POST /v1/images/edits: its form, its pictures, what is refused and how much is held."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest
from PIL import Image

from service.intake import LimitsOptions
from service.rest.multipart import FormLimits
from service.rest.openai_uploads import edit_body_limit_bytes
from service.rest.options import RestOptions
from tests.pictures import mask_png, picture_file, png
from tests.rest_kit import EDITS

PICTURE = ("image", ("a.png", png(), "image/png"))
MASK = ("mask", ("m.png", mask_png(), "image/png"))


def text(**fields):
    return [(name, (None, str(value))) for name, value in fields.items()]


async def post(bench, *parts, headers=None):
    async with bench.client() as client:
        return await client.post(EDITS, files=list(parts), headers=headers)


async def test_a_picture_is_edited(bench):
    response = await post(bench, PICTURE, *text(prompt="a blue apple", n=2, seed=5))
    assert response.status_code == 200
    answer = response.json()
    assert [base64.b64decode(item["b64_json"]) for item in answer["data"]] == [
        bench.generate.content
    ] * 2
    (request,) = bench.generate.requests
    assert request.prompt == "a blue apple"
    assert request.num_images == 2
    assert request.sampling.seed == 5
    assert request.source is not None
    assert request.source.originals == ((png(), "image/png"),)
    assert request.source.mask is None
    assert answer["usage"]["input_tokens_details"] == {"text_tokens": 3, "image_tokens": 256}
    assert answer["usage"]["output_tokens"] == 512


async def test_every_text_field_reaches_the_use_case(bench):
    fields = {
        "prompt": "a",
        "negative_prompt": "b",
        "size": "96x64",
        "num_inference_steps": "9",
        "guidance_scale": "4.5",
        "scheduler": "euler",
        "output_format": "webp",
        "output_compression": "80",
        "strength": "0.25",
        "model": "toy",
        "user": "u-1",
        "stream": "false",
        "background": "opaque",
    }
    response = await post(bench, PICTURE, *text(**fields))
    assert response.status_code == 200
    (request,) = bench.generate.requests
    assert (request.width_px, request.height_px) == (96, 64)
    assert request.sampling.num_inference_steps == 9
    assert request.sampling.guidance_scale == 4.5
    assert request.output.compression == 80
    assert request.source is not None
    assert request.source.strength == 0.25
    assert response.json()["safety_identifier"] == "u-1"


async def test_without_a_size_the_nearest_one_is_drawn(bench):
    wide = ("image", ("a.png", png(192, 128), "image/png"))
    answer = (await post(bench, wide, *text(prompt="x"))).json()
    assert answer["size"] == "96x64"


async def test_what_is_transparent_in_the_mask_is_drawn_anew(bench):
    assert (await post(bench, PICTURE, MASK, *text(prompt="x"))).status_code == 200
    source = bench.generate.requests[0].source
    assert source is not None
    assert source.mask is not None
    assert (source.mask[:, :32] == 255).all()
    assert (source.mask[:, 32:] == 0).all()


@pytest.mark.parametrize(
    ("fields", "strength"),
    [
        ({}, 0.8),
        ({"input_fidelity": "low"}, 0.8),
        ({"input_fidelity": "high"}, 0.5),
        ({"input_fidelity": "high", "strength": "0.9"}, 0.9),
        # Half of one step is none: such a request is not made to fail by a word.
        ({"input_fidelity": "high", "num_inference_steps": "1"}, 1.0),
    ],
)
async def test_fidelity_is_a_strength_unless_one_is_given(bench, fields, strength):
    assert (await post(bench, PICTURE, *text(prompt="x", **fields))).status_code == 200
    source = bench.generate.requests[0].source
    assert source is not None
    assert source.strength == strength


@pytest.mark.parametrize("name", ["image", "image[]"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
async def test_pictures_of_every_format_are_taken_under_both_names(bench, name, file_format):
    content = picture_file(Image.new("RGB", (64, 64), "red"), file_format)
    # What it is called and said to be does not matter; what it is does.
    response = await post(bench, (name, ("x.bin", content)), *text(prompt="x"))
    assert response.status_code == 200
    source = bench.generate.requests[0].source
    assert source is not None
    assert source.originals[0].mime_type == f"image/{file_format.lower()}"


def opaque_png():
    return picture_file(Image.new("RGB", (64, 64)))


def cut_off(content):
    return content[: len(content) // 2]


REFUSED_FILES = [
    ([], "image", 400),
    ([("image", ("a.png", b""))], "image", 400),
    ([("image", ("a.png", b"no picture"))], "image", 400),
    ([("image", ("a.png", cut_off(png())))], "image", 400),
    ([("image", ("a.gif", picture_file(Image.new("RGB", (64, 64)), "GIF")))], "image", 400),
    ([("image", ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"))], "image", 400),
    ([PICTURE, PICTURE], "image", 400),
    ([("image[]", ("a.png", png())), ("image[]", ("b.png", png()))], "image", 400),
    ([("image", (None, "https://example.com/a.png"))], "image", 400),
    ([("image[0]", ("a.png", png()))], "image[0]", 400),
    ([PICTURE, MASK, MASK], "mask", 400),
    ([PICTURE, ("mask", (None, "none"))], "mask", 400),
    ([PICTURE, ("mask", ("m.png", b""))], "mask", 400),
    ([PICTURE, ("mask", ("m.png", b"no picture"))], "mask", 400),
    ([PICTURE, ("mask", ("m.png", cut_off(mask_png())))], "mask", 400),
    ([PICTURE, ("mask", ("m.png", mask_png(96, 64)))], "mask", 400),
    ([PICTURE, ("mask", ("m.png", opaque_png()))], "mask", 400),
    (
        [PICTURE, ("mask", ("m.webp", picture_file(Image.new("RGBA", (64, 64)), "WEBP")))],
        "mask",
        400,
    ),
    ([PICTURE, ("markup", ("m.png", mask_png()))], "markup", 400),
    ([PICTURE, ("prompt", ("p.txt", b"x"))], "prompt", 400),
    ([PICTURE, ("attachment", ("a.png", png()))], "attachment", 400),
    ([("image", ("a.png", png(600, 600)))], "image", 413),
    ([PICTURE, ("mask", ("m.png", mask_png(600, 600)))], "mask", 413),
    ([("image", ("a.png", png() + b"x" * 80_000))], "image", 413),
]


@pytest.mark.parametrize(("files", "param", "status"), REFUSED_FILES)
async def test_a_refused_file_is_named(bench, files, param, status):
    bench.limits = LimitsOptions(max_upload_bytes=65_536, max_upload_pixels=300 * 300)
    response = await post(bench, *files, *text(prompt="x"))
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert bench.generate.requests == []


async def test_a_mask_that_keeps_everything_is_refused(bench):
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[0, 0, 3] = 255
    opaque = picture_file(Image.fromarray(pixels))
    response = await post(bench, PICTURE, ("mask", ("m.png", opaque)), *text(prompt="x"))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "mask"


REFUSED_FIELDS = [
    ("prompt", ""),
    ("n", "0"),
    ("n", "two"),
    ("n", "2.0"),
    ("n", " 2"),
    ("n", "1_0"),
    ("n", "٣"),
    ("n", "9" * 30),
    ("seed", "-1"),
    ("guidance_scale", "nan"),
    ("guidance_scale", "1e999"),
    ("guidance_scale", "0x10"),
    ("strength", "0"),
    ("strength", "1.5"),
    ("strength", "inf"),
    ("input_fidelity", "medium"),
    ("stream", "maybe"),
    ("size", "1x1"),
    ("quality", "best"),
    ("background", "transparent"),
    ("output_format", "gif"),
    ("partial_images", "1"),
    ("response_format", "url"),
    ("complexity", "high"),
    ("frame_count", "9"),
    ("svg", "x"),
    ("style", "vivid"),
    ("lora", "x"),
    ("user", "u" * 513),
]


@pytest.mark.parametrize(("field", "value"), REFUSED_FIELDS)
async def test_a_refused_field_is_named(bench, field, value):
    fields = {"prompt": "x", field: value}
    response = await post(bench, PICTURE, *text(**fields))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert bench.generate.requests == []


@pytest.mark.parametrize(
    ("name", "param"),
    [("n[]", "n"), ("seed[x]", "seed"), ("svg[model]", "svg"), ("lora[a]", "lora")],
)
async def test_a_field_with_brackets_is_named(bench, name, param):
    response = await post(bench, PICTURE, *text(prompt="x"), (name, (None, "1")))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_an_empty_field_is_not_said(bench):
    fields = {"n": "", "size": "", "mask_hint": None, "stream": "", "strength": "", "user": ""}
    del fields["mask_hint"]
    assert (await post(bench, PICTURE, *text(prompt="x", **fields))).status_code == 200
    assert bench.generate.requests[0].num_images == 1


async def test_json_is_refused_by_its_type(bench):
    async with bench.client() as client:
        response = await client.post(EDITS, json={"prompt": "x", "image": "aGk="})
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"


async def test_an_unknown_model_is_not_found(bench):
    response = await post(bench, PICTURE, *text(prompt="x", model="gpt-image-9"))
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_the_whole_form_is_bounded(bench):
    bench.limits = LimitsOptions(max_upload_bytes=1024)
    limit_bytes = edit_body_limit_bytes(bench.limits)
    parts = [("image", ("a.png", b"x" * 1000))] * (limit_bytes // 1000 + 1)
    response = await post(bench, *parts, *text(prompt="x"))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "payload_too_large"


def test_the_form_may_hold_what_openai_allows():
    limits = LimitsOptions()
    assert (
        edit_body_limit_bytes(limits) > limits.max_upload_bytes + FormLimits(0, 0).max_field_bytes
    )


async def test_uploads_of_all_requests_together_are_bounded(bench):
    bench.options = RestOptions(max_held_upload_bytes=1024)
    bench.generate.hold = asyncio.Event()
    large = ("image", ("a.png", png() + b"\0" * 2000))
    async with bench.client() as client:
        first = asyncio.create_task(
            client.post(EDITS, files=[large, *text(prompt="x", stream="true")])
        )
        await bench.generate.started.wait()
        second = await client.post(EDITS, files=[large, *text(prompt="x")])
        bench.generate.hold.set()
        assert (await first).status_code == 200
        third = await client.post(EDITS, files=[large, *text(prompt="x")])
    assert second.status_code == 503
    assert second.json()["error"]["code"] == "queue_full"
    assert int(second.headers["retry-after-ms"]) > 0
    assert third.status_code == 200


async def vary(bench, *parts):
    async with bench.client() as client:
        return await client.post("/v1/images/variations", files=list(parts))


@pytest.mark.parametrize(
    ("fields", "strength"),
    [({}, 0.5), ({"strength": "0.9"}, 0.9), ({"input_fidelity": "low"}, 0.8)],
)
async def test_a_variation_keeps_half_unless_told_otherwise(bench, fields, strength):
    assert (await vary(bench, PICTURE, *text(**fields))).status_code == 200
    (request,) = bench.generate.requests
    assert request.prompt == ""
    assert request.source is not None
    assert request.source.strength == strength


@pytest.mark.parametrize(
    ("parts", "param"), [([], "image"), ([PICTURE, MASK], "mask"), ([PICTURE, PICTURE], "image")]
)
async def test_a_variation_takes_one_picture_and_no_mask(bench, parts, param):
    response = await vary(bench, *parts, *text(n="1"))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert bench.generate.requests == []


async def test_an_edit_still_needs_a_prompt(bench):
    response = await post(bench, PICTURE, *text(prompt=""))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"
