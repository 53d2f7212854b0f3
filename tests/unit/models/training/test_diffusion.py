"""The noise schedule of training, against its own definition and the service's solver tables."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from models.training.diffusion import (
    Guidance,
    NoiseSchedule,
    guided_prediction,
    sample,
    sampling_times,
)

NO_GUIDANCE = Guidance(1.0)


@pytest.fixture(scope="module")
def schedule():
    return NoiseSchedule("cpu")


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 4, 4, generator=generator)


def knows(schedule, clean):
    """Return a denoiser that always points at `clean`."""

    def denoise(latents, t, embeds):
        signal, sigma = schedule.levels(t.long())
        return (signal * latents - clean) / sigma

    return denoise


def test_the_schedule_ends_in_pure_noise(schedule, pair):
    clean, noise = pair
    t = torch.tensor([0, 500, 999])
    noisy = schedule.add_noise(clean, noise, t)
    assert torch.equal(noisy[2], noise[2])
    assert torch.allclose(noisy[0], clean[0], atol=0.2)
    assert schedule.snr(t)[2] == 0


def test_the_velocity_gives_back_the_clean_latents(schedule, pair):
    clean, noise = pair
    t = torch.tensor([0, 500, 999])
    noisy = schedule.add_noise(clean, noise, t)
    velocity = schedule.velocity(clean, noise, t)
    assert torch.allclose(schedule.denoised(noisy, velocity, t), clean, atol=1e-5)


def test_a_step_along_the_true_velocity_stays_on_the_path(schedule, pair):
    clean, noise = pair
    t, t_next = torch.tensor([999, 700, 49]), torch.tensor([949, 100, -1])
    noisy = schedule.add_noise(clean, noise, t)
    stepped = schedule.step(noisy, schedule.velocity(clean, noise, t), t, t_next)
    assert torch.allclose(stepped, schedule.add_noise(clean, noise, t_next), atol=1e-5)


def test_the_velocity_between_two_points_is_the_step_solved_for_it(schedule, pair):
    noisy, velocity = pair
    t, t_next = torch.tensor([999, 700, 49]), torch.tensor([949, 100, -1])
    target = schedule.step(noisy, velocity, t, t_next)
    found = schedule.velocity_between(noisy, target, t, t_next)
    assert torch.allclose(found, velocity, atol=1e-4)


def test_sampling_is_the_training_schedule_step_by_step(schedule, pair):
    clean, noise = pair
    denoise = knows(schedule, clean)
    embeds = (torch.zeros(3, 1, 1), torch.zeros(3, 1, 1))
    drawn = sample(denoise, noise, embeds, 5, NO_GUIDANCE)
    times, latents = [*sampling_times(5), -1], noise
    for t, t_next in pairwise(times):
        now, after = torch.full((3,), t), torch.full((3,), t_next)
        latents = schedule.step(latents, denoise(latents, now, None), now, after)
    assert torch.allclose(drawn, latents, atol=1e-5)


def test_few_steps_visit_some_of_the_times_of_many():
    assert sampling_times(4) == [999, 749, 499, 249]
    assert set(sampling_times(4)) <= set(sampling_times(20))


def test_guidance_asks_for_both_halves_at_once():
    calls = []

    def denoise(latents, t, embeds):
        calls.append(len(latents))
        return embeds[:, :, None, None] * torch.ones_like(latents)

    latents, t = torch.ones(2, 1, 2, 2), torch.zeros(2)
    embeds = (torch.full((2, 1), 3.0), torch.full((2, 1), 1.0))
    guided = guided_prediction(denoise, latents, t, embeds, Guidance(2.0))
    assert calls == [4]
    assert torch.equal(guided, torch.full((2, 1, 2, 2), 5.0))
    assert torch.equal(guided_prediction(denoise, latents, t, embeds, NO_GUIDANCE), 3 * latents)
    assert calls == [4, 2]
