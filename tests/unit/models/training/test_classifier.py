from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.training.classifier import obtain_judge
from models.training.metrics import top_k_hits
from models.training.reference import Renderer
from tests.unit.models.training.shapes import SIDE_PX, shapes_art, smoke_recipe

ART = shapes_art(held_out=(("car", "flat"),))
RECIPE = smoke_recipe(classifier_steps=150, classifier_batch=24)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def judge(work):
    return obtain_judge(ART, work, RECIPE, "cpu")


@pytest.fixture(scope="module")
def renders():
    return Renderer(ART, SIDE_PX, RECIPE.data).draw(200, seed=77)


def judge_file(work):
    return work / "evaluation" / "classifier.safetensors"


def test_the_judge_names_subject_and_style_of_fresh_renders(judge, renders):
    seen = judge.look(renders.pictures)
    assert top_k_hits(seen.subject_scores, renders.facts.subject, 1).mean() > 0.9
    assert top_k_hits(seen.style_scores, renders.facts.style, 1).mean() > 0.9


def test_the_judge_knows_the_held_out_pairs_too(judge):
    held_out = Renderer(ART, SIDE_PX, RECIPE.data).draw(60, seed=5, split="held_out_pair")
    seen = judge.look(held_out.pictures)
    assert set(held_out.facts.subject) == {5}
    assert top_k_hits(seen.subject_scores, held_out.facts.subject, 1).mean() > 0.8


def test_pictures_without_the_object_are_not_named(judge, renders):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, renders.pictures.shape, np.uint8)
    assert top_k_hits(judge.look(noise).subject_scores, renders.facts.subject, 1).mean() < 0.4


def test_larger_pictures_are_judged_like_their_reduction(judge, renders):
    few = renders.pictures[:8]
    large = few.repeat(4, axis=1).repeat(4, axis=2)
    at_64_px = few.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(
        judge.look(large).subject_scores, judge.look(at_64_px).subject_scores, atol=1e-3
    )


def test_a_picture_is_judged_alone(judge, renders):
    together = judge.look(renders.pictures[:9]).features
    alone = judge.look(renders.pictures[4:5]).features
    np.testing.assert_allclose(together[4:5], alone, atol=1e-4)


def test_a_trained_judge_is_kept(judge, work, renders):
    before = judge_file(work).stat()
    again = obtain_judge(ART, work, RECIPE, "cpu")
    assert judge_file(work).stat().st_mtime_ns == before.st_mtime_ns
    pictures = renders.pictures[:4]
    np.testing.assert_array_equal(
        again.look(pictures).subject_scores, judge.look(pictures).subject_scores
    )


@pytest.fixture
def short_recipe():
    return smoke_recipe(classifier_steps=2, classifier_batch=4)


def test_training_is_repeatable_and_leaves_the_callers_random_numbers_alone(tmp_path, short_recipe):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    files = []
    for name in ("one", "two"):
        obtain_judge(ART, tmp_path / name, short_recipe, "cpu")
        files.append(judge_file(tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert torch.rand(1) == expected


@pytest.mark.parametrize("change", ["art", "recipe", "damage"])
def test_a_judge_of_something_else_is_replaced(tmp_path, short_recipe, change):
    first = obtain_judge(ART, tmp_path, short_recipe, "cpu")
    kept = judge_file(tmp_path).read_bytes()
    art, recipe = ART, short_recipe
    if change == "art":
        picture = dataclasses.replace(ART.pictures[0], sha256="f" * 64)
        art = dataclasses.replace(ART, pictures=(picture, *ART.pictures[1:]))
    elif change == "recipe":
        recipe = smoke_recipe(classifier_steps=3, classifier_batch=4)
    else:
        judge_file(tmp_path).write_bytes(kept[: len(kept) // 2])
    second = obtain_judge(art, tmp_path, recipe, "cpu")
    assert (second.digest != first.digest) is (change != "damage")
    assert (judge_file(tmp_path).read_bytes() == kept) is (change == "damage")
