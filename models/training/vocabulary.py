"""The words the embedded model knows: subjects, styles, backgrounds and object colours."""

from __future__ import annotations

import colorsys
import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.training.errors import TrainingError

Category = Literal["animal", "food", "object", "plant", "vehicle", "weather", "face"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
SUBJECTS_FILE = Path(__file__).with_name("subjects.toml")


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that can be drawn.

    name: what people would say, lower case, singular. emoji: its code points in hexadecimal,
    joined by "-", as art sets name their files. synonyms: other names, used in captions too.
    is_bare: the name takes no article ("grapes", "broccoli").
    """

    name: str
    category: Category
    emoji: str
    synonyms: tuple[str, ...] = ()
    is_bare: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """A way of drawing. name: the label, and the usual word for it. synonyms: other words."""

    name: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Background:
    """A plain background. rgb: sRGB, 0 to 255."""

    name: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour an object can be given. rgb: what people mean by it, sRGB, 0 to 255."""

    name: str
    rgb: tuple[int, int, int]

    @property
    def hue_deg(self) -> float:
        """Return the hue of HSV, 0 (red) to 360."""
        return 360 * colorsys.rgb_to_hsv(*self.rgb)[0]


STYLES = (
    Style("soft", ("shaded",)),
    Style("blob", ("blobby",)),
    Style("flat", ("vector",)),
    Style("3d", ("rendered",)),
)

BACKGROUNDS = (
    Background("white", (255, 255, 255)),
    Background("black", (16, 16, 16)),
    Background("gray", (148, 148, 148)),
    Background("red", (222, 56, 56)),
    Background("orange", (245, 146, 50)),
    Background("yellow", (250, 216, 74)),
    Background("green", (76, 175, 80)),
    Background("mint", (178, 240, 208)),
    Background("teal", (0, 137, 138)),
    Background("sky blue", (146, 208, 250)),
    Background("blue", (48, 98, 222)),
    Background("navy", (26, 40, 92)),
    Background("purple", (126, 66, 178)),
    Background("lavender", (208, 192, 244)),
    Background("pink", (252, 172, 200)),
    Background("brown", (126, 84, 56)),
    Background("beige", (240, 226, 198)),
)

COLOURS = (
    Colour("red", (228, 50, 46)),
    Colour("orange", (247, 142, 40)),
    Colour("yellow", (250, 214, 50)),
    Colour("green", (60, 176, 68)),
    Colour("teal", (20, 178, 172)),
    Colour("blue", (52, 112, 232)),
    Colour("purple", (146, 72, 212)),
    Colour("pink", (248, 110, 180)),
)


def load_subjects(path: Path = SUBJECTS_FILE) -> tuple[Subject, ...]:
    """Return the subjects in `path`, in its order, which is the order of their labels.

    Raises TrainingError if the file cannot be read, a field is missing or unknown, a name, synonym
    or emoji appears twice, or a category is not one of CATEGORIES.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}. Restore it from git.") from error
    subjects = tuple(_subject(path, entry) for entry in table.get("subject", []))
    if not subjects:
        raise TrainingError(f"{path} lists no subjects. Restore it from git.")
    _refuse_doubles(path, "name or synonym", [word for s in subjects for word in _words(s)])
    _refuse_doubles(path, "emoji", [subject.emoji for subject in subjects])
    return subjects


def _subject(path: Path, entry: dict[str, Any]) -> Subject:
    """Return one table entry as a Subject, or raise TrainingError."""
    fields = {field.name for field in dataclasses.fields(Subject)}
    if not fields >= entry.keys() >= {"name", "category", "emoji"}:
        raise TrainingError(f"{path}: {entry} must have the fields of Subject, and no others.")
    if entry["category"] not in CATEGORIES:
        raise TrainingError(f"{path}: {entry['name']!r} has no category of {CATEGORIES}.")
    return Subject(**{**entry, "synonyms": tuple(entry.get("synonyms", ()))})


def _words(subject: Subject) -> tuple[str, ...]:
    """Return everything the subject may be called."""
    return (subject.name, *subject.synonyms)


def _refuse_doubles(path: Path, kind: str, values: list[str]) -> None:
    """Raise TrainingError if a value appears twice: a caption must mean one subject."""
    doubles = sorted({value for value in values if values.count(value) > 1})
    if doubles:
        raise TrainingError(f"{path}: {kind} used twice: {', '.join(doubles)}.")
