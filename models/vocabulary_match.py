"""Finds the words of a prompt that a model with a closed vocabulary will not draw (stop 2).

A model that knows a list of subjects draws something for every prompt, and draws it badly for a
word it never saw. The folder's `mintmark.json` says what it knows; this module compares, and names
the nearest thing it does know, by spelling and by the model's own text encoder.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.interface import DiffusionModel

    # Text -> one vector of any length, of the text encoder that the table was made with.
    Embed = Callable[[str], NDArray[np.float32]]

TABLE_FILE: Final = "vocabulary.npz"
MAX_WARNINGS: Final = 5
_MAX_PHRASE_CHARS: Final = 60
_MAX_PROMPT_CHARS: Final = 2_000
# SequenceMatcher's ratio: "elefant" and "elephant" have .80, "cat" and "car" .67. "mouse" and
# "house" have .80 too: the first letter, which people rarely mistype, has to agree as well.
_MIN_SPELLING: Final = 0.78
# Cosine of centred embeddings: synonyms that were trained reach .95, unrelated words stay near .4.
_MIN_COSINE: Final = 0.55
# Words that ask for no object of their own. A folder adds those of its caption templates.
_COMMON_STOP_WORDS: Final = (
    "a an the this that these those some one my your his her its our their of in on at to for from "
    "with without by top left right over under above below beside behind near next between into "
    "onto and or is are be it please draw drawing drawn show make create generate give me i want "
    "picture image photo photograph illustration icon emoji sticker logo art artwork render style "
    "styled background backdrop colour color coloured colored very"
)
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a model knows. names: every known phrase, as tuples of words, to its public name."""

    names: Mapping[tuple[str, ...], str]
    stop_words: frozenset[str]

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Vocabulary | None:
        """Read a model card; None if it lists no subjects, so that nothing can be said.

        Keys: subjects, styles, backgrounds, object_colours (lists of phrases), synonyms (name ->
        list of phrases), stop_words (list of words); only subjects is required.
        Raises WeightsError if one of them has another form.
        """
        if "subjects" not in card:
            return None
        names: dict[tuple[str, ...], str] = {}
        for key in ("subjects", "styles", "backgrounds", "object_colours"):
            for name in _phrases(key, card.get(key, [])):
                names.setdefault(_words(name), name)
        synonyms = card.get("synonyms", {})
        if not isinstance(synonyms, dict):
            raise WeightsError("mintmark.json: card.synonyms must map names to lists of phrases.")
        for name, phrases in synonyms.items():
            for phrase in _phrases("synonyms", phrases):
                names.setdefault(_words(phrase), name)
        names.pop((), None)
        extra = _phrases("stop_words", card.get("stop_words", []))
        return cls(names, frozenset(_COMMON_STOP_WORDS.split()).union(*map(_words, extra)))

    def unknown_phrases(self, prompt: str) -> list[str]:
        """Return the phrases of `prompt` that name nothing known, in order, each once.

        Case, punctuation and plurals do not matter; the longest known phrase wins. Neighbouring
        unknown words make one phrase. Only the first 2,000 characters are read.
        """
        words = _words(prompt[:_MAX_PROMPT_CHARS])
        longest = max(map(len, self.names), default=1)
        runs: list[list[str]] = [[]]
        at = 0
        while at < len(words):
            known = self._known_length(words[at : at + longest])
            if known or words[at] in self.stop_words:
                runs.append([])
            else:
                runs[-1].append(words[at])
            at += max(1, known)
        return list(dict.fromkeys(" ".join(run) for run in runs if run))

    def _known_length(self, words: Sequence[str]) -> int:
        """Return how many words from the first on make the longest known phrase, or 0."""
        for length in range(len(words), 0, -1):
            phrase = tuple(words[:length])
            for last in _singulars(phrase[-1]):
                if (*phrase[:-1], last) in self.names:
                    return length
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingTable:
    """Where known phrases lie in the text encoder's space. phrases: P of them; vectors: (P, D)."""

    phrases: tuple[str, ...]
    vectors: NDArray[np.float32]

    @classmethod
    def build(cls, vocabulary: Vocabulary, embed: Embed) -> EmbeddingTable:
        """Embed every known phrase; done once, when a model is released."""
        phrases = tuple(" ".join(words) for words in vocabulary.names)
        return cls(phrases, np.stack([embed(phrase) for phrase in phrases]).astype(np.float32))

    @classmethod
    def load(cls, path: Path) -> EmbeddingTable:
        """Read a table. Raises WeightsError if it is missing, damaged or contradicts itself."""
        try:
            # np.load does not close a damaged file that it opened itself.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                phrases = tuple(str(phrase) for phrase in stored["phrases"])
                vectors = stored["vectors"].astype(np.float32)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{path} cannot be read as a vocabulary table: {error}.") from error
        if vectors.ndim != 2 or len(phrases) != len(vectors) or not np.isfinite(vectors).all():  # noqa: PLR2004
            raise WeightsError(f"{path} must hold one finite vector for each phrase.")
        return cls(phrases, vectors)

    def save(self, path: Path) -> None:
        """Write the table, in float16; equal tables give equal bytes."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file, phrases=np.array(self.phrases), vectors=self.vectors.astype(np.float16)
            )
        partial.replace(path)

    def nearest(self, vector: NDArray[np.float32]) -> tuple[str, float]:
        """Return the phrase nearest to `vector` (D,) and their cosine, both centred.

        Without centring, all vectors of a text encoder point much the same way.
        """
        centre = self.vectors.mean(axis=0)
        rows, query = self.vectors - centre, vector - centre
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        cosines = rows @ query / np.maximum(lengths, 1e-12)
        best = int(cosines.argmax())
        return self.phrases[best], float(cosines[best])


def text_embedder(model: DiffusionModel) -> Embed:
    """Return how to embed a text for a table: the text encoder's state at the end token.

    Must run on the thread that owns the model.
    """

    def embed(text: str) -> NDArray[np.float32]:
        states = model.arrays.to_numpy(model.encode_prompt(text))[0]
        end: NDArray[np.float32] = states[min(model.count_tokens(text) + 1, len(states) - 1)]
        return end

    return embed


def find_warnings(
    vocabulary: Vocabulary,
    prompt: str,
    table: EmbeddingTable | None = None,
    embed: Embed | None = None,
) -> tuple[str, ...]:
    """Return one sentence for each phrase of `prompt` that will not be drawn, at most 5.

    Such as "not drawn: 'zeppelin'; nearest known: 'airplane'". The nearest is the known phrase with
    almost the same spelling, else the nearest by `embed` in `table` when both are given; without a
    near one the sentence ends after the phrase.
    """
    warnings = []
    for phrase in vocabulary.unknown_phrases(prompt)[:MAX_WARNINGS]:
        nearest = _nearest_by_spelling(vocabulary, phrase)
        if nearest is None and table is not None and embed is not None:
            nearest = _nearest_by_meaning(vocabulary, phrase, table, embed)
        shown = phrase if len(phrase) <= _MAX_PHRASE_CHARS else f"{phrase[:_MAX_PHRASE_CHARS]}…"
        ending = "" if nearest is None else f"; nearest known: '{nearest}'"
        warnings.append(f"not drawn: '{shown}'{ending}")
    return tuple(warnings)


def _nearest_by_spelling(vocabulary: Vocabulary, phrase: str) -> str | None:
    """Return the name that `phrase`, or its last word, which English puts the noun in, misspells.

    None if there is no such name.
    """
    for attempt in dict.fromkeys((phrase, phrase.rpartition(" ")[2])):
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(attempt[:_MAX_PHRASE_CHARS])
        best, best_ratio = None, _MIN_SPELLING
        for words, name in vocabulary.names.items():
            if words[0][0] != attempt[0]:
                continue
            matcher.set_seq1(" ".join(words))
            if matcher.real_quick_ratio() >= best_ratio and matcher.ratio() >= best_ratio:
                best, best_ratio = name, matcher.ratio()
        if best is not None:
            return best
    return None


def _nearest_by_meaning(
    vocabulary: Vocabulary, phrase: str, table: EmbeddingTable, embed: Embed
) -> str | None:
    """Return the name of the known phrase that the text encoder puts next to `phrase`, or None."""
    known, cosine = table.nearest(embed(phrase))
    return vocabulary.names.get(tuple(known.split())) if cosine >= _MIN_COSINE else None


def _phrases(key: str, values: Any) -> Iterable[str]:
    """Return a list of strings from the card, or raise WeightsError."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise WeightsError(f"mintmark.json: card.{key} must hold lists of strings, not {values!r}.")
    return values


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a text, in lower case and one Unicode form."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def _singulars(word: str) -> tuple[str, ...]:
    """Return the word and what it may be the plural or possessive of."""
    forms = [word, re.sub(r"['’]s$", "", word)]
    if word.endswith("ies"):
        forms.append(f"{word[:-3]}y")
    if word.endswith("ves"):
        forms += [f"{word[:-3]}f", f"{word[:-3]}fe"]
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return tuple(dict.fromkeys(forms))
