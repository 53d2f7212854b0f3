from __future__ import annotations

import numpy as np
import pytest

from models.families.toy import ToyModel
from models.spec import SamplingDefaults
from models.training.drawing import Order, draw_pictures
from tests.factories import EngineBench, make_request

ORDERS = [Order("a red cat", 3), Order("a dog", 4), Order("", 5)]
SETTINGS = [
    SamplingDefaults(4, 3.0, 0.0, "ddim"),
    SamplingDefaults(5, 3.0, 0.7, "dpmpp_2m"),
    SamplingDefaults(3, 1.0, 0.0, "euler_ancestral"),
]


def draw(orders, sampling, batch_size=8, model=None):
    batches = draw_pictures(model or ToyModel(), orders, (64, 64), sampling, batch_size)
    return np.concatenate(list(batches))


def served(order, sampling):
    bench = EngineBench()
    request = make_request(
        prompt=order.prompt,
        seed=order.seed,
        steps=sampling.num_inference_steps,
        guidance=sampling.guidance_scale,
        scheduler=sampling.scheduler,
        rescale=sampling.guidance_rescale,
    )
    _, sink = bench.submit(request)
    bench.run()
    return sink.images[0].pixels


@pytest.mark.parametrize("sampling", SETTINGS, ids=lambda sampling: sampling.scheduler)
def test_pictures_are_those_that_the_service_draws(sampling):
    drawn = draw(ORDERS, sampling)
    for order, pixels in zip(ORDERS, drawn, strict=True):
        np.testing.assert_array_equal(pixels, served(order, sampling))


def test_the_batch_size_changes_nothing():
    one, all_at_once = (draw(ORDERS, SETTINGS[1], batch_size=size) for size in (1, 8))
    np.testing.assert_array_equal(one, all_at_once)


def test_latents_that_are_not_finite_are_refused():
    def spoil(latents, timesteps):
        latents[0, 0, 0, 0] = np.nan

    with pytest.raises(FloatingPointError):
        draw(ORDERS[:1], SETTINGS[0], model=ToyModel(on_denoise=spoil))
