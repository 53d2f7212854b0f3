"""Finds the words of a prompt that a model with a closed vocabulary will not draw (stop 2).

A model that knows a list of subjects draws something for every prompt, and draws it badly for a
word it never saw. The folder's `mintmark.json` says what it knows, and its `vocabulary.json`, which
may be missing, what is nearest to the words it does not know.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

from models.weights import VOCABULARY_FILE, WeightsError, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MAX_WARNINGS: Final = 5
_MAX_PHRASE_CHARS: Final = 60
# From the end of a phrase, where English puts the noun.
_MAX_TRIED_WORDS: Final = 3
_MAX_PROMPT_CHARS: Final = 2_000
# SequenceMatcher's ratio: "elefant" and "elephant" have .80, "cat" and "car" .67. "mouse" and
# "house" have .80 too: the first letter, which people rarely mistype, has to agree as well.
_MIN_SPELLING: Final = 0.78
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
    """What a model knows, and what is nearest to words that it does not know.

    names: every known phrase, as tuples of words, to its public name. nearest: other words and
    phrases to the name of the nearest thing, or to None if they are words of the language that
    nothing known is near to.
    """

    names: Mapping[tuple[str, ...], str]
    stop_words: frozenset[str]
    nearest: Mapping[str, str | None] = field(default_factory=dict)

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
                names.setdefault(words_of(name), name)
        synonyms = card.get("synonyms", {})
        if not isinstance(synonyms, dict):
            raise WeightsError("mintmark.json: card.synonyms must map names to lists of phrases.")
        for name, phrases in synonyms.items():
            for phrase in _phrases("synonyms", phrases):
                names.setdefault(words_of(phrase), name)
        names.pop((), None)
        extra = _phrases("stop_words", card.get("stop_words", []))
        stop_words = frozenset(_COMMON_STOP_WORDS.split()).union(*map(words_of, extra))
        return cls(names, stop_words)

    def find_warnings(self, prompt: str) -> tuple[str, ...]:
        """Return one sentence for each phrase of `prompt` that will not be drawn, at most 5.

        Such as "not drawn: 'airship'; nearest known: 'balloon'"; without a near one the sentence
        ends after the phrase.
        """
        warnings = []
        for phrase in self.unknown_phrases(prompt)[:MAX_WARNINGS]:
            nearest = self._find_nearest(phrase)
            is_long = len(phrase) > _MAX_PHRASE_CHARS
            shown = f"{phrase[:_MAX_PHRASE_CHARS]}…" if is_long else phrase
            ending = "" if nearest is None else f"; nearest known: '{nearest}'"
            warnings.append(f"not drawn: '{shown}'{ending}")
        return tuple(warnings)

    def unknown_phrases(self, prompt: str) -> list[str]:
        """Return the phrases of `prompt` that name nothing known, in order, each once.

        Case, punctuation and plurals do not matter; the longest known phrase wins. Neighbouring
        unknown words make one phrase. Only the first 2,000 characters are read.
        """
        words = words_of(prompt[:_MAX_PROMPT_CHARS])
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

    def nearest_by_spelling(self, phrase: str) -> str | None:
        """Return the name that `phrase` misspells, or None if there is none."""
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(phrase[:_MAX_PHRASE_CHARS])
        best, best_ratio = None, _MIN_SPELLING
        for words, name in self.names.items():
            if words[0][0] != phrase[0]:
                continue
            matcher.set_seq1(" ".join(words))
            # Two upper bounds first: the ratio itself is slow, and this runs on the event loop.
            bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
            if all(bound() >= best_ratio for bound in bounds):
                best, best_ratio = name, matcher.ratio()
        return best

    def _find_nearest(self, phrase: str) -> str | None:
        """Return the name nearest to the phrase, else to one of its words, the last one first."""
        words = phrase.split()
        for attempt in dict.fromkeys((phrase, *reversed(words[-_MAX_TRIED_WORDS:]))):
            listed = [form for form in _singulars(attempt) if form in self.nearest]
            found = self.nearest[listed[0]] if listed else self.nearest_by_spelling(attempt)
            if found is not None:
                return found
        return None


def read_vocabulary(folder: Path, card: Mapping[str, Any]) -> Vocabulary | None:
    """Return what the model in a pipeline folder knows; None if its card lists no subjects.

    Raises WeightsError if the card's lists, or a `vocabulary.json` that is there, cannot be used.
    """
    vocabulary = Vocabulary.from_card(card)
    path = folder / VOCABULARY_FILE
    if vocabulary is None or not path.is_file():
        return vocabulary
    nearest = read_json(path)
    known = {None, *vocabulary.names.values()}
    for word, name in nearest.items():
        if not isinstance(name, str | None) or name not in known:
            raise WeightsError(
                f"{path} must map words to names on the model's card, not {word!r} to {name!r}."
            )
    return replace(vocabulary, nearest=nearest)


def write_nearest(folder: Path, nearest: Mapping[str, str | None]) -> None:
    """Write `vocabulary.json`, one word to a line, so that a change can be read."""
    text = json.dumps(nearest, indent=0, ensure_ascii=False)
    (folder / VOCABULARY_FILE).write_text(f"{text}\n", encoding="utf-8")


def _phrases(key: str, values: Any) -> Iterable[str]:
    """Return a list of strings from the card, or raise WeightsError."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise WeightsError(f"mintmark.json: card.{key} must hold lists of strings, not {values!r}.")
    return values


def words_of(text: str) -> tuple[str, ...]:
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
