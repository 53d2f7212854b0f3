"""The drawings: one array of RGBA pixels and one record per picture, on disk and in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.training.errors import TrainingError
from models.training.vocabulary import STYLES, Style, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

Split = Literal["train", "held_out_pair"]
PIXELS_FILE = "art.npy"
FACTS_FILE = "art.json"


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawing. subject, style: names. source: the set it comes from; sha256: of its source.

    split: "held_out_pair" if this (subject, style) is kept out of training.
    """

    subject: str
    style: str
    source: str
    sha256: str
    split: Split


@dataclass(frozen=True, slots=True)
class Art:
    """A data set. pixels: (N, R, R, 4) uint8 RGBA, straight alpha; row i is `pictures[i]`.

    subjects, styles: those that occur, in label order; a label is an index into them.
    """

    pixels: NDArray[np.uint8]
    pictures: tuple[Picture, ...]
    subjects: tuple[Subject, ...]
    styles: tuple[Style, ...]


def held_out_pairs(pairs: Iterable[tuple[str, str]], share: float) -> frozenset[tuple[str, str]]:
    """Return the (subject, style) pairs to keep out of training, about `share` of all.

    The choice depends on the pairs alone, by hash, so it survives other seeds and other machines.
    A subject loses at most one style, and never its only one: what is tested is the combination,
    not a subject that was never seen.
    """
    styles: dict[str, list[str]] = {}
    for subject, style in sorted(set(pairs)):
        styles.setdefault(subject, []).append(style)
    total = sum(len(of_subject) for of_subject in styles.values())
    candidates = []
    for subject, of_subject in styles.items():
        if len(of_subject) > 1:
            pair = min(((subject, style) for style in of_subject), key=_pair_hash)
            candidates.append((_pair_hash(("", subject)), pair))
    candidates.sort()
    return frozenset(pair for _, pair in candidates[: round(share * total)])


def _pair_hash(pair: tuple[str, str]) -> str:
    """Return a fixed pseudo-random number for a pair, as hex."""
    return hashlib.sha256("\n".join(pair).encode()).hexdigest()


def save_art(folder: Path, art: Art, digest: str) -> None:
    """Write the data set into an existing, empty folder. digest: of all it was made from."""
    np.save(folder / PIXELS_FILE, art.pixels)
    facts = {
        "digest": digest,
        "pixels_sha256": _file_digest(folder / PIXELS_FILE),
        "subjects": [asdict(subject) for subject in art.subjects],
        "styles": [style.name for style in art.styles],
        "pictures": [asdict(picture) for picture in art.pictures],
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def art_digest(folder: Path) -> str | None:
    """Return the digest the data set in `folder` was saved with, or None if there is none."""
    try:
        digest = json.loads((folder / FACTS_FILE).read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def load_art(folder: Path) -> Art:
    """Return the data set in `folder`, its pixels mapped from disk.

    Raises TrainingError if it is missing, incomplete or changed.
    """
    again = "Run the data stage again."
    try:
        facts = json.loads((folder / FACTS_FILE).read_bytes())
        if _file_digest(folder / PIXELS_FILE) != facts["pixels_sha256"]:
            raise TrainingError(f"{folder / PIXELS_FILE} is not what {FACTS_FILE} says. {again}")
        pixels: NDArray[np.uint8] = np.load(folder / PIXELS_FILE, mmap_mode="r")
        art = _read_facts(facts, pixels)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no data set: {error.filename} is missing. {again}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"The data set in {folder} cannot be read: {error}. {again}") from error
    if pixels.shape[0] != len(art.pictures):
        raise TrainingError(f"The data set in {folder} has pictures without a record. {again}")
    return art


def _read_facts(facts: dict[str, Any], pixels: NDArray[np.uint8]) -> Art:
    """Return the data set a facts file describes; KeyError or TypeError if it is not one."""
    styles = {style.name: style for style in STYLES}
    return Art(
        pixels,
        tuple(Picture(**picture) for picture in facts["pictures"]),
        tuple(
            Subject(**{**subject, "synonyms": tuple(subject["synonyms"])})
            for subject in facts["subjects"]
        ),
        tuple(styles[name] for name in facts["styles"]),
    )


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
