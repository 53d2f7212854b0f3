"""Runs the text stage: tokenizer, teacher, lessons, encoder, or all of it taken from `--init`."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import CLIPTextModel

from models.tokenizer import ClipTokenizer
from models.training.checkpoint import Origin
from models.training.corpus import draw_captions, frame_words
from models.training.errors import TrainingError
from models.training.loop import Outcome
from models.training.results import find_result, new_result
from models.training.stages import train
from models.training.storage import new_folder, replace_file
from models.training.teacher import TeacherUnavailable, load_teacher
from models.training.text import (
    Probes,
    TextNetwork,
    TextTask,
    build_text_encoder,
    make_lessons,
    save_text_encoder,
)
from models.training.tokens import write_tokenizer
from models.training.vocabulary import BACKGROUNDS, COLOURS
from models.weights import WeightsError, component_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from models.training.art import Art
    from models.training.budget import Budget
    from models.training.place import Place
    from models.training.teacher import Teacher

_TEXT_SEED = 1000
# The recolour label 0 is the natural colour.
_NATURAL = 1


class Embedder(Protocol):
    """A sentence model: texts to unit vectors."""

    @property
    def name(self) -> str:
        """Return which model it is."""

    def embed(self, texts: Sequence[str], device: torch.device | str) -> Tensor:
        """Return (n, width) float32 on the device."""


def run_text(place: Place, budget: Budget) -> Outcome:
    """Make the tokenizer and initialise the text encoder; with `--init`, take over both.

    Raises TrainingError, as every stage, with what to do next.
    """
    if place.init is not None:
        return _adopt(place, place.init)
    digest = place.recipe.digest("text")
    found = find_result(place.run("text"))
    if found is not None and found.recipe == digest and "init" in found.parents:
        raise TrainingError(
            f"{found.folder} was taken over from a pipeline folder. Give --init again to go on "
            f"with it, or remove {place.run('text')} to train the text encoder anew."
        )
    teacher = _find_teacher(place)
    parents = {} if teacher is None else {"teacher": teacher.name}
    origin = Origin("text", digest, parents)
    recipe = place.recipe.text.training
    return train(place, origin, recipe, lambda: _make_task(place, teacher), budget)


def _adopt(place: Place, init: Path) -> Outcome:
    """Take over tokenizer and text encoder unchanged: a trained denoiser depends on their bits."""
    recipe = place.recipe.text
    source = init / "text_encoder"
    try:
        component_weights(source)
        encoder: Any = CLIPTextModel.from_pretrained(str(source), dtype=torch.float32)
        tokenizer = ClipTokenizer.from_folder(init / "tokenizer", max_window=recipe.window)
    except (WeightsError, OSError, ValueError) as error:
        raise TrainingError(f"--init {init} cannot be used: {error}") from error
    width = int(encoder.config.hidden_size)
    if (width, tokenizer.window) != (recipe.hidden_size, recipe.window):
        raise TrainingError(
            f"--init {init}: its text encoder has width {width} and a window of {tokenizer.window} "
            f"tokens, the recipe {recipe.hidden_size} and {recipe.window}. Give the recipe that "
            "made it, or no --init."
        )
    origin = Origin("text", place.recipe.digest("text"), {"init": init.name})
    with new_result(place.run("text"), origin, 0) as folder:
        save_text_encoder(encoder, folder, place.shard_bytes)
        shutil.copytree(init / "tokenizer", folder / "tokenizer")
    print(f"text: taken over from {init}.")
    return Outcome(0, is_finished=True)


def _find_teacher(place: Place) -> Teacher | None:
    """Return the sentence model, or None if the recipe does without or it cannot be had."""
    if not place.recipe.text.teacher:
        return None
    try:
        return load_teacher(place.work)
    except TeacherUnavailable as reason:
        print(f"text: without a sentence model, from captions alone ({reason}).")
        return None


def _make_task(place: Place, teacher: Teacher | None) -> TextTask:
    """Draw the corpus, learn the tokenizer from it, and set the lessons."""
    recipe = place.recipe.text
    art = place.art()
    captions = draw_captions(place.sampler(art, _TEXT_SEED), recipe.corpus_captions)
    words = [] if teacher is None else teacher.words()
    others = frame_words(words, recipe.corpus_captions, _TEXT_SEED) if words else []
    folder = place.run("text") / "tokenizer"
    with new_folder(folder) as target:
        spoken = [word for subject in art.subjects for word in (subject.name, *subject.synonyms)]
        corpus = [*captions.texts, *spoken, *words]
        write_tokenizer(target, corpus, recipe.vocab_size, recipe.window)
    tokenizer = ClipTokenizer.from_folder(folder, max_window=recipe.window)
    targets = None
    if teacher is not None:
        path = place.run("text") / "targets.pt"
        targets = embed_once(path, teacher, [*captions.texts, *others], place.device)
    network = _build_network(place, art, folder, None if teacher is None else teacher.width)
    lessons = make_lessons(captions, others, targets, tokenizer, place.device)
    return TextTask(network, recipe, lessons, Probes.of(art, tokenizer, place.device), folder)


def embed_once(path: Path, teacher: Embedder, texts: list[str], device: str) -> Tensor:
    """Return the teacher's vectors (n, width) of the texts, kept in `path` for a resumed run.

    Raises TrainingError if they cannot be written there.
    """
    digest = hashlib.sha256("\n".join((teacher.name, *texts)).encode()).hexdigest()
    try:
        kept = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        kept = {}
    if kept.get("texts") != digest:
        print(f"text: reading {len(texts)} texts to the sentence model.")
        kept = {"texts": digest, "targets": teacher.embed(texts, device)}
        buffer = io.BytesIO()
        torch.save(kept, buffer)
        replace_file(path, buffer.getvalue())
    targets: Tensor = kept["targets"]
    return targets


def _build_network(place: Place, art: Art, tokenizer: Path, width: int | None) -> TextNetwork:
    """Return the untrained network, on the device."""
    recipe = place.recipe.text
    num_tokens = len(json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8")))
    num_labels = (
        len(art.subjects),
        len(art.styles),
        len(BACKGROUNDS),
        len(COLOURS) + _NATURAL,
    )
    torch.manual_seed(recipe.training.seed)
    network = TextNetwork(build_text_encoder(recipe, num_tokens), num_labels, width)
    return network.to(place.device)
