"""What each stage name of the command line does."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from accelerate import PartialState

from models.options import LoadOptions, few_step_sibling
from models.training.art_build import build_art
from models.training.budget import Budget
from models.training.card import describe_denoiser, describe_few_step
from models.training.errors import TrainingError
from models.training.evaluate import run_evaluation
from models.training.nearest import make_nearest
from models.training.place import Place
from models.training.processes import leave_at_once, run_in_processes
from models.training.release import Parts, install_pipeline, release_pipeline
from models.training.stages import run_autoencoder, run_denoiser, run_few_step
from models.training.text_stage import run_text

if TYPE_CHECKING:
    from pathlib import Path

    from models.training.recipe import Recipe
    from models.training.results import Result

_MEBIBYTE: Final = 2**20
_MAIN: Final = "pipeline"
_SIBLING: Final = "pipeline-few-step"
_TRAINING: Final = {
    "autoencoder": run_autoencoder,
    "text": run_text,
    "denoiser": run_denoiser,
    "few-step": run_few_step,
}
# The text stage is over in minutes, and its batches are too small to share.
_IN_PROCESSES: Final = frozenset(_TRAINING) - {"text"}


@dataclass(frozen=True, slots=True)
class Command:
    """One call of the command line.

    target: where the release is installed too, if anywhere. processes: how many train together.
    """

    place: Place
    budget: Budget
    target: Path | None
    processes: int = 1

    @classmethod
    def of(cls, recipe: Recipe, options: Any) -> Command:
        """Return the command that parsed options ask for; its time runs from here.

        Raises TrainingError for options that do not go together.
        """
        if options.processes > 1 and options.device != "cpu":
            raise TrainingError("Several --processes train on a CPU only: give --device cpu.")
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        shard_bytes = None if options.shard_mb is None else int(options.shard_mb * _MEBIBYTE)
        place = Place(options.work, recipe, options.device, options.init, shard_bytes)
        return cls(place, Budget(options.minutes), options.target, options.processes)


def run_stage(stage: str, command: Command) -> bool:
    """Run one stage; return whether it is finished. Raises TrainingError."""
    place = command.place
    if stage == "data":
        build_art(place.work, place.recipe.data)
        return True
    if stage == "release":
        release(place, command.target)
        return True
    if stage == "evaluate":
        evaluate(place)
        return True
    if command.processes > 1 and stage in _IN_PROCESSES:
        work = partial(_train_in_process, stage, place, command.budget.minutes_left)
        return run_in_processes(command.processes, work)
    with command.budget:
        return _TRAINING[stage](place, command.budget).is_finished


def _train_in_process(stage: str, place: Place, minutes: float | None) -> bool:
    """Train a stage together with other processes; return whether it is finished."""
    state = PartialState(cpu=True)
    place = replace(place, process_index=state.process_index, num_processes=state.num_processes)
    # Ctrl-C reaches the parent too, which passes it on as a SIGTERM.
    with Budget(minutes, signals=(signal.SIGTERM,)) as budget:
        is_finished = _TRAINING[stage](place, budget).is_finished
    if budget.is_stop_requested:
        leave_at_once(state)
    return is_finished


def evaluate(place: Place) -> None:
    """Measure the model, then its few-step sibling against it. Raises as run_evaluation does."""
    model, sibling = find_released(place.work)
    print(f"evaluate: {model} and {sibling}")
    full = run_evaluation(model, place.work, place.recipe, place.device)
    print(full.markdown())
    few_step = run_evaluation(sibling, place.work, place.recipe, place.device, full=full)
    print(few_step.markdown())


def find_released(work: Path) -> tuple[Path, Path]:
    """Return the folders of the model and its sibling: those released in `work`, else the shipped.

    So the figures of the shipped model's card can be had again without training anything.
    """
    if (work / _MAIN).exists():
        return work / _MAIN, work / _SIBLING
    shipped = LoadOptions.embedded_folder()
    return shipped, few_step_sibling(shipped)


def release(place: Place, target: Path | None) -> None:
    """Write `pipeline` and `pipeline-few-step` in the work folder.

    target: where the former is installed too, and the latter beside it, as `<target>_few_step`.
    Raises TrainingError if a stage is not finished; nothing is then written.
    """
    results = {stage: place.result(stage) for stage in ("autoencoder", "text", "denoiser")}
    student = place.result("few_step")
    art, recipe, work = place.art(), place.recipe, place.work
    parts = _parts(results, make_nearest(work, recipe, art))
    folder = release_pipeline(parts, describe_denoiser(recipe), recipe, art, work / _MAIN)
    print(f"release: {folder}")
    parts = replace(parts, unet=student.folder / "unet")
    sibling = release_pipeline(parts, describe_few_step(recipe), recipe, art, work / _SIBLING)
    print(f"release: {sibling}")
    if target is not None:
        beside = few_step_sibling(target)
        for source, installed in ((folder, target), (sibling, beside)):
            install_pipeline(source, installed)
            print(f"release: {installed}")


def _parts(results: dict[str, Result], nearest: dict[str, str | None] | None) -> Parts:
    """Return what the model is made of; the text encoder is the one trained with the denoiser."""
    return Parts(
        vae=results["autoencoder"].folder / "vae",
        text_encoder=results["denoiser"].folder / "text_encoder",
        tokenizer=results["text"].folder / "tokenizer",
        unet=results["denoiser"].folder / "unet",
        nearest=nearest,
    )
