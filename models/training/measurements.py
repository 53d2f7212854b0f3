"""What an evaluation measures, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PictureSet = Literal["trained pairs", "held-out pairs", "recoloured"]
Source = Literal["real renders", "reconstructions", "generated"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares, 0 to 1, over `count` pictures. recolour: None if none was asked for.

    psnr_db: mean over the pictures; of reconstructions only.
    """

    count: int
    subject_top1: float
    subject_top5: float
    style: float
    background: float
    blank: float
    recolour: float | None = None
    psnr_db: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    pictures: PictureSet
    source: Source
    scores: Scores


@dataclass(frozen=True, slots=True)
class Distances:
    """Fréchet distances of `count` generated and of as many real pictures from other real ones."""

    count: int
    generated: float
    real: float


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How near pictures come to the training art: cosine of the cut-out objects' pixels.

    Measured on held-out pairs: there no drawing in the training art is the right answer.
    copy_share: generated pictures nearer than the nearest 1 % of real held-out art.
    trained_median: of generated trained pairs, for comparison; near 1 is what was asked for.
    """

    generated_median: float
    real_median: float
    copy_share: float
    trained_median: float


@dataclass(frozen=True, slots=True)
class SubjectScore:
    """How often one subject was named right, of `count` generated pictures in natural colours."""

    name: str
    count: int
    top1: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that was measured on one model. memorisation: None without held-out pairs."""

    rows: tuple[Row, ...]
    distances: Distances
    memorisation: Memorisation | None
    subjects: tuple[SubjectScore, ...]

    def value(self, pictures: PictureSet, source: Source, score: str) -> float | None:
        """Return one cell of the table, or None if it was not measured."""
        for row in self.rows:
            if (row.pictures, row.source) == (pictures, source):
                found: float | None = getattr(row.scores, score)
                return found
        return None
