"""The denoiser's task."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models.training.denoiser import DenoiserNetwork, DenoiserTask
from models.training.diffusion import NoiseSchedule
from tests.unit.models.training.networks import (
    RECIPE,
    make_bank,
    make_encoder,
    make_gallery,
    make_tokenizer,
    make_unet,
)

COUNT = 40


class Recorder(torch.nn.Module):
    """Stands for the network: keeps what it was asked, answers zero."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, noisy, t, ids):
        self.calls.append((noisy, t, ids))
        return torch.zeros_like(noisy)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokens") / "tokenizer")


@pytest.fixture
def make_task(tokenizer):
    def make(**changes):
        training = dataclasses.replace(RECIPE.denoiser.training, batch=COUNT)
        recipe = dataclasses.replace(RECIPE.denoiser, training=training, **changes)
        network = DenoiserNetwork(make_unet(), make_encoder(tokenizer))
        return DenoiserTask(network, recipe, make_bank(tokenizer), make_gallery(tokenizer))

    return make


@pytest.mark.parametrize(("step", "high"), [(0, 32), (12, 16)])
def test_high_noise_gets_its_share_and_all_levels_are_visited(make_task, step, high):
    recorder = Recorder()
    make_task(high_noise_share=(0.8, 0.4), high_noise_from=0.5).losses(recorder, step)
    t = recorder.calls[0][1]
    assert (t >= 500).sum() == high
    assert t.min() < 50
    assert t.max() > 950
    # Evenly spread: no gap wider than two slots.
    assert t.sort().values.diff().max() <= 2 * 500 / min(high, COUNT - high) + 1


def test_some_captions_are_dropped(make_task, tokenizer):
    recorder = Recorder()
    task = make_task(caption_dropout=0.5)
    for step in range(5):
        task.losses(recorder, step)
    ids = torch.cat([call[2] for call in recorder.calls])
    empty = torch.from_numpy(tokenizer.encode(""))
    share = (ids == empty).all(dim=1).float().mean()
    assert share == pytest.approx(0.5, abs=0.15)


def test_the_target_is_the_velocity_of_what_was_mixed(make_task):
    # With an answer of zero the error is the velocity's own mean square: 1 for unit latents.
    losses = make_task(weight_floor=1.0).losses(Recorder(), 0)
    assert losses["loss"] == pytest.approx(losses["loss"].item())
    assert losses["mse_high_noise"].item() < losses["mse_low_noise"].item() * 3
    schedule = NoiseSchedule("cpu")
    latents, noise = torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8)
    assert schedule.velocity(latents, noise, torch.tensor([0])).mean() > 0.99


def test_min_snr_weights_spare_neither_end(make_task):
    heavy = make_task(weight_floor=2.0).losses(Recorder(), 0)
    light = make_task(weight_floor=0.0).losses(Recorder(), 0)
    plain = make_task(weight_floor=1.0).losses(Recorder(), 0)
    assert heavy["loss"] == pytest.approx(2 * plain["loss"].item())
    assert 0 < light["loss"] < plain["loss"]


def test_the_text_encoder_learns_more_slowly_or_not_at_all(make_task):
    rates = [group["lr"] for group in make_task().parameter_groups(1.0)]
    assert rates == [1.0, RECIPE.denoiser.text_learning_rate_factor]
    frozen = make_task(text_learning_rate_factor=0.0)
    assert len(frozen.parameter_groups(1.0)) == 1
    frozen.losses(frozen.network, 0)["loss"].backward()
    assert all(p.grad is None for p in frozen.network.encoder.parameters())


def test_a_resumed_task_sees_the_same_batch(make_task):
    first, second = make_task(), make_task()
    first.losses(Recorder(), 0)
    second.load_state_dict(first.state_dict())
    one, other = Recorder(), Recorder()
    first.losses(one, 1)
    second.losses(other, 1)
    assert all(map(torch.equal, one.calls[0], other.calls[0]))


@torch.no_grad()
def test_the_fixed_prompts_give_the_same_grid_every_time(make_task):
    task = make_task()
    first, _ = task.show()
    second, _ = task.show()
    assert first.shape == (40, 8 * 36 + 4, 3)
    assert (first == second).all()
