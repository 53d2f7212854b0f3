"""The one training loop: optimises a task, resumes it anywhere, and shows how it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from diffusers.training_utils import EMAModel
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from models.training.errors import TrainingError
from models.training.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from models.training.budget import Budget
    from models.training.checkpoint import CheckpointStore
    from models.training.recipe import TrainingRecipe

_REPORTS_PER_RUN: Final = 1000
_MAX_STEPS_PER_REPORT: Final = 20


class Task(Protocol):
    """What one stage trains. `network` holds every trained weight; its call is the forward pass."""

    network: nn.Module

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return AdamW's parameter groups, each with its `lr`."""

    def losses(self, network: nn.Module, step: int) -> Mapping[str, Tensor]:
        """Draw a batch and return scalars; "loss" is minimised, the others are only recorded.

        network: `self.network`, perhaps wrapped. step: steps done so far.
        """

    def after_step(self) -> None:
        """Follow the weights after an optimiser step."""

    def show(self) -> tuple[NDArray[np.uint8] | None, Mapping[str, float]]:
        """Return a picture (H, W, 3) of what the present weights do, and numbers to record."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next batch depends on, as tensors and plain containers."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run has come. is_finished: all steps are done and `network` holds the averages."""

    step: int
    is_finished: bool


def make_accelerator(device: torch.device | str) -> Accelerator:
    """Return accelerate's handle on the device: bfloat16 autocast, no loss scaling.

    It finds by itself whether this process is one of several. Raises TrainingError if CUDA is asked
    for and not there.
    """
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda and not torch.cuda.is_available():
        raise TrainingError("There is no CUDA device here: use --device cpu.")
    # Gradients need not be copied to be averaged.
    shared = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(cpu=not is_cuda, mixed_precision="bf16", kwargs_handlers=[shared])


class TrainingLoop:
    """Trains a task in `folder` as `recipe` says, from the newest checkpoint in `store`.

    In several processes each draws batches of its own and all make the same steps with the mean of
    their gradients; the first one writes.
    """

    def __init__(
        self, task: Task, recipe: TrainingRecipe, folder: Path, store: CheckpointStore, device: str
    ) -> None:
        self._task = task
        self._recipe = recipe
        self._folder = folder
        self._store = store
        accelerator = make_accelerator(device)
        self._accelerator = accelerator
        # The layout that convolutions are fastest in; other weights keep theirs.
        _lay_out(task.network.to(accelerator.device), torch.channels_last)
        self._parameters = [p for p in task.network.parameters() if p.requires_grad]
        self._ema = EMAModel(
            self._parameters,
            decay=recipe.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            # On a CPU one weight after the other takes a quarter of the time.
            foreach=accelerator.device.type != "cpu",
        )
        optimizer = torch.optim.AdamW(
            task.parameter_groups(recipe.learning_rate),
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._schedule = LambdaLR(optimizer, self._learning_rate_factor)
        self._network, self._optimizer = accelerator.prepare(task.network, optimizer)
        self._step = self._resume()
        self._saved_step = self._step
        is_first = accelerator.is_main_process
        self._journal = Journal(folder, first_step=self._step) if is_first else None
        if recipe.compile:
            # The bare network: what surrounds it in several processes cannot be compiled as well.
            task.network.compile()

    def run(self, budget: Budget) -> Outcome:
        """Train until all steps are done or the budget is spent; return how far that is.

        Leaves a checkpoint of the last step either way. Raises TrainingError if the loss is no
        longer finite or a file cannot be written.
        """
        self._task.network.train()
        saved_at_s = budget.now_s()
        total = self._recipe.steps
        # None: silent as well where nobody watches.
        is_silent = None if self._journal is not None else True
        with tqdm(total=total, initial=self._step, unit="step", disable=is_silent) as bar:
            begun_at = self._step
            while self._step < total:
                is_late = budget.now_s() - saved_at_s >= self._recipe.checkpoint_every_s
                is_spent, is_save_due = self._agree(budget.is_spent, is_late)
                # At least one step a call, or a budget shorter than the preparation would not end.
                if is_spent and self._step > begun_at:
                    break
                if is_save_due:
                    self._save()
                    saved_at_s = budget.now_s()
                self._report(self._take_step(), bar)
                bar.update()
                if self._step % self._recipe.sample_every_steps == 0:
                    self._show()
        self._save()
        if self._journal is not None:
            self._journal.plot()
        if self._step < total:
            return Outcome(self._step, is_finished=False)
        self._ema.copy_to(self._parameters)
        _lay_out(self._task.network.eval(), torch.contiguous_format)
        return Outcome(self._step, is_finished=True)

    def _agree(self, *wishes: bool) -> list[bool]:
        """Return each wish, true if it is in any process: clocks differ, and signals come to one.

        A process that stopped or saved alone would wait for the others for ever.
        """
        if self._accelerator.num_processes == 1:
            return list(wishes)
        counts = torch.tensor(wishes, dtype=torch.float32, device=self._accelerator.device)
        return [bool(count) for count in self._accelerator.reduce(counts, "sum")]

    def _take_step(self) -> Mapping[str, Tensor]:
        losses = self._task.losses(self._network, self._step)
        self._accelerator.backward(losses["loss"])
        self._accelerator.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        self._ema.step(self._parameters)
        self._task.after_step()
        self._step += 1
        return losses

    def _report(self, losses: Mapping[str, Tensor], bar: tqdm[Any]) -> None:
        """Record the losses now and then: reading them makes an accelerator wait."""
        every = min(_MAX_STEPS_PER_REPORT, -(-self._recipe.steps // _REPORTS_PER_RUN))
        if self._journal is None or (self._step % every and self._step != self._recipe.steps):
            return
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"The loss is no longer a number at step {self._step}. Lower the learning rate in "
                f"the recipe, remove {self._folder} and start the stage again."
            )
        self._journal.add(self._step, values)
        bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})

    def _show(self) -> None:
        """Write a sample grid and the plot, with the averaged weights."""
        if self._journal is None:
            return
        self._ema.store(self._parameters)
        self._ema.copy_to(self._parameters)
        self._task.network.eval()
        with torch.no_grad():
            grid, values = self._task.show()
        self._task.network.train()
        self._ema.restore(self._parameters)
        if grid is not None:
            self._journal.add_samples(self._step, grid)
        if values:
            self._journal.add(self._step, values)
        self._journal.plot()

    def _save(self) -> None:
        if self._step == self._saved_step:
            return
        self._saved_step = self._step
        tasks = gather_object([self._task.state_dict()])
        if not self._accelerator.is_main_process:
            return
        state = {
            "network": self._task.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "ema": self._ema.state_dict(),
            "tasks": tasks,
        }
        self._store.save(self._step, state)

    def _resume(self) -> int:
        """Take over the newest checkpoint, if there is one; return the steps done."""
        device = self._accelerator.device
        # Among several processes the processor is called "cpu:0", which torch.load does not know.
        found = self._store.load_latest("cpu" if device.type == "cpu" else device)
        if found is None:
            return 0
        step, state = found
        accelerator, begun_with = self._accelerator, len(state["tasks"])
        if begun_with != accelerator.num_processes:
            raise TrainingError(
                f"The run in {self._folder} was begun with --processes {begun_with}: go on with as "
                "many, or remove that folder to train this stage anew."
            )
        self._task.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._ema.load_state_dict(state["ema"])
        self._task.load_state_dict(state["tasks"][accelerator.process_index])
        if accelerator.is_main_process:
            print(f"Going on from step {step} of {self._recipe.steps}.")
        return step

    def _learning_rate_factor(self, step: int) -> float:
        """Return the factor on the learning rate for the step after `step` steps."""
        recipe = self._recipe
        warm = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
        flat_until = recipe.constant_share * recipe.steps
        if step <= flat_until:
            return warm
        progress = min(1.0, (step - flat_until) / max(1.0, recipe.steps - flat_until))
        return warm * 0.5 * (1 + math.cos(math.pi * progress))


def _lay_out(network: Any, memory_format: torch.memory_format) -> None:
    """Store the weights of convolutions in another order (torch's annotations lack this call)."""
    network.to(memory_format=memory_format)
