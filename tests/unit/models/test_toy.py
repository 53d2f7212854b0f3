"""The toy: what tests of the engine and of the transports may rely on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.errors import ModelError
from models.families.toy import ToyModel, toy_spec
from models.noise import initial_noise
from models.schedules.solvers import Column
from models.stepping import advance


def sample(model, prompt, seed, scheduler="ddim", num_inference_steps=6):
    table = model.compile_solver(scheduler, num_inference_steps)
    shape = (1, *model.spec.latent.shape(64, 64))
    x = initial_noise(seed, shape) * np.float32(table.init_noise_scale)
    embeds = model.encode_prompt(prompt)
    history = model.arrays.zeros(shape)
    for row in table.coefficients.astype(np.float32):
        out = model.denoise(row[Column.S] * x, row[[Column.T]], embeds)
        x, history = advance(x, out, history, None, [c[None, None, None, None] for c in row[2:]])
    return x


def test_the_prompt_and_the_seed_both_show_in_the_picture():
    model = ToyModel()
    first = model.decode(sample(model, "a red cat", 1))
    assert first.shape == (1, 64, 64, 3)
    assert np.array_equal(first, model.decode(sample(model, "a red cat", 1)))
    assert not np.array_equal(first, model.decode(sample(model, "a red cat", 2)))
    assert not np.array_equal(first, model.decode(sample(model, "a blue dog", 1)))


@pytest.mark.parametrize("scheduler", ["euler", "dpmpp_2m", "dpmpp_2m_karras"])
def test_every_solver_comes_to_about_the_same_picture(scheduler):
    model = ToyModel()
    picture = sample(model, "a cat", 3, "ddim", 50)
    other_prompt = sample(model, "one dog", 3, "ddim", 50)
    difference = np.abs(sample(model, "a cat", 3, scheduler, 50) - picture).mean()
    assert difference < 0.1
    assert difference < 0.3 * np.abs(other_prompt - picture).mean()


def test_a_row_does_not_see_its_neighbours():
    model = ToyModel()
    latents = initial_noise(1, (5, 4, 16, 16))
    times = np.array([1, 250.5, 500, 750, 999], np.float32)
    embeds = np.concatenate([model.encode_prompt(f"word {i}") for i in range(5)])
    together = model.denoise(latents, times, embeds)
    for i in range(5):
        alone = model.denoise(latents[i : i + 1], times[i : i + 1], embeds[i : i + 1])
        assert np.array_equal(together[i : i + 1], alone)


def test_hooks_see_each_call_and_can_fail_it():
    calls = []

    def fail_at_low_noise(latents, timesteps):
        calls.append(len(latents))
        if timesteps.min() < 10:
            raise RuntimeError("injected")

    model = ToyModel(on_denoise=fail_at_low_noise)
    latents, embeds = np.zeros((2, 4, 16, 16), np.float32), model.encode_prompt("a")
    model.denoise(latents, np.full(2, 500, np.float32), np.concatenate([embeds, embeds]))
    with pytest.raises(RuntimeError, match="injected"):
        model.denoise(latents[:1], np.zeros(1, np.float32), embeds)
    assert calls == [2, 1]


def test_decode_can_fail_too():
    def fail(latents):
        raise RuntimeError("injected")

    with pytest.raises(RuntimeError, match="injected"):
        ToyModel(on_decode=fail).decode(np.zeros((1, 4, 16, 16), np.float32))


def test_words_beyond_the_window_are_counted_and_dropped():
    model = ToyModel()
    prompt = " ".join(f"w{i}" for i in range(40))
    assert model.count_tokens(prompt) == 40
    kept = " ".join(prompt.split()[: model.spec.max_prompt_tokens])
    assert np.array_equal(model.encode_prompt(prompt), model.encode_prompt(kept))


def test_the_spec_can_be_replaced_and_close_is_seen():
    model = ToyModel(dataclasses.replace(toy_spec(), model_id="other"))
    assert model.spec.model_id == "other"
    assert not model.is_closed
    model.close()
    assert model.is_closed


def test_a_picture_comes_back_from_its_latents():
    model = ToyModel()
    colours = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    pixels = colours.repeat(4, axis=1).repeat(4, axis=2)
    assert (model.decode(model.encode_image(pixels)) == pixels).all()


def test_a_toy_without_an_encoder_says_so():
    model = ToyModel(can_encode_image=False)
    assert not model.can_encode_image
    with pytest.raises(ModelError, match="no encoder"):
        model.encode_image(np.zeros((1, 64, 64, 3), np.uint8))
