"""The few-step sibling's task: consistency along the teacher's path."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from models.training.diffusion import Guidance, NoiseSchedule, sample
from models.training.few_step import FewStepTask
from tests.unit.models.training.networks import (
    RECIPE,
    make_bank,
    make_encoder,
    make_gallery,
    make_tokenizer,
    make_unet,
)


class Oracle(torch.nn.Module):
    """A UNet that knows that every picture is one constant: its path is a straight line."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))
        self._schedule = NoiseSchedule("cpu")

    def forward(self, noisy, t, embeds):
        signal, sigma = self._schedule.levels(t.long())
        return SimpleNamespace(sample=(signal * noisy - self.value) / sigma)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokens") / "tokenizer")


def make_task(tokenizer, teacher, **changes):
    training = dataclasses.replace(RECIPE.few_step.training, batch=16)
    recipe = dataclasses.replace(RECIPE.few_step, training=training, **changes)
    bank, gallery = make_bank(tokenizer), make_gallery(tokenizer)
    return FewStepTask(teacher, make_encoder(tokenizer), recipe, RECIPE.denoiser, bank, gallery)


@pytest.mark.parametrize(("few", "many"), [(1, 4), (2, 4), (4, 20)])
def test_a_teacher_with_a_straight_path_is_already_consistent(tokenizer, few, many):
    task = make_task(tokenizer, Oracle(0.5), sample_steps=few, teacher_steps=many)
    for step in range(3):
        assert task.losses(task.network, step)["loss"] < 1e-3


def test_a_student_off_the_path_has_an_error(tokenizer):
    task = make_task(tokenizer, Oracle(0.5))
    with torch.no_grad():
        task.network.unet.value.fill_(-0.5)
    assert task.losses(task.network, 0)["loss"] > 0.1


def test_it_learns_the_teachers_guided_path(tokenizer):
    task = make_task(tokenizer, Oracle(0.5))
    with torch.no_grad():
        task.network.unet.value.fill_(-0.5)
    optimizer = torch.optim.SGD(task.network.parameters(), lr=0.1)
    for step in range(60):
        task.losses(task.network, step)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        task.after_step()
    assert task.network.unet.value.item() == pytest.approx(0.5, abs=0.1)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    embeds = (torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))

    def drawn(unet, steps):
        return sample(lambda x, t, e: unet(x, t, e).sample, noise, embeds, steps, Guidance(1.0))

    distance = (drawn(task.network.unet, 2) - drawn(Oracle(0.5), 4)).abs().max()
    assert distance < 0.15


def test_neither_the_teacher_nor_the_encoder_is_changed(tokenizer):
    teacher = make_unet()
    before = [p.clone() for p in teacher.parameters()]
    task = make_task(tokenizer, teacher)
    loss = task.losses(task.network, 0)["loss"]
    loss.backward()
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.add_(0.1)
    task.after_step()
    assert all(map(torch.equal, before, teacher.parameters()))
    assert all(p.grad is None for p in teacher.parameters())
    assert len(task.parameter_groups(1.0)[0]["params"]) == len(before)


def test_a_resumed_task_goes_on_with_the_same_targets(tokenizer):
    first = make_task(tokenizer, make_unet())
    with torch.no_grad():
        for parameter in first.network.parameters():
            parameter.add_(0.01)
    for step in range(2):
        first.losses(first.network, step)
        first.after_step()
    second = make_task(tokenizer, make_unet())
    second.network.load_state_dict(first.network.state_dict())
    second.load_state_dict(first.state_dict())
    one, other = (task.losses(task.network, 2)["loss"] for task in (first, second))
    assert one == other


@torch.no_grad()
def test_the_distance_to_the_teacher_is_recorded(tokenizer):
    task = make_task(tokenizer, Oracle(0.5))
    _, values = task.show()
    assert values["distance_to_teacher"] == pytest.approx(0, abs=1e-3)
    task.network.unet.value.fill_(0.0)
    assert task.show()[1]["distance_to_teacher"] > 0.2
