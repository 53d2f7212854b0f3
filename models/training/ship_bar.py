"""The bar that a model has to clear before it ships, point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from models.training.measurements import Measurements

# A distance means little over fewer pictures.
MIN_FRECHET_PICTURES: Final = 2048
MAX_FEW_STEP_LOSS: Final = 0.05
_NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True, slots=True)
class Check:
    """One point of the bar. passed: None if it was not measured; `note` says more."""

    name: str
    value: float | None
    limit: str
    passed: bool | None
    note: str = ""


def check_ship_bar(measured: Measurements) -> tuple[Check, ...]:
    """Return every point of the bar, the look included, which only a person can take.

    Ratios are to real renders, except that generated recolours are compared with reconstructed
    ones: the pictures cannot keep a hue that the autoencoder loses.
    """
    return (
        *_autoencoder_checks(measured),
        *_picture_checks(measured),
        _frechet_check(measured),
        *_memorisation_checks(measured),
        Check("subjects named by a person, of 16", None, "≥ 12", None, "look at grid.png"),
    )


def few_step_check(full: Measurements, few_step: Measurements) -> Check:
    """Return whether a few-step model keeps the top-1 of the model that it was distilled from."""
    return _ratio(
        "few-step subject top-1, of the full model's",
        few_step.value("trained pairs", "generated", "subject_top1"),
        full.value("trained pairs", "generated", "subject_top1"),
        1 - MAX_FEW_STEP_LOSS,
    )


def _autoencoder_checks(measured: Measurements) -> tuple[Check, ...]:
    return (
        _at_least(
            "autoencoder, PSNR on held-out pairs in dB",
            measured.value("held-out pairs", "reconstructions", "psnr_db"),
            28.0,
        ),
        _ratio(
            "autoencoder, subject top-1 of real",
            measured.value("trained pairs", "reconstructions", "subject_top1"),
            measured.value("trained pairs", "real renders", "subject_top1"),
            0.95,
        ),
        _ratio(
            "autoencoder, recolour of real",
            measured.value("recoloured", "reconstructions", "recolour"),
            measured.value("recoloured", "real renders", "recolour"),
            0.95,
        ),
    )


def _picture_checks(measured: Measurements) -> tuple[Check, ...]:
    def drawn(score: str) -> float | None:
        return measured.value("trained pairs", "generated", score)

    held_out = measured.value("held-out pairs", "generated", "subject_top1")
    real_style = measured.value("trained pairs", "real renders", "style")
    recolour = measured.value("recoloured", "generated", "recolour")
    recolour_ceiling = measured.value("recoloured", "reconstructions", "recolour")
    return (
        _at_least("subject top-1", drawn("subject_top1"), 0.65, "goal 0.90"),
        _at_least("subject top-5", drawn("subject_top5"), 0.90, "goal 0.98"),
        _ratio("held-out pairs, top-1 of trained", held_out, drawn("subject_top1"), 0.8),
        _at_least("background", drawn("background"), 0.95),
        _ratio("recolour, of reconstructions", recolour, recolour_ceiling, 0.75),
        _ratio("style, of real", drawn("style"), real_style, 0.8),
        _at_most("blank pictures", drawn("blank"), 0.01, is_strict=True),
    )


def _frechet_check(measured: Measurements) -> Check:
    distances = measured.distances
    name = "Fréchet distance, of real from real"
    if distances.real <= 0:
        return Check(name, None, "≤ 2.5", None, _NOT_MEASURED)
    check = _at_most(name, distances.generated / distances.real, 2.5)
    if distances.count >= MIN_FRECHET_PICTURES:
        return check
    note = f"{distances.count} pictures, {MIN_FRECHET_PICTURES} needed"
    return Check(name, check.value, check.limit, None, note)


def _memorisation_checks(measured: Measurements) -> tuple[Check, ...]:
    memory = measured.memorisation
    generated = memory.generated_median if memory else None
    copies = memory.copy_share if memory else None
    limit = memory.real_median if memory else 1.0
    return (
        _at_most("memorisation, median cosine with the art", generated, limit),
        _at_most("memorisation, nearer than real art", copies, 0.05, is_strict=True),
    )


def _at_least(name: str, value: float | None, limit: float, note: str = "") -> Check:
    if value is None:
        return Check(name, None, f"≥ {limit:g}", None, _NOT_MEASURED)
    return Check(name, value, f"≥ {limit:g}", value >= limit, note)


def _at_most(name: str, value: float | None, limit: float, *, is_strict: bool = False) -> Check:
    sign = "<" if is_strict else "≤"
    shown = f"{sign} {limit:.3g}"
    if value is None:
        return Check(name, None, shown, None, _NOT_MEASURED)
    return Check(name, value, shown, value < limit if is_strict else value <= limit)


def _ratio(name: str, value: float | None, of: float | None, limit: float) -> Check:
    """Return the check of a quotient; a ceiling of zero leaves nothing to measure against."""
    quotient = value / of if value is not None and of else None
    return _at_least(name, quotient, limit)
