"""The training loop, on a network of three weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from models.training.budget import Budget
from models.training.checkpoint import CheckpointStore, Origin
from models.training.errors import TrainingError
from models.training.loop import TrainingLoop, make_accelerator
from models.training.recipe import TrainingRecipe

STEPS = 30
ORIGIN = Origin("autoencoder", "digest", {})


class LineTask:
    """Learns y = 2 x0 - x1 + 0.5 from random points. breaks_at: the step whose loss is infinite."""

    def __init__(self, breaks_at=None):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(2, 1)
        self.followed = 0
        self._breaks_at = breaks_at
        self._generator = torch.Generator().manual_seed(1)

    def parameter_groups(self, learning_rate):
        return [{"params": list(self.network.parameters()), "lr": learning_rate}]

    def losses(self, network, step):
        points = torch.randn(64, 2, generator=self._generator)
        truth = 2 * points[:, :1] - points[:, 1:] + 0.5
        error = (network(points) - truth).square().mean()
        return {"loss": error * (float("inf") if step == self._breaks_at else 1), "error": error}

    def after_step(self):
        self.followed += 1

    def show(self):
        assert not self.network.training
        return np.zeros((4, 4, 3), np.uint8), {"bias": float(self.network.bias.detach())}

    def state_dict(self):
        return {"points": self._generator.get_state()}

    def load_state_dict(self, state):
        self._generator.set_state(state["points"])


class Clock:
    """Counts how often it is asked, a second each."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 1.0
        return self.now_s


def recipe(**changes):
    settings = {"steps": STEPS, "batch": 1, "learning_rate": 0.1, "warmup_steps": 3}
    return TrainingRecipe(**{**settings, "ema_decay": 0.9, "sample_every_steps": 10, **changes})


def loop(folder, task, **changes):
    store = CheckpointStore(folder, ORIGIN)
    return TrainingLoop(task, recipe(**changes), folder, store, "cpu")


def weights(task):
    return torch.cat([p.detach().flatten() for p in task.network.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("whole"), LineTask()
    outcome = loop(folder, task).run(Budget())
    return folder, task, outcome


def test_it_learns_and_ends_with_the_averaged_weights(whole):
    _, task, outcome = whole
    assert outcome.is_finished
    assert outcome.step == task.followed == STEPS
    assert weights(task) == pytest.approx([2, -1, 0.5], abs=0.3)
    assert not task.network.training


@pytest.mark.parametrize("pieces", [4, 11, 29])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, whole, pieces):
    outcome, starts = None, 0
    while outcome is None or not outcome.is_finished:
        task = LineTask()
        # The clock ticks at every look: twice before the first step, then twice a step.
        budget = Budget((2 * pieces + 2) / 60, clock=Clock())
        outcome = loop(tmp_path, task).run(budget)
        starts += 1
    assert starts == -(-STEPS // pieces)
    assert torch.equal(weights(task), weights(whole[1]))


def test_it_writes_what_can_be_watched(whole):
    folder, _, _ = whole
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "bias" in line] == [10, 20, 30]
    names = {path.name for path in folder.iterdir()}
    assert {"loss.png", "samples-00000010.png", "samples-00000030.png"} <= names
    assert "checkpoint-00000030" in names


def test_checkpoints_are_written_by_the_clock(tmp_path):
    loop(tmp_path, LineTask(), checkpoint_every_s=20.0).run(Budget(clock=Clock()))
    folders = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert folders[-1] == "checkpoint-00000030"
    assert len(folders) == 2


def test_a_finished_run_does_nothing_more(whole):
    folder, first, _ = whole
    task = LineTask()
    outcome = loop(folder, task).run(Budget())
    assert outcome.is_finished
    assert task.followed == 0
    assert torch.equal(weights(task), weights(first))


def test_more_steps_continue_a_finished_run(tmp_path):
    loop(tmp_path, LineTask()).run(Budget())
    task = LineTask()
    assert loop(tmp_path, task, steps=STEPS + 5).run(Budget()).step == STEPS + 5
    assert task.followed == 5


def test_a_request_to_stop_ends_after_the_step_with_a_checkpoint(tmp_path):
    budget, task = Budget(), LineTask()
    budget.is_stop_requested = True
    assert loop(tmp_path, task).run(budget).step == 1
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000001"]


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path):
    with pytest.raises(TrainingError, match=r"no longer a number at step 6\. Lower the learning"):
        loop(tmp_path, LineTask(breaks_at=5)).run(Budget())
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_missing_accelerator_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(TrainingError, match="no CUDA device here: use --device cpu"):
        make_accelerator("cuda")
