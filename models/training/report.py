"""The report of an evaluation, as facts and as Markdown for the model card."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.training.metrics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from models.training.measurements import Measurements, Row, SubjectScore
    from models.training.ship_bar import Check

_VERDICTS = {True: "yes", False: "**no**", None: "–"}


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was measured on one model and how it stands against the ship bar.

    facts: model, data, judge and settings, JSON-serialisable. notes: sentences about what was left
    out and why.
    """

    facts: Mapping[str, Any]
    measured: Measurements
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_cleared(self) -> bool:
        """Tell whether no point of the bar fails; those not measured do not count."""
        return all(check.passed is not False for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-serialisable."""
        return {
            "facts": dict(self.facts),
            "measured": dataclasses.asdict(self.measured),
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "notes": list(self.notes),
            "is_cleared": self.is_cleared,
        }

    def markdown(self) -> str:
        """Return the report: settings, scores beside their ceilings, the bar, every subject."""
        parts = [
            "\n".join(f"* {name}: {value}" for name, value in self.facts.items()),
            _score_table(self.measured.rows),
            _top1_interval(self.measured),
            _check_table(self.checks),
            _distance_sentences(self.measured),
            _subject_table(self.measured.subjects),
            "\n".join(f"* {note}" for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def _score_table(rows: Iterable[Row]) -> str:
    header = ("pictures", "source", "n", "subject top-1", "top-5", "style", "background",
              "recolour", "blank", "PSNR, dB")  # fmt: skip
    body = [
        (
            row.pictures,
            row.source,
            str(row.scores.count),
            _share(row.scores.subject_top1),
            _share(row.scores.subject_top5),
            _share(row.scores.style),
            _share(row.scores.background),
            _share(row.scores.recolour),
            _share(row.scores.blank),
            "" if row.scores.psnr_db is None else f"{row.scores.psnr_db:.1f}",
        )
        for row in rows
    ]
    return _table(header, body)


def _top1_interval(measured: Measurements) -> str:
    """Return how far chance may have moved the main figure."""
    for row in measured.rows:
        if (row.pictures, row.source) == ("trained pairs", "generated"):
            low, high = wilson_interval(row.scores.subject_top1, row.scores.count)
            return (
                f"95 % interval of the generated subject top-1 over {row.scores.count} "
                f"pictures: {low:.3f} to {high:.3f}."
            )
    return ""


def _check_table(checks: Iterable[Check]) -> str:
    body = [
        (
            check.name,
            "–" if check.value is None else f"{check.value:.3f}",
            check.limit,
            _VERDICTS[check.passed],
            check.note,
        )
        for check in checks
    ]
    return _table(("ship bar", "measured", "limit", "met", "note"), body)


def _distance_sentences(measured: Measurements) -> str:
    distances, memory = measured.distances, measured.memorisation
    lines = [
        f"Fréchet distance over {distances.count} pictures: generated {distances.generated:.3f}, "
        f"real {distances.real:.3f}, both from other real renders."
    ]
    if memory is not None:
        lines.append(
            f"Nearest training drawing, median cosine: generated held-out pairs "
            f"{memory.generated_median:.3f}, real held-out pairs {memory.real_median:.3f}, "
            f"generated trained pairs {memory.trained_median:.3f}."
        )
    return "\n".join(lines)


def _subject_table(subjects: Sequence[SubjectScore]) -> str:
    """Return the subjects in groups of equal score, best first, with how often each was drawn."""
    groups: dict[str, list[str]] = {}
    for subject in sorted(subjects, key=lambda score: (-score.top1, score.name)):
        groups.setdefault(f"{subject.top1:.1f}", []).append(f"{subject.name} ({subject.count})")
    body = [(share, str(len(names)), ", ".join(names)) for share, names in groups.items()]
    return _table(("named right, rounded", "subjects", "which (pictures)"), body) if body else ""


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
