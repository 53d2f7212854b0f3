"""Where a training happens: work folder, recipe, device, and what earlier stages left there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from models.tokenizer import ClipTokenizer
from models.training.art import load_art
from models.training.checkpoint import Origin
from models.training.errors import TrainingError
from models.training.results import find_result, require_result
from models.training.sampler import BatchSampler
from models.weights import WeightsError, component_weights

if TYPE_CHECKING:
    from pathlib import Path

    from models.training.art import Art, Split
    from models.training.recipe import Recipe, Stage, TrainingRecipe
    from models.training.results import Result

# The results that each stage builds on, in the order they are made.
PARENTS: Final[dict[Stage, tuple[Stage, ...]]] = {
    "autoencoder": (),
    "text": (),
    "denoiser": ("autoencoder", "text"),
    "few_step": ("autoencoder", "text", "denoiser"),
}
# More than all stages use.
_SEEDS_PER_PROCESS: Final = 100_000
_NOT_ARCHITECTURE: Final = frozenset({"sample_size", "scaling_factor", "force_upcast"})


@dataclass(frozen=True, slots=True)
class Place:
    """One training and its surroundings.

    work: holds data, runs and pipelines. init: a pipeline folder whose networks training starts
    from, None for random ones. shard_bytes: the largest file that is written, None for no limit.
    process_index, num_processes: which of several processes that train together this is.
    """

    work: Path
    recipe: Recipe
    device: str
    init: Path | None = None
    shard_bytes: int | None = None
    process_index: int = 0
    num_processes: int = 1

    def run(self, stage: str) -> Path:
        """Return the folder of a stage's checkpoints, journal and result."""
        return self.work / "runs" / stage

    def own(self, recipe: TrainingRecipe) -> TrainingRecipe:
        """Return the recipe with this process's share of the batch and draws of its own.

        Raises TrainingError if the batch cannot be shared out evenly.
        """
        if recipe.batch % self.num_processes:
            raise TrainingError(
                f"A batch of {recipe.batch} cannot be shared out to {self.num_processes} "
                "processes: give another --processes, or another batch in the recipe."
            )
        batch = recipe.batch // self.num_processes
        return replace(recipe, batch=batch, seed=self._own_seed(recipe.seed))

    def art(self) -> Art:
        """Return the data. Raises TrainingError if the data stage has not made it."""
        return load_art(self.work / "data")

    def sampler(self, art: Art, seed: int) -> BatchSampler:
        """Return a sampler of training pictures on the device."""
        data = self.recipe.data
        return BatchSampler(art, data.size_px, self.device, self._own_seed(seed), data)

    def held_out_sampler(self, art: Art, seed: int) -> BatchSampler:
        """Return a sampler of pictures that are kept out of training, if any are."""
        data = self.recipe.data
        has_any = any(picture.split == "held_out_pair" for picture in art.pictures)
        split: Split = "held_out_pair" if has_any else "train"
        return BatchSampler(art, data.size_px, self.device, seed, data, split=split)

    def origin(self, stage: Stage) -> Origin:
        """Return what this recipe's checkpoints of a stage belong to.

        Raises TrainingError if a stage before it is not finished.
        """
        parents: dict[str, str] = {name: self.result(name).digest for name in PARENTS[stage]}
        return Origin(stage, self.recipe.digest(stage), parents)

    def result(self, stage: Stage) -> Result:
        """Return a finished stage. Raises TrainingError; see results.require_result."""
        origin = self.origin(stage)
        if stage == "text":
            # What it was initialised from is recorded there, and does not matter any more.
            found = find_result(self.run(stage))
            origin = Origin(stage, origin.recipe, {} if found is None else found.parents)
        return require_result(self.run(stage), stage.replace("_", "-"), origin)

    def load_autoencoder(self) -> Any:
        """Return the finished autoencoder on the device, not to be trained."""
        network: Any = AutoencoderKL
        vae = network.from_pretrained(str(self.result("autoencoder").folder / "vae"))
        return vae.to(self.device).requires_grad_(requires_grad=False).eval()

    def load_text_encoder(self, stage: Stage) -> Any:
        """Return the text encoder that `stage` left, on the device."""
        folder = self.result(stage).folder / "text_encoder"
        encoder: Any = CLIPTextModel.from_pretrained(str(folder))
        return encoder.to(self.device)

    def load_unet(self) -> Any:
        """Return the finished denoiser's UNet on the device."""
        network: Any = UNet2DConditionModel
        return network.from_pretrained(str(self.result("denoiser").folder / "unet")).to(self.device)

    def load_tokenizer(self) -> ClipTokenizer:
        """Return the tokenizer of the text stage."""
        folder = self.result("text").folder / "tokenizer"
        return ClipTokenizer.from_folder(folder, max_window=self.recipe.text.window)

    def start_from_init(self, network: Any, component: str) -> None:
        """Give a fresh diffusers network the weights of `init`, if there is one.

        Raises TrainingError if that folder lacks the component or has another architecture.
        """
        if self.init is None:
            return
        folder = self.init / component
        try:
            component_weights(folder)
            other = type(network).from_pretrained(str(folder), torch_dtype=torch.float32)
        except (WeightsError, OSError, ValueError) as error:
            raise TrainingError(f"--init {self.init} cannot be used: {error}") from error
        different = sorted(
            name
            for name, value in _architecture(network).items()
            if _architecture(other).get(name) != value
        )
        if different:
            raise TrainingError(
                f"--init {self.init}: its {component} differs from the recipe's in "
                f"{', '.join(different)}. Give the recipe (--profile) that made it, or no --init."
            )
        network.load_state_dict(other.state_dict())

    def _own_seed(self, seed: int) -> int:
        return seed + self.process_index * _SEEDS_PER_PROCESS


def _architecture(network: Any) -> dict[str, Any]:
    """Return the configuration that decides what the weights mean, in JSON's types."""
    config = json.loads(json.dumps(dict(network.config)))
    return {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and name not in _NOT_ARCHITECTURE
    }
