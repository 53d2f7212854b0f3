"""`mintmark.json` of a release: the service's defaults, and what `GET /v1/models/{id}` tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.training.reference import held_out_digest
from models.training.sources import load_sources
from models.training.vocabulary import BACKGROUNDS, COLOURS

if TYPE_CHECKING:
    from models.training.art import Art
    from models.training.recipe import Recipe

_TEMPLATE = "a <colour, optional> <subject>, <style> style, on a <background> background"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a release is sampled unless a request says otherwise."""

    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float


@dataclass(frozen=True, slots=True)
class Release:
    """Which of the two models a folder holds. model_id: its public id."""

    model_id: str
    description: str
    sampling: Sampling


def describe_denoiser(recipe: Recipe) -> Release:
    """Return the facts of the model itself."""
    denoiser = recipe.denoiser
    return Release(
        recipe.model_id,
        _description(recipe, "draws one emoji-style icon on a plain background"),
        Sampling(denoiser.sample_steps, denoiser.guidance_scale, denoiser.guidance_rescale),
    )


def describe_few_step(recipe: Recipe) -> Release:
    """Return the facts of the sibling that needs few steps and no guidance."""
    steps = recipe.few_step.sample_steps
    return Release(
        f"{recipe.model_id}-{steps}step",
        _description(recipe, f"draws as {recipe.model_id} does, in {steps} steps, no guidance"),
        Sampling(steps, 1.0, 0.0),
    )


def make_facts(release: Release, recipe: Recipe, art: Art, num_parameters: int) -> dict[str, Any]:
    """Return the content of `mintmark.json` (models.facts.ModelFacts)."""
    size_px = [recipe.data.size_px, recipe.data.size_px]
    sampling = release.sampling
    return {
        "model_id": release.model_id,
        "defaults": {
            "num_inference_steps": sampling.num_inference_steps,
            "guidance_scale": sampling.guidance_scale,
            "guidance_rescale": sampling.guidance_rescale,
            "scheduler": "ddim",
        },
        "sizes_px": [size_px],
        "default_size_px": size_px,
        "card": {
            "description": release.description,
            "license": "Apache-2.0",
            "parameters": num_parameters,
            "prompt_template": _TEMPLATE,
            "subjects": [subject.name for subject in art.subjects],
            "styles": [style.name for style in art.styles],
            "backgrounds": [background.name for background in BACKGROUNDS],
            "object_colours": [colour.name for colour in COLOURS],
            "training_data": _training_data(recipe),
            "held_out_pairs_sha256": held_out_digest(art),
        },
    }


def _description(recipe: Recipe, what: str) -> str:
    side_px = recipe.data.size_px
    return f"Demonstration model: {what}, {side_px}x{side_px} px."


def _training_data(recipe: Recipe) -> list[dict[str, str]]:
    """Return what the release was drawn from, with licences and whom to credit."""
    if recipe.data.art_folder:
        return [{"name": recipe.data.art_folder, "license": "Apache-2.0"}]
    sources = load_sources()
    packages = [*(source.package for source in sources.art), sources.labels]
    return [
        {
            "name": package.package,
            "version": package.version,
            "license": package.licence,
            "attribution": package.attribution,
        }
        for package in packages
    ]
