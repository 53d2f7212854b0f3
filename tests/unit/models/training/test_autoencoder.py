"""The autoencoder's task."""

from __future__ import annotations

import pytest
import torch

from models.training.autoencoder import (
    AutoencoderTask,
    decode,
    encode_mean,
    reconstruction_losses,
    standardised,
)
from tests.unit.models.training.networks import RECIPE, make_autoencoder, make_sampler
from tests.unit.models.training.shapes import SIDE_PX

NOISE = RECIPE.autoencoder.latent_noise


@pytest.fixture(scope="module")
def pixels():
    return make_sampler(5).sample(16).pixels


def losses_of(error, pixels):
    latents = torch.ones(len(pixels), 4, 2, 2)
    return reconstruction_losses(pixels + error, pixels, latents, RECIPE.autoencoder)


def test_a_perfect_reconstruction_costs_nothing(pixels):
    assert all(value == 0 for value in losses_of(0, pixels).values())


def test_a_lost_hue_costs_more_than_a_lost_brightness(pixels):
    grey = torch.full((1, 3, 1, 1), 0.1)
    hue = torch.tensor([0.1, -0.1, 0.1])[None, :, None, None]
    assert losses_of(hue, pixels)["chroma"] > 0.2
    assert losses_of(grey, pixels)["chroma"] == pytest.approx(0, abs=1e-6)
    assert losses_of(hue, pixels)["loss"] > losses_of(grey, pixels)["loss"]


def test_latents_that_outgrow_their_noise_cost(pixels):
    latents = torch.full((16, 4, 2, 2), 3.0)
    losses = reconstruction_losses(pixels, pixels, latents, RECIPE.autoencoder)
    assert losses["unit_variance"] == 64


def test_latents_that_jump_from_one_to_the_next_cost(pixels):
    board = torch.ones(16, 4, 2, 2)
    board[..., 0, 1] = board[..., 1, 0] = -1
    halves = torch.ones(16, 4, 2, 2)
    halves[..., 1] = -1
    of_board, of_halves = (
        reconstruction_losses(pixels, pixels, latents, RECIPE.autoencoder)
        for latents in (board, halves)
    )
    assert of_board["unit_variance"] == of_halves["unit_variance"] == 0
    # 4 between each pair of neighbours that differ: all of them, and those of one direction.
    assert of_board["smoothness"] == 8
    assert of_halves["smoothness"] == 4
    assert of_board["loss"] > of_halves["loss"] > 0


@torch.no_grad()
def test_a_release_has_unit_latents_and_the_same_pixels(pixels):
    vae = make_autoencoder()
    vae.quant_conv.bias += 0.7
    copy = standardised(vae, make_sampler(6), NOISE)
    latents = encode_mean(copy, make_sampler(7).sample(64).pixels)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.3
    assert latents.std(dim=(0, 2, 3)) == pytest.approx([1] * 4, abs=0.3)
    before, after = (decode(v, encode_mean(v, pixels)) for v in (vae, copy))
    assert torch.allclose(before, after, atol=1e-3)
    assert copy.config.scaling_factor == 1.0


@torch.no_grad()
def test_a_release_samples_with_the_noise_of_training(pixels):
    vae = make_autoencoder()
    scale = encode_mean(vae, make_sampler(6).sample(256).pixels).std(dim=(0, 2, 3))
    posterior = standardised(vae, make_sampler(6), NOISE).encode(pixels).latent_dist
    assert posterior.std.mean(dim=(0, 2, 3)) == pytest.approx(NOISE / scale, rel=0.1)


def test_the_task_learns_and_resumes_with_the_same_batches():
    def make():
        return AutoencoderTask(
            make_autoencoder(), RECIPE.autoencoder, make_sampler(), make_sampler(9)
        )

    first, second = make(), make()
    first.losses(first.network, 0)
    second.load_state_dict(first.state_dict())
    one, other = (task.losses(task.network, 1) for task in (first, second))
    assert one["loss"] == other["loss"]
    one["loss"].backward()
    assert all(p.grad is not None for p in first.vae.decoder.parameters())


@torch.no_grad()
def test_the_grid_shows_drawings_above_reconstructions():
    task = AutoencoderTask(make_autoencoder(), RECIPE.autoencoder, make_sampler(), make_sampler(9))
    grid, values = task.show()
    assert grid.shape == (2 * (SIDE_PX + 4) + 4, 12 * (SIDE_PX + 4) + 4, 3)
    assert 0 < values["psnr_db"] < 40
