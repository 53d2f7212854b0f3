"""What a model is measured against: facts drawn at random, their prompts, real renders of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.training.captions import Scene, plain_caption
from models.training.drawing import Order
from models.training.errors import TrainingError
from models.training.pixels import to_pictures
from models.training.sampler import BatchSampler
from models.training.vocabulary import BACKGROUNDS, COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.training.art import Art, Split
    from models.training.recipe import DataRecipe
    from models.training.vocabulary import Style, Subject

_RENDER_BATCH: Final = 256
# (subject, style, background, object colour) of the grid that a person looks at without prompts.
# Things that most people can name, some recoloured; a model that lacks one draws a spare.
_GRID: Final = (
    ("cat", "soft", "sky blue", None),
    ("apple", "3d", "white", None),
    ("rocket", "flat", "navy", None),
    ("penguin", "flat", "pink", None),
    ("pizza", "soft", "mint", None),
    ("car", "flat", "white", "blue"),
    ("umbrella", "3d", "beige", "purple"),
    ("tree", "soft", "lavender", None),
    ("fish", "3d", "yellow", None),
    ("strawberry", "flat", "white", None),
    ("butterfly", "soft", "gray", None),
    ("house", "3d", "sky blue", None),
    ("dog", "flat", "green", None),
    ("mushroom", "3d", "black", None),
    ("sunflower", "flat", "teal", None),
    ("crown", "soft", "red", None),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a model can be asked for: label in the art -> the same under the model's own name.

    unmatched: subjects of the model's card that the art does not have and that go unmeasured.
    """

    subjects: Mapping[int, Subject]
    styles: Mapping[int, Style]
    unmatched: tuple[str, ...] = ()

    @classmethod
    def of(cls, art: Art, card: Mapping[str, Any]) -> Scope:
        """Match a model card's subjects, by name or synonym, and styles to the art.

        A card without these lists knows it all. Raises TrainingError if nothing matches.
        """
        names = list(card.get("subjects", [subject.name for subject in art.subjects]))
        labels = {
            word: label
            for label, subject in enumerate(art.subjects)
            for word in (*subject.synonyms, subject.name)
        }
        words = {labels[name]: name for name in reversed(names) if name in labels}
        subjects = {
            label: dataclasses.replace(art.subjects[label], name=words[label])
            for label in sorted(words)
        }
        known_styles = set(card.get("styles", [style.name for style in art.styles]))
        styles = {i: style for i, style in enumerate(art.styles) if style.name in known_styles}
        if not subjects or not styles:
            raise TrainingError(
                "The model's card shares no subject or no style with the data; evaluate it with "
                "the data that it was trained on (`python -m models.training data`)."
            )
        return cls(subjects, styles, tuple(name for name in names if name not in labels))

    def restrict(self, art: Art) -> Art:
        """Return the art with only the pictures in scope; labels stay what they are."""
        subjects = {art.subjects[label].name for label in self.subjects}
        styles = {art.styles[label].name for label in self.styles}
        rows = [
            row
            for row, picture in enumerate(art.pictures)
            if picture.subject in subjects and picture.style in styles
        ]
        pictures = tuple(art.pictures[row] for row in rows)
        return dataclasses.replace(art, pixels=art.pixels[rows], pictures=pictures)


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels of N pictures, (N,) each. recolour: 0 is natural, k is COLOURS[k - 1]."""

    subject: NDArray[np.int64]
    style: NDArray[np.int64]
    background: NDArray[np.int64]
    recolour: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.subject)

    def head(self, count: int) -> Facts:
        """Return the first `count`."""
        return Facts(*(getattr(self, field.name)[:count] for field in dataclasses.fields(self)))

    def prompts(self, scope: Scope) -> list[str]:
        """Return a prompt for each picture that names all of its facts."""
        rows = zip(self.subject, self.style, self.background, self.recolour, strict=True)
        return [
            plain_caption(
                Scene(
                    scope.subjects[int(subject)],
                    scope.styles[int(style)],
                    BACKGROUNDS[background],
                    COLOURS[recolour - 1] if recolour else None,
                )
            )
            for subject, style, background, recolour in rows
        ]

    def orders(self, scope: Scope, first_seed: int) -> list[Order]:
        """Return what to draw, with consecutive seeds."""
        return [Order(prompt, first_seed + i) for i, prompt in enumerate(self.prompts(scope))]


@dataclass(frozen=True, slots=True)
class Renders:
    """Real pictures (N, H, W, 3) uint8 of `facts`."""

    facts: Facts
    pictures: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders single objects from art, as they are drawn for training, at a side of size_px."""

    art: Art
    size_px: int
    recipe: DataRecipe

    def draw(
        self, count: int, seed: int, *, split: Split = "train", recolour_share: float = 0.0
    ) -> Renders:
        """Return `count` renders from one split, the same for the same seed."""
        sampler = BatchSampler(self.art, self.size_px, "cpu", seed, self.recipe, split=split)
        batches = [
            sampler.sample(
                min(_RENDER_BATCH, count - start),
                recolour_share=recolour_share,
                pairs_share=0.0,
            )
            for start in range(0, count, _RENDER_BATCH)
        ]
        facts = Facts(
            *(
                np.concatenate([getattr(batch, field.name).numpy() for batch in batches])
                for field in dataclasses.fields(Facts)
            )
        )
        return Renders(facts, np.concatenate([to_pictures(batch.pixels) for batch in batches]))


def as_one_split(art: Art) -> Art:
    """Return the art with every pair counted as trained."""
    pictures = tuple(dataclasses.replace(p, split="train") for p in art.pictures)
    return dataclasses.replace(art, pictures=pictures)


def grid_prompts(scope: Scope) -> list[str]:
    """Return the prompts of the fixed grid, 16 unless the model knows fewer subjects.

    A subject the model lacks is replaced by one it has, a style likewise.
    """
    known = {subject.name: subject for subject in scope.subjects.values()}
    styles = list(scope.styles.values())
    backgrounds = {background.name: background for background in BACKGROUNDS}
    colours = {colour.name: colour for colour in COLOURS}
    listed = {subject for subject, *_ in _GRID}
    spares = iter([subject for name, subject in known.items() if name not in listed])
    prompts = []
    for row, (wanted, style, background, colour) in enumerate(_GRID):
        subject = known.get(wanted) or next(spares, None)
        if subject is not None:
            spare_style = styles[row % len(styles)]
            known_style = next((s for s in styles if s.name == style), spare_style)
            scene = Scene(
                subject, known_style, backgrounds[background], colours[colour] if colour else None
            )
            prompts.append(plain_caption(scene))
    return prompts


def held_out_digest(art: Art) -> str:
    """Return a hex digest of the pairs that are kept out of training, "" if there are none.

    A release writes it into its card as `held_out_pairs_sha256`: only a model that was trained
    without these very pairs can be measured on them.
    """
    pairs = {(p.subject, p.style) for p in art.pictures if p.split == "held_out_pair"}
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest() if pairs else ""
