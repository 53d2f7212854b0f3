from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from models.options import LoadOptions
from models.training.art import save_art
from models.training.errors import TrainingError
from models.training.evaluate import run_evaluation
from models.training.reference import held_out_digest
from models.weights import write_digests
from tests.models_kit import EMBEDDED
from tests.unit.models.training.shapes import shapes_art, smoke_recipe

HELD_OUT = (("star", "flat"), ("car", "3d"))
RECIPE = smoke_recipe(
    prompts=6,
    frechet_pictures=8,
    num_inference_steps=2,
    batch=8,
    classifier_steps=60,
    classifier_batch=16,
)


def make_work(folder, art):
    (folder / "data").mkdir(parents=True)
    save_art(folder / "data", art, "digest")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"), shapes_art(HELD_OUT))


@pytest.fixture(scope="module")
def report(work):
    """Return what the embedded model gets, which was trained without holding anything out."""
    return run_evaluation(EMBEDDED, work, RECIPE, "cpu")


@pytest.fixture(scope="module")
def target(work, report):
    return work / "evaluation" / report.facts["model"]


@pytest.fixture(scope="module")
def honest_folder(tmp_path_factory):
    """Return the embedded model with a card that claims to have held these pairs out."""
    folder = tmp_path_factory.mktemp("honest") / "model"
    shutil.copytree(EMBEDDED, folder)
    facts = json.loads((folder / "mintmark.json").read_text())
    facts["card"]["held_out_pairs_sha256"] = held_out_digest(shapes_art(HELD_OUT))
    (folder / "mintmark.json").write_text(json.dumps(facts))
    write_digests(folder)
    return folder


def sources(report, pictures):
    return [row.source for row in report.measured.rows if row.pictures == pictures]


def test_every_set_is_measured_beside_its_two_ceilings(report):
    for pictures in ("trained pairs", "recoloured"):
        assert sources(report, pictures) == ["real renders", "reconstructions", "generated"]
    counts = {(row.pictures, row.source): row.scores.count for row in report.measured.rows}
    assert counts["trained pairs", "generated"] == 8
    assert counts["trained pairs", "real renders"] == 6


def test_real_renders_and_reconstructions_are_as_good_as_they_look(report):
    real = report.measured.value("trained pairs", "real renders", "background")
    assert real == report.measured.value("trained pairs", "reconstructions", "background") == 1.0
    psnr_db = report.measured.value("trained pairs", "reconstructions", "psnr_db")
    assert psnr_db is not None
    assert psnr_db > 20  # a plain shape is easy, and the embedded autoencoder has never seen one
    assert report.measured.value("recoloured", "real renders", "recolour") >= 0.5
    assert report.measured.value("trained pairs", "real renders", "recolour") is None


def test_a_model_that_held_nothing_out_is_not_measured_on_it(report):
    assert sources(report, "held-out pairs") == []
    assert report.measured.memorisation is None
    assert any("Held-out" in note for note in report.notes)


def test_the_report_says_what_was_measured_and_how(report):
    spec_sampling = {"num_inference_steps": 2, "guidance_scale": 4.0, "guidance_rescale": 0.5}
    assert report.facts["sampling"] == {**spec_sampling, "scheduler": "ddim"}
    assert (report.facts["subjects"], report.facts["styles"]) == (6, "flat, 3d")
    assert report.facts["model"] == "mintmark-emoji-64"
    assert {subject.name for subject in report.measured.subjects} <= set(_names())


def test_the_report_is_written_twice_over(report, target):
    expected = json.loads(json.dumps(report.as_dict()))
    assert json.loads((target / "report.json").read_text()) == expected
    assert (target / "report.md").read_text() == report.markdown()


def test_the_grid_shows_no_prompts_but_they_are_at_hand(target):
    with Image.open(target / "grid.png") as picture:
        grid = np.asarray(picture)
    prompts = (target / "grid-prompts.txt").read_text().splitlines()
    assert len(prompts) == 6
    assert "1. a cat, flat style, on a sky blue background" in prompts
    assert grid.shape[0] > 2 * 64
    assert grid.shape[1] > 4 * 64
    # Nothing but pictures on white: every row of pixels between the pictures is white.
    assert (grid[:4] == 255).all()


def test_each_set_has_a_sheet_of_real_rebuilt_and_drawn_pictures(target):
    for name in ("trained-pairs.png", "recoloured.png"):
        with Image.open(target / name) as sheet:
            assert sheet.size == (6 * 68 + 4, 3 * 68 + 4)


def test_a_second_measurement_agrees_and_loses_nothing_against_the_first(work, report):
    again = run_evaluation(EMBEDDED, work, RECIPE, "cpu", full=report)
    assert (again.facts, again.measured) == (report.facts, report.measured)
    *checks, few_step = again.checks
    assert tuple(checks) == report.checks
    top1 = report.measured.value("trained pairs", "generated", "subject_top1")
    assert few_step.value == (1.0 if top1 else None)


def test_a_model_that_held_these_pairs_out_is_measured_on_them(work, honest_folder):
    report = run_evaluation(honest_folder, work, RECIPE, "cpu")
    assert len(sources(report, "held-out pairs")) == 3
    memory = report.measured.memorisation
    assert memory is not None
    assert 0 < memory.real_median < 1
    assert 0 <= memory.copy_share <= 1
    assert not any("Held-out" in note for note in report.notes)
    assert report.facts["drawings"] == 12


def test_pairs_held_out_by_other_data_do_not_count(tmp_path, work, report, honest_folder):
    other = make_work(tmp_path, shapes_art(HELD_OUT[:1]))
    shutil.copytree(work / "evaluation", other / "evaluation")  # the judge, trained already
    report = run_evaluation(honest_folder, other, RECIPE, "cpu")
    assert sources(report, "held-out pairs") == []


def test_without_data_the_error_says_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match="data stage"):
        run_evaluation(LoadOptions.embedded_folder(), tmp_path, RECIPE, "cpu")


def _names():
    return [subject.name for subject in shapes_art().subjects]
