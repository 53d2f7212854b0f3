"""`mintmark.json` of a release: the service's defaults, and what `GET /v1/models/{id}` tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.training.captions import Scene, draw_caption
from models.training.reference import held_out_digest
from models.training.sources import load_sources
from models.training.vocabulary import BACKGROUNDS, COLOURS
from models.vocabulary_match import Vocabulary

if TYPE_CHECKING:
    from models.training.art import Art
    from models.training.recipe import Recipe

_TEMPLATE: Final = "a <colour, optional> <subject>, <style> style, on a <background> background"
# Spellings that captions do not use.
_OTHER_SPELLINGS: Final = {"gray": ["grey"]}
# Enough for every wording of captions to come up many times.
_CAPTIONS: Final = 2000


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
    known = known_words(art)
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
            **known,
            "stop_words": _find_stop_words(art, known),
            "training_data": _training_data(recipe),
            "held_out_pairs_sha256": held_out_digest(art),
            "limits": _limits(recipe),
        },
    }


def _description(recipe: Recipe, what: str) -> str:
    side_px = recipe.data.size_px
    return f"Demonstration model: {what}, {side_px}x{side_px} px."


def known_words(art: Art) -> dict[str, Any]:
    """Return what prompts may name, the part of the card that models.vocabulary_match reads."""
    synonyms = [
        *((subject.name, subject.synonyms) for subject in art.subjects),
        *((style.name, style.synonyms) for style in art.styles),
    ]
    return {
        "subjects": [subject.name for subject in art.subjects],
        "styles": [style.name for style in art.styles],
        "backgrounds": [background.name for background in BACKGROUNDS],
        "object_colours": [colour.name for colour in COLOURS],
        "synonyms": {name: list(words) for name, words in synonyms if words} | _OTHER_SPELLINGS,
    }


def _find_stop_words(art: Art, known: dict[str, Any]) -> list[str]:
    """Return the words of captions that name nothing and are not common stop words.

    With them no caption is warned about.
    """
    vocabulary = Vocabulary.from_card(known)
    assert vocabulary is not None
    rng = np.random.default_rng(0)

    def pick(choices: tuple[Any, ...]) -> Any:
        return choices[int(rng.integers(len(choices)))]

    words: set[str] = set()
    for number in range(_CAPTIONS):
        second = pick(art.subjects) if number % 2 else None
        arrangement = pick(("beside", "above"))
        scene = Scene(
            pick(art.subjects), pick(art.styles), pick(BACKGROUNDS), None, second, arrangement
        )
        caption = draw_caption(rng, scene, synonym_share=0.0)
        words.update(word for run in vocabulary.unknown_phrases(caption) for word in run.split())
    return sorted(words)


def _limits(recipe: Recipe) -> list[str]:
    """Return what the model cannot do by the way it is made, in sentences."""
    side_px = recipe.data.size_px
    return [
        "It knows these subjects, styles and colours and nothing else.",
        "One object to a picture, at most two; no scenes, text or people.",
        f"It was trained at {side_px}x{side_px} px and offers no other size.",
    ]


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
