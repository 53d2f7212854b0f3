"""Edits start from a picture, keep what the mask keeps, and share the engine with everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import ModelOutOfMemory
from models.families.toy import ToyModel, toy_spec
from service.domain.events import StepDone
from service.domain.request import EditSource, Original
from service.engine.editing import paste_kept, solver_table
from service.errors import DeviceOutOfMemory, InvalidRequest
from tests.factories import EngineBench, make_request, make_source

ORIGINALS = (Original(b"", "image/png"),)


def pixels_of(request, model=None):
    bench = EngineBench(model)
    _, sink = bench.submit(request)
    bench.run()
    return sink.images[0].pixels


def far(pixels, other):
    return np.abs(pixels.astype(int) - other.astype(int)).mean()


def test_strength_decides_how_many_steps_are_taken():
    bench = EngineBench()
    job, sink = bench.submit(make_request(steps=10, source=make_source(strength=0.35)))
    bench.run()
    assert (job.steps_done, job.steps_total) == (3, 3)
    assert len(sink.images) == 1


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_karras", "dpmpp_2m_karras"])
def test_the_weaker_the_edit_the_closer_it_stays_to_the_picture(scheduler):
    distances = []
    for strength in (0.1, 0.5, 1.0):
        source = make_source(strength=strength)
        request = make_request(steps=20, scheduler=scheduler, guidance=1.0, source=source)
        distances.append(far(pixels_of(request), source.pixels))
    assert distances[0] < distances[1] < distances[2]


def test_an_edit_depends_on_picture_seed_and_strength():
    base = make_request(steps=8, source=make_source(strength=0.5))
    others = [
        replace(base, source=make_source(strength=0.5, picture_seed=1)),
        replace(base, source=make_source(strength=0.75)),
        replace(base, sampling=replace(base.sampling, seed=8)),
        replace(base, source=None),
    ]
    first = pixels_of(base)
    assert (pixels_of(replace(base, source=make_source(strength=0.5))) == first).all()
    assert all((pixels_of(other) != first).any() for other in others)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_the_mask_keeps_comes_back_to_the_bit_and_the_rest_is_redrawn(strength):
    source = make_source(strength=strength, masked=True)
    pixels = pixels_of(make_request(steps=8, source=source))
    assert source.mask is not None
    kept, redrawn = source.mask == 0, source.mask == 255
    assert (pixels[kept] == source.pixels[kept]).all()
    assert (pixels[redrawn] != source.pixels[redrawn]).any()


def test_soft_edges_mix_in_proportion():
    mask = np.array([[0, 51, 128, 204, 255]], np.uint8)
    source = EditSource(np.full((1, 5, 3), 200, np.uint8), 0.5, ORIGINALS, mask)
    mixed = paste_kept(np.full((1, 5, 3), 100, np.uint8), source)
    assert mixed[0, :, 0].tolist() == [200, 180, 150, 120, 100]


def test_without_a_mask_nothing_is_pasted():
    pixels = np.full((64, 64, 3), 9, np.uint8)
    assert paste_kept(pixels, make_source()) is pixels
    assert paste_kept(pixels, None) is pixels


@pytest.mark.parametrize("masked", [False, True])
def test_edits_and_generations_share_a_call(masked):
    bench = EngineBench()
    bench.submit(make_request(steps=4, source=make_source(strength=1.0, masked=masked)))
    bench.submit(make_request(steps=4))
    bench.loop.tick()
    (step,) = [event for event in bench.observer.events if isinstance(event, StepDone)]
    assert step.images == 2


def test_a_picture_is_encoded_once_for_all_images_of_a_request():
    class CountingModel(ToyModel):
        encoded = 0

        def encode_image(self, pixels, blank=None):
            self.encoded += 1
            return super().encode_image(pixels, blank)

    model = CountingModel()
    bench = EngineBench(model, max_batch_rows=2)
    _, sink = bench.submit(make_request(num_images=3, source=make_source()))
    bench.run()
    assert len(set(sink.digests)) == 3
    assert model.encoded == 1


def test_a_picture_that_does_not_fit_the_device_ends_its_request_alone():
    class FullModel(ToyModel):
        def encode_image(self, pixels, blank=None):
            raise ModelOutOfMemory("no room for the encoder")

    bench = EngineBench(FullModel())
    _, bad = bench.submit(make_request(source=make_source()))
    _, good = bench.submit(make_request())
    bench.run()
    assert isinstance(bad.error, DeviceOutOfMemory)
    assert len(good.images) == 1
    assert bench.loop.running_images == 0


@pytest.mark.parametrize(
    ("model", "request_", "param"),
    [
        (ToyModel(can_encode_image=False), make_request(source=make_source()), "image"),
        (ToyModel(), make_request(steps=4, source=make_source(strength=0.2)), "strength"),
        (ToyModel(), make_request(steps=100_000), "num_inference_steps"),
    ],
)
def test_an_edit_that_cannot_be_done_is_refused_by_name(model, request_, param):
    with pytest.raises(InvalidRequest) as refusal:
        solver_table(model, request_)
    assert refusal.value.param == param


class MaskReader(ToyModel):
    """The toy as an inpainting network; remembers what it was given beside the latents."""

    def __init__(self) -> None:
        super().__init__(replace(toy_spec(), takes_mask=True))
        self.seen: list[np.ndarray] = []

    def denoise(self, latents, timesteps, prompt_embeds, inpainting=None):
        assert inpainting is not None
        assert len(inpainting) == len(latents)
        self.seen.append(inpainting)
        return super().denoise(latents, timesteps, prompt_embeds, inpainting)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_network_that_reads_masks_gets_one_for_every_row(pinned):
    model = MaskReader()
    bench = EngineBench(model, max_batch_rows=8, pin_batch_rows=pinned)
    bench.submit(make_request(steps=4, source=make_source(strength=1.0, masked=True)))
    bench.submit(make_request(steps=4, guidance=1.0))
    bench.run()
    masked, drawn, guided, *padding = model.seen[0]
    assert (masked == guided).all()
    assert (masked[0, :, :8] == 0).all()
    assert (masked[0, :, 9:] == 1).all()
    assert (drawn[0] == 1).all()
    assert (drawn[1:] == 0).all()
    assert len(padding) == (5 if pinned else 0)


def test_a_network_that_reads_masks_gives_the_same_bits_alone_and_in_a_mix():
    requests = [
        make_request(steps=6, seed=seed, source=source)
        for seed, source in enumerate(
            [make_source(masked=True), make_source(masked=True, strength=1.0), make_source(), None]
        )
    ]
    bench = EngineBench(MaskReader())
    sinks = [bench.submit(request)[1] for request in requests]
    bench.run()
    for request, sink in zip(requests, sinks, strict=True):
        assert sink.digests == bench.digests_alone(request)
