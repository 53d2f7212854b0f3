"""Says in words what a picture shows, the way people would ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from models.training.vocabulary import BACKGROUNDS, COLOURS

if TYPE_CHECKING:
    import numpy as np

    from models.training.vocabulary import Background, Colour, Style, Subject

Arrangement = Literal["beside", "above"]

# How often a caption leaves something out. A background that is not named is always white, so that
# a short prompt has one clear answer; a style that is not named can be any.
_SILENT_WHITE_SHARE = 0.5
_SILENT_STYLE_SHARE = 0.08
_SILENT_STYLE_SHARE_IF_SHORT = 0.4
_NO_ARTICLE_SHARE = 0.12
_STYLE_SYNONYM_SHARE = 0.15
# The first form is the one the documentation teaches, so it is drawn this often.
_USUAL_FORM_SHARE = 0.4

_FORMS = (
    "{thing}, {style} style, on {a_background} background",
    "{thing} in {style} style on {a_background} background",
    "{thing} on {a_background} background, {style} style",
    "{a_style} picture of {thing} on {a_background} background",
    "{a_style} icon of {thing}, {background} background",
    "{style} emoji of {thing} on {background}",
)
_FORMS_WITHOUT_STYLE = (
    "{thing} on {a_background} background",
    "{thing}, {background} background",
    "a picture of {thing} on {a_background} background",
)
_FORMS_WITHOUT_BACKGROUND = (
    "{thing}, {style} style",
    "{thing} in {style} style",
    "{a_style} icon of {thing}",
)
_FORMS_OF_THE_THING = ("{thing}", "a picture of {thing}", "{thing} icon")

_PAIRS: dict[Arrangement, tuple[str, ...]] = {
    "beside": (
        "{first} and {second}",
        "{first} next to {second}",
        "{first} beside {second}",
        "{first} to the left of {second}",
        "{second} to the right of {first}",
    ),
    "above": (
        "{first} above {second}",
        "{first} on top of {second}",
        "{second} below {first}",
    ),
}
_SILENT_BACKGROUND = "white"
_OTHER_COLOUR_WORDS = frozenset({"white", "black", "gray", "grey", "brown", "golden", "silver"})


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. colour: of the first object, None for its own colours.

    second: another object, right of the first ("beside") or below it ("above").
    """

    subject: Subject
    style: Style
    background: Background
    colour: Colour | None = None
    second: Subject | None = None
    arrangement: Arrangement = "beside"


def plain_caption(scene: Scene) -> str:
    """Return the usual caption of a scene, always the same."""
    thing = _noun(_coloured(scene.subject.name, scene.colour), is_bare=scene.subject.is_bare)
    if scene.second is not None:
        second = _noun(scene.second.name, is_bare=scene.second.is_bare)
        thing = _PAIRS[scene.arrangement][0].format(first=thing, second=second)
    return _filled(_FORMS[0], thing, scene.style.name, scene.background.name)


def draw_caption(rng: np.random.Generator, scene: Scene, synonym_share: float) -> str:
    """Return one of the captions of a scene.

    synonym_share: of the captions, which name a subject by one of its synonyms, if it has any.
    """
    thing = _draw_thing(rng, scene, synonym_share)
    style = scene.style.name
    if scene.style.synonyms and rng.random() < _STYLE_SYNONYM_SHARE:
        style = _pick(rng, scene.style.synonyms)
    background = scene.background.name
    is_short = background == _SILENT_BACKGROUND and rng.random() < _SILENT_WHITE_SHARE
    silent_style_share = _SILENT_STYLE_SHARE_IF_SHORT if is_short else _SILENT_STYLE_SHARE
    has_style = rng.random() >= silent_style_share
    if has_style:
        forms = _FORMS_WITHOUT_BACKGROUND if is_short else _FORMS
    else:
        forms = _FORMS_OF_THE_THING if is_short else _FORMS_WITHOUT_STYLE
    form = forms[0] if rng.random() < _USUAL_FORM_SHARE else _pick(rng, forms)
    return _filled(form, thing, style, background)


def _draw_thing(rng: np.random.Generator, scene: Scene, synonym_share: float) -> str:
    """Return the words for the objects of a scene."""
    thing = _draw_noun(rng, scene.subject, scene.colour, synonym_share)
    if scene.second is None:
        return thing
    second = _draw_noun(rng, scene.second, None, synonym_share)
    return _pick(rng, _PAIRS[scene.arrangement]).format(first=thing, second=second)


def _draw_noun(
    rng: np.random.Generator, subject: Subject, colour: Colour | None, synonym_share: float
) -> str:
    """Return the words for one object, most often with an article."""
    synonyms = subject.synonyms if colour is None else colourless_synonyms(subject)
    name = subject.name
    if synonyms and rng.random() < synonym_share:
        name = _pick(rng, synonyms)
    is_bare = subject.is_bare or rng.random() < _NO_ARTICLE_SHARE
    return _noun(_coloured(name, colour), is_bare=is_bare)


@cache
def colourless_synonyms(subject: Subject) -> tuple[str, ...]:
    """Return the synonyms that fit an object of any colour: "red rose" is not blue."""
    words = {word for colour in (*COLOURS, *BACKGROUNDS) for word in colour.name.split()}
    words |= _OTHER_COLOUR_WORDS
    return tuple(name for name in subject.synonyms if words.isdisjoint(name.split()))


def _coloured(name: str, colour: Colour | None) -> str:
    return name if colour is None else f"{colour.name} {name}"


def _noun(words: str, *, is_bare: bool) -> str:
    return words if is_bare else with_article(words)


@cache
def with_article(words: str) -> str:
    """Return the words after "a" or "an"."""
    is_vowel = words.startswith(("a", "e", "i", "o", "u", "hour")) and not words.startswith(
        ("uni", "ufo", "eu", "one-")
    )
    return f"an {words}" if is_vowel else f"a {words}"


def _filled(form: str, thing: str, style: str, background: str) -> str:
    """Return a form with its blanks filled; unused words are left out."""
    return form.format(
        thing=thing,
        style=style,
        a_style=with_article(style),
        background=background,
        a_background=with_article(background),
    )


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    # Twenty times faster than Generator.choice, and captions are drawn by the thousand.
    return choices[int(rng.random() * len(choices))]
