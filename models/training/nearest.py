"""Makes `vocabulary.json`: for words that a model does not know, the nearest thing that it does.

Done once, at release, with the sentence model of the text stage; the service only looks words up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from models.training.card import known_words
from models.training.teacher import TeacherUnavailable, load_teacher
from models.training.vocabulary import load_subjects
from models.vocabulary_match import Vocabulary, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from models.training.art import Art
    from models.training.recipe import Recipe
    from models.training.vocabulary import Subject

    Floats = NDArray[np.float32]

# A word has to mean the same thing alone and where prompts have it.
_FRAMES: Final = ("{}", "a picture of a {}")
# Chosen by looking at the tables for 64 and for all subjects. Cosine of a word with the nearest
# thing there are drawings of: lower, mist is a feather and jazz a saxophone.
_MIN_THING: Final = 0.62
# Of a thing with the nearest of its kind that the model knows: lower, peas are strawberries.
_MIN_NEAREST: Final = 0.5
# Words with these endings are seldom things that can be drawn; they teach what is none.
_ENDINGS: Final = (
    "able", "ance", "ed", "ence", "ese", "est", "ful", "ian", "ing", "ish", "ism", "ity", "ive",
    "ly", "ment", "ness", "ous", "tion",
)  # fmt: skip
_RIDGE: Final = 1e-4
# What nobody wants to read next to "nearest known".
_LEFT_OUT: Final = frozenset({"breast", "crotch", "hiroshima", "nipple", "panties", "pee", "piss"})


class Sentences(Protocol):
    """What is needed of the sentence model; `models.training.teacher.Teacher` is the real one."""

    def words(self) -> list[str]:
        """Return the words of its vocabulary."""

    def embed(self, texts: Sequence[str], device: torch.device | str) -> Tensor:
        """Return (n, width) unit vectors."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where texts lie, alone and framed: an array (n, width) for each frame."""

    views: tuple[Floats, ...]

    @classmethod
    def of(cls, sentences: Sentences, texts: Sequence[str]) -> _Places:
        framed = ([frame.format(text) for text in texts] for frame in _FRAMES)
        return cls(tuple(sentences.embed(each, "cpu").float().numpy() for each in framed))

    def cosines(self, other: _Places) -> list[Floats]:
        """Return (n, m) for each frame."""
        return [mine @ its.T for mine, its in zip(self.views, other.views, strict=True)]

    def columns(self) -> Floats:
        """Return (n, all widths and a constant)."""
        return np.hstack([*self.views, np.ones((len(self.views[0]), 1), np.float32)])


def make_nearest(work: Path, recipe: Recipe, art: Art) -> dict[str, str | None] | None:
    """Return the content of `vocabulary.json`; without a sentence model None, and a printed line.

    work: where the sentence model lies or is put. Raises TrainingError as load_teacher does.
    """
    missing = "release: without a sentence model; what is nearest is found by spelling alone"
    if not recipe.text.teacher:
        print(f"{missing}.")
        return None
    try:
        teacher = load_teacher(work)
    except TeacherUnavailable as reason:
        print(f"{missing} ({reason}).")
        return None
    vocabulary = Vocabulary.from_card(known_words(art))
    assert vocabulary is not None
    known = [subject.name for subject in art.subjects]
    others = [subject for subject in load_subjects() if subject.name not in known]
    return find_nearest(teacher, vocabulary, known, [*art.subjects, *others])


def find_nearest(
    sentences: Sentences, vocabulary: Vocabulary, known: Iterable[str], things: Sequence[Subject]
) -> dict[str, str | None]:
    """Return the name of the nearest known thing for each word that has one, sorted by word.

    vocabulary: of the model. known: the names of its subjects. things: every subject there are
    drawings of, known or not. Words are those of the sentence model and the names of the other
    things. A word that only looks like a known name ("stair", "star") is listed with None, so that
    it is not taken for a misspelling.
    """
    phrases = [(phrase, thing) for thing in things for phrase in (thing.name, *thing.synonyms)]
    owners = [thing for _, thing in phrases]
    names = [" ".join(words_of(phrase)) for phrase, _ in phrases]
    words = _unknown_words(vocabulary, [*sentences.words(), *names])
    word_places, name_places = _Places.of(sentences, words), _Places.of(sentences, names)
    is_name = np.isin(words, names)
    is_other = np.array([word.endswith(_ENDINGS) for word in words]) & ~is_name
    is_thing = is_name | _tell_things(word_places, name_places, is_other)
    alone, framed = word_places.cosines(name_places)
    is_known = np.isin([thing.name for thing in owners], list(known))
    kinds = np.array([thing.category for thing in owners])
    found: dict[str, str | None] = {}
    for row, word in enumerate(words):
        name = None
        thing = owners[int(alone[row].argmax())]
        is_clear = thing is owners[int(framed[row].argmax())] and alone[row].max() >= _MIN_THING
        if is_thing[row] and is_clear:
            allowed = is_known & (kinds == thing.category)
            name = _nearest_allowed(alone[row], framed[row], allowed, owners)
        if name is not None or vocabulary.nearest_by_spelling(word) is not None:
            found[word] = name
    return dict(sorted(found.items()))


def _unknown_words(vocabulary: Vocabulary, words: Iterable[str]) -> list[str]:
    """Return the words that the model does not know, each once, without plurals of one another."""
    every = dict.fromkeys(words)
    return [
        word
        for word in every
        if word not in _LEFT_OUT
        and vocabulary.unknown_phrases(word) == [word]
        and not (word.endswith("s") and {word[:-1], word[:-2]} & every.keys())
    ]


def _tell_things(words: _Places, things: _Places, is_other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each word whether it lies on the side of the things: (n,).

    The line is drawn by least squares between the things and the words that are other (n,), both
    sides weighing the same.
    """
    columns = words.columns()
    sides = (things.columns(), columns[is_other])
    samples = np.vstack(sides)
    targets = np.repeat([1.0, -1.0], [len(side) for side in sides])
    weights = np.repeat([1 / max(1, len(side)) for side in sides], [len(side) for side in sides])
    scatter = samples.T @ (samples * weights[:, None]) + _RIDGE * np.eye(samples.shape[1])
    line = np.linalg.solve(scatter, samples.T @ (weights * targets))
    return np.asarray(columns @ line > 0)


def _nearest_allowed(
    alone: Floats, framed: Floats, allowed: NDArray[np.bool_], owners: Sequence[Subject]
) -> str | None:
    """Return the name that is nearest both ways among the allowed ones, if it is near enough."""
    if not allowed.any():
        return None
    best, second = (int(np.where(allowed, cosines, -1).argmax()) for cosines in (alone, framed))
    is_near = alone[best] >= _MIN_NEAREST and owners[best] is owners[second]
    return owners[best].name if is_near else None
