"""Measures a pipeline folder through the service's own loader, beside what it could reach at best.

Every set of facts is looked at three times: as real renders, as the autoencoder's reconstructions
of them, and as what the model draws when asked for the same. The first two are ceilings.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from models.training.art import load_art
from models.training.bench import Bench, choose_sampling, open_model
from models.training.classifier import obtain_judge
from models.training.drawing import Order
from models.training.journal import make_grid
from models.training.measurements import (
    Distances,
    Measurements,
    Row,
    SubjectScore,
)
from models.training.memorisation import compare_with_art
from models.training.metrics import frechet_distance, top_k_hits
from models.training.reference import (
    Renderer,
    Scope,
    as_one_split,
    grid_prompts,
    held_out_digest,
)
from models.training.report import EvaluationReport
from models.training.ship_bar import check_ship_bar, few_step_check
from models.training.storage import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.training.art import Art
    from models.training.measurements import PictureSet
    from models.training.recipe import Recipe
    from models.training.reference import Facts, Renders

    Pictures = NDArray[np.uint8]

# Each draw of facts has its own seed, far from those of training.
_SEEDS: Final = {"trained pairs": 1, "held-out pairs": 2, "recoloured": 3, "other": 4}
_SEED_STRIDE: Final = 1_000_000
_SHEET_COLUMNS: Final = 16
_GRID_COLUMNS: Final = 4
_GRID_SCALE: Final = 3


def run_evaluation(
    folder: Path,
    work: Path,
    recipe: Recipe,
    device: str,
    *,
    full: EvaluationReport | None = None,
) -> EvaluationReport:
    """Measure the pipeline in `folder` and write the report below `work`/evaluation/<model id>.

    work: holds `data`; the judge is trained there once. device: "cpu" or "cuda". full: of the model
    that a few-step one was distilled from; the two are then compared. Written:
    report.json, report.md, a sheet of real, rebuilt and drawn pictures for each set, and the fixed
    grid (grid.png) with its prompts apart from it (grid-prompts.txt), so that somebody can name the
    pictures blind.
    Raises TrainingError if the data is missing or does not fit the model, WeightsError or
    RunnerUnavailable if the folder cannot be loaded.
    """
    art = load_art(work / "data")
    model, runner = open_model(folder, device)
    judge = obtain_judge(art, work, recipe, device)
    options = recipe.evaluation
    scope = Scope.of(art, model.spec.card)
    sampling = choose_sampling(model, options.num_inference_steps)
    bench = Bench(model, runner, judge, scope, sampling, options.batch)
    try:
        evaluation = _Evaluation(bench, art, recipe, work / "evaluation" / model.spec.model_id)
        return evaluation.run(full)
    finally:
        bench.close()


class _Evaluation:
    """One run over one model."""

    def __init__(self, bench: Bench, art: Art, recipe: Recipe, target: Path) -> None:
        self._bench = bench
        self._recipe = recipe
        self._target = target
        in_scope = bench.scope.restrict(art)
        digest = held_out_digest(art)
        card_digest = bench.model.spec.card.get("held_out_pairs_sha256")
        self._holds_out = bool(digest) and digest == card_digest and held_out_digest(in_scope) != ""
        self._art = in_scope if self._holds_out else as_one_split(in_scope)
        side_px = bench.model.spec.default_size_px[0]
        self._renderer = Renderer(self._art, side_px, recipe.data)

    def run(self, full: EvaluationReport | None) -> EvaluationReport:
        """Measure, judge, write."""
        options = self._recipe.evaluation
        rows: list[Row] = []
        natural = self._render("trained pairs", max(options.prompts, options.frechet_pictures))
        drawn = self._measure("trained pairs", natural, rows)
        self._measure("recoloured", self._render("recoloured", options.prompts), rows)
        memorisation = None
        if self._holds_out:
            held_out = self._render("held-out pairs", options.prompts)
            drawn_held_out = self._measure("held-out pairs", held_out, rows)
            memorisation = compare_with_art(self._art, held_out, drawn_held_out, natural, drawn)
        measured = Measurements(
            rows=tuple(rows),
            distances=self._distances(natural, drawn),
            memorisation=memorisation,
            subjects=self._subjects(natural.facts, drawn),
        )
        checks = check_ship_bar(measured)
        if full is not None:
            checks += (few_step_check(full.measured, measured),)
        report = EvaluationReport(self._facts(), measured, checks, tuple(self._notes()))
        self._draw_grid()
        self._write("report.json", (json.dumps(report.as_dict(), indent=1) + "\n").encode())
        self._write("report.md", report.markdown().encode())
        return report

    def _render(self, pictures: PictureSet, count: int) -> Renders:
        """Draw the facts of one set and their real renders."""
        return self._renderer.draw(
            count,
            self._seed(pictures),
            split="held_out_pair" if pictures == "held-out pairs" else "train",
            recolour_share=1.0 if pictures == "recoloured" else 0.0,
        )

    def _measure(self, pictures: PictureSet, real: Renders, rows: list[Row]) -> Pictures:
        """Add a set's three lines to `rows` and return what the model drew.

        Ceilings are measured on the first `prompts` pictures, which is enough for them.
        """
        bench, facts = self._bench, real.facts
        few = facts.head(self._recipe.evaluation.prompts)
        originals = real.pictures[: len(few)]
        rebuilt = bench.reconstruct(originals)
        drawn = bench.draw(facts.orders(bench.scope, self._seed(pictures)), pictures)
        rows += [
            Row(pictures, "real renders", bench.score(originals, few)),
            Row(pictures, "reconstructions", bench.score(rebuilt, few, originals)),
            Row(pictures, "generated", bench.score(drawn, facts)),
        ]
        columns = min(_SHEET_COLUMNS, len(few))
        sheet = np.concatenate([part[:columns] for part in (originals, rebuilt, drawn)])
        self._write_png(f"{pictures.replace(' ', '-')}.png", make_grid(sheet, columns))
        return drawn

    def _distances(self, natural: Renders, drawn: Pictures) -> Distances:
        """Compare drawn and real pictures of the same facts with real ones of other facts."""
        count = self._recipe.evaluation.frechet_pictures
        other = self._renderer.draw(count, self._seed("other"))
        looks = [natural.pictures[:count], drawn[:count], other.pictures]
        real, generated, reference = (self._bench.judge.look(part).features for part in looks)
        return Distances(
            count=count,
            generated=frechet_distance(generated, reference),
            real=frechet_distance(real, reference),
        )

    def _subjects(self, facts: Facts, drawn: Pictures) -> tuple[SubjectScore, ...]:
        """Return each subject's own top-1."""
        labels = np.array(list(self._bench.scope.subjects))
        scores = self._bench.judge.look(drawn).subject_scores[:, labels]
        hits = top_k_hits(scores, np.searchsorted(labels, facts.subject), 1)
        found = []
        for label, subject in self._bench.scope.subjects.items():
            own = hits[facts.subject == label]
            if len(own):
                found.append(SubjectScore(subject.name, len(own), float(own.mean())))
        return tuple(found)

    def _draw_grid(self) -> None:
        """Write the fixed grid and, apart from it, its prompts."""
        prompts = grid_prompts(self._bench.scope)
        orders = [Order(prompt, seed) for seed, prompt in enumerate(prompts)]
        drawn = self._bench.draw(orders, "grid").repeat(_GRID_SCALE, 1).repeat(_GRID_SCALE, 2)
        self._write_png("grid.png", make_grid(drawn, _GRID_COLUMNS))
        lines = "".join(f"{i + 1}. {prompt}\n" for i, prompt in enumerate(prompts))
        self._write("grid-prompts.txt", lines.encode())

    def _facts(self) -> dict[str, Any]:
        """Return what a reader needs to repeat the measurement."""
        spec = self._bench.model.spec
        scope = self._bench.scope
        return {
            "model": spec.model_id,
            "revision": spec.revision,
            "size_px": "x".join(map(str, spec.default_size_px)),
            "subjects": len(scope.subjects),
            "styles": ", ".join(style.name for style in scope.styles.values()),
            "drawings": len(self._art.pictures),
            "sampling": asdict(self._bench.sampling),
            "judge": self._bench.judge.digest,
            "seed": self._recipe.evaluation.seed,
        }

    def _notes(self) -> list[str]:
        """Return what was left out, and why."""
        notes = []
        if not self._holds_out:
            notes.append(
                "Held-out pairs and memorisation are not measured: the model's card does not say "
                "that it was trained without the pairs that this data holds out."
            )
        if self._bench.scope.unmatched:
            missing = ", ".join(self._bench.scope.unmatched)
            notes.append(f"Subjects not measured, because the data lacks them: {missing}.")
        return notes

    def _seed(self, name: str) -> int:
        return _SEED_STRIDE * (self._recipe.evaluation.seed * len(_SEEDS) + _SEEDS[name])

    def _write(self, name: str, content: bytes) -> None:
        replace_file(self._target / name, content)

    def _write_png(self, name: str, picture: Pictures) -> None:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        self._write(name, buffer.getvalue())
