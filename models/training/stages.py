"""Runs each network's stage: puts its task together, trains it, and hands on the result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from models.training.autoencoder import AutoencoderTask, build_autoencoder
from models.training.checkpoint import CheckpointStore, Origin
from models.training.denoiser import (
    DenoiserNetwork,
    DenoiserTask,
    Gallery,
    build_unet,
    prepare_attention,
)
from models.training.few_step import FewStepTask
from models.training.latents import FillingCache, LatentBank
from models.training.loop import Outcome, Task, TrainingLoop
from models.training.reference import Scope, grid_prompts
from models.training.results import find_result, new_result
from models.training.tokens import encode_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.training.art import Art
    from models.training.budget import Budget
    from models.training.place import Place
    from models.training.recipe import Stage, TrainingRecipe

# Samplers must not show every stage the same pictures in the same order.
_DENOISER_SEED = 2000
_FEW_STEP_SEED = 3000
_SHOWN_SEED = 0


class SavingTask(Task, Protocol):
    """A task that can write what it trained."""

    def save(self, folder: Path, shard_bytes: int | None) -> None:
        """Write the networks into `folder`, in files of at most `shard_bytes`."""


def run_autoencoder(place: Place, budget: Budget) -> Outcome:
    """Train the autoencoder. Raises TrainingError, as every stage here, with what to do next."""
    recipe = place.recipe.autoencoder
    own = replace(recipe, training=place.own(recipe.training))

    def make() -> SavingTask:
        art = place.art()
        torch.manual_seed(recipe.training.seed)
        vae = build_autoencoder(recipe, place.recipe.data.size_px)
        place.start_from_init(vae, "vae")
        sampler = place.sampler(art, recipe.training.seed)
        shown = place.held_out_sampler(art, _SHOWN_SEED)
        return AutoencoderTask(vae.to(place.device), own, sampler, shown)

    return train(place, place.origin("autoencoder"), recipe.training, make, budget)


def run_denoiser(place: Place, budget: Budget) -> Outcome:
    """Train the denoiser, and the text encoder with it."""
    recipe = place.recipe.denoiser
    own = replace(recipe, training=place.own(recipe.training))
    origin = place.origin("denoiser")

    def make() -> SavingTask:
        art = place.art()
        torch.manual_seed(recipe.training.seed)
        unet = build_unet(place.recipe)
        place.start_from_init(unet, "unet")
        prepare_attention(unet, place.device)
        network = DenoiserNetwork(unet, place.load_text_encoder("text")).to(place.device)
        vae = place.load_autoencoder()
        bank = _make_bank(place, art, vae, _DENOISER_SEED, "denoiser")
        return DenoiserTask(network, own, bank, _make_gallery(place, art, vae))

    return train(place, origin, recipe.training, make, budget)


def run_few_step(place: Place, budget: Budget) -> Outcome:
    """Distil the finished denoiser into its sibling."""
    recipe = place.recipe.few_step
    own = replace(recipe, training=place.own(recipe.training))
    origin = place.origin("few_step")

    def make() -> SavingTask:
        art = place.art()
        teacher = place.load_unet()
        prepare_attention(teacher, place.device)
        vae = place.load_autoencoder()
        return FewStepTask(
            teacher,
            place.load_text_encoder("denoiser"),
            own,
            place.recipe.denoiser,
            _make_bank(place, art, vae, _FEW_STEP_SEED, "few_step"),
            _make_gallery(place, art, vae),
        )

    return train(place, origin, recipe.training, make, budget)


def train(
    place: Place,
    origin: Origin,
    recipe: TrainingRecipe,
    make: Callable[[], SavingTask],
    budget: Budget,
) -> Outcome:
    """Train what `make` returns until it is done or the budget is spent; write its result.

    A stage that is finished, with this recipe and from these parents, is left as it is.
    """
    folder = place.run(origin.stage)
    found = find_result(folder)
    if found is not None and found.is_of(origin) and found.steps >= recipe.steps:
        print(f"{origin.stage}: finished before, {found.steps} steps.")
        return Outcome(found.steps, is_finished=True)
    store = CheckpointStore(folder, origin, part_bytes=place.shard_bytes)
    # Checked before the costly preparation: a checkpoint of another recipe ends the stage here.
    store.check_latest()
    task = make()
    outcome = TrainingLoop(task, recipe, folder, store, place.device).run(budget)
    if outcome.is_finished and place.process_index == 0:
        with new_result(folder, origin, outcome.step) as target, torch.no_grad():
            task.save(target, place.shard_bytes)
    return outcome


def _make_bank(place: Place, art: Art, vae: Any, seed: int, stage: Stage) -> LatentBank:
    """Return the bank of `stage`; on a CPU with a cache, on an accelerator it fills in seconds."""
    recipe = place.recipe.denoiser
    cache = None
    if place.device == "cpu":
        digest = place.result("autoencoder").digest
        name = "latents.pt" if place.num_processes == 1 else f"latents-{place.process_index}.pt"
        cache = FillingCache(place.run(stage) / name, digest)
    return LatentBank(
        vae,
        place.sampler(art, seed),
        place.load_tokenizer(),
        recipe.bank_size,
        recipe.bank_steps,
        cache,
    )


def _make_gallery(place: Place, art: Art, vae: Any) -> Gallery:
    """Return the prompts that the evaluation shows to people, with noise of their own."""
    tokenizer = place.load_tokenizer()
    ids = torch.from_numpy(encode_texts(tokenizer, grid_prompts(Scope.of(art, {}))))
    empty = torch.from_numpy(encode_texts(tokenizer, [""]))
    side = place.recipe.data.size_px // place.recipe.autoencoder.factor
    shape = (len(ids), place.recipe.autoencoder.latent_channels, side, side)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(_SHOWN_SEED))
    device = place.device
    return Gallery(vae, ids.to(device), empty.to(device), noise.to(device))
