"""Uploaded pictures become a source at the output size, or an error that names the parameter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.families.toy import toy_spec
from service.edit_intake import EditDraft, UploadedImage
from service.errors import InvalidRequest
from service.intake import GenerationDraft, LimitsOptions, build_request

SPEC = replace(
    toy_spec(), sizes_px=((64, 64), (96, 64), (64, 96), (128, 128)), default_size_px=(64, 64)
)


def upload(width_px=200, height_px=200, value=90):
    pixels = np.full((height_px, width_px, 3), value, np.uint8)
    return UploadedImage(pixels, b"the upload", "image/jpeg")


def build(edit, **changes):
    draft = replace(GenerationDraft(prompt="a red apple", edit=edit), **changes)
    return build_request(draft, SPEC, LimitsOptions())


def mask_of(image, redrawn=slice(None)):
    mask = np.zeros(image.pixels.shape[:2], np.uint8)
    mask[:, redrawn] = 255
    return mask


def test_a_generation_has_no_source():
    assert build(None).source is None


@pytest.mark.parametrize(
    ("size_px", "chosen"),
    [
        ((200, 200), (128, 128)),
        ((70, 60), (64, 64)),
        ((300, 200), (96, 64)),
        ((30, 40), (64, 96)),
        ((1000, 10), (96, 64)),
    ],
)
@pytest.mark.parametrize("size", [None, "auto"])
def test_the_size_that_fits_the_picture_is_chosen(size_px, chosen, size):
    request = build(EditDraft((upload(*size_px),)), size=size)
    assert (request.width_px, request.height_px) == chosen
    assert request.source.pixels.shape == (chosen[1], chosen[0], 3)


def test_a_size_that_is_asked_for_is_kept():
    request = build(EditDraft((upload(300, 100),)), size="64x96")
    assert request.source.pixels.shape == (96, 64, 3)


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    image = replace_pixels(upload(64, 64), np.random.default_rng(0))
    source = build(EditDraft((image,)), size="64x64").source
    assert (source.pixels == image.pixels).all()
    assert source.pixels is not image.pixels
    assert image.pixels.flags.writeable  # the caller's array stays the caller's


def replace_pixels(image, rng):
    return replace(image, pixels=rng.integers(0, 256, image.pixels.shape, dtype=np.uint8))


def test_the_original_travels_as_it_was_uploaded():
    (original,) = build(EditDraft((upload(),))).source.originals
    assert original == (b"the upload", "image/jpeg")


def test_a_mask_shrinks_with_its_picture_and_gets_a_soft_edge_at_most():
    image = upload(256, 256)
    mask = mask_of(image, slice(101, None))
    source = build(EditDraft((image,), mask), size="64x64").source
    assert source.mask.shape == (64, 64)
    assert (source.mask[:, :24] == 0).all()
    assert (source.mask[:, 27:] == 255).all()


@pytest.mark.parametrize(
    ("is_masked", "strength", "steps", "taken"),
    [
        (False, None, None, 0.8),
        (True, None, None, 1.0),
        (False, None, 1, 1.0),  # 0.8 of one step would be none
        (False, 0.5, None, 0.5),
        (True, 1.0, None, 1.0),
    ],
)
def test_strength_defaults_to_what_diffusers_defaults_to(is_masked, strength, steps, taken):
    image = upload()
    draft = EditDraft((image,), mask_of(image) if is_masked else None, strength)
    assert build(draft, num_inference_steps=steps).source.strength == taken


@pytest.mark.parametrize(
    ("draft", "param"),
    [
        (EditDraft(()), "image"),
        (EditDraft((upload(), upload())), "image"),
        (EditDraft((upload(),), np.full((10, 10), 255, np.uint8)), "mask"),
        (EditDraft((upload(),), np.zeros((200, 200), np.uint8)), "mask"),
        (EditDraft((upload(),), strength=0.0), "strength"),
        (EditDraft((upload(),), strength=1.01), "strength"),
        (EditDraft((upload(),), strength=float("nan")), "strength"),
        (EditDraft((upload(),), strength=0.1), "strength"),  # of four steps: none
    ],
)
def test_a_bad_edit_is_refused_by_name(draft, param):
    with pytest.raises(InvalidRequest) as refusal:
        build(draft)
    assert refusal.value.param == param


@pytest.mark.parametrize("count", [0, 1, 3])
def test_previews_are_counted(count):
    assert build(None, num_previews=count).num_previews == count


@pytest.mark.parametrize("count", [-1, 4])
def test_too_many_previews_are_refused_by_their_wire_name(count):
    with pytest.raises(InvalidRequest) as refusal:
        build(None, num_previews=count)
    assert refusal.value.param == "partial_images"
