"""The recipe: what is refused, and what makes a checkpoint one of another recipe."""

from __future__ import annotations

import dataclasses

import pytest

from models.training.errors import TrainingError
from models.training.recipe import RECIPE_FILE, SMOKE_RECIPE_FILE, STAGES, load_recipe


@pytest.fixture(scope="module")
def smoke():
    return load_recipe(SMOKE_RECIPE_FILE)


def edited(tmp_path, old, new):
    text = SMOKE_RECIPE_FILE.read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(("profile", "size_px"), [("gpu", 128), ("cpu", 64), (None, 64)])
def test_the_recipe_has_a_profile_for_each_machine(profile, size_px):
    assert load_recipe(RECIPE_FILE, profile).data.size_px == size_px


def test_a_profile_lies_over_the_common_part():
    gpu, cpu = load_recipe(RECIPE_FILE, "gpu"), load_recipe(RECIPE_FILE, "cpu")
    assert gpu.text == cpu.text
    assert gpu.denoiser.block_out_channels != cpu.denoiser.block_out_channels


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("vocab_size = 700", "vocabulary = 700", "text.vocabulary"),
        ("batch = 8", "batch = 0", "autoencoder.training.batch"),
        ("learning_rate = 2.0e-3", "learning_rate = inf", "autoencoder.training.learning_rate"),
        ("learning_rate = 2.0e-3", "", "autoencoder.training.learning_rate"),
        ("size_px = 32", "size_px = 34", "multiple of 4"),
        ("teacher_steps = 4", "teacher_steps = 5", "multiple of sample_steps"),
        ("[data]", "[data", "cannot be read"),
        ("[data]", "[extra]\n[data]", "extra"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place(tmp_path, old, new, message):
    with pytest.raises(TrainingError, match=message):
        load_recipe(edited(tmp_path, old, new))


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"nowhere\.toml cannot be read"):
        load_recipe(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("path", "offered"), [(RECIPE_FILE, "cpu, gpu"), (SMOKE_RECIPE_FILE, "none")]
)
def test_an_unknown_profile_is_refused_with_those_there_are(path, offered):
    with pytest.raises(TrainingError, match=f"has no profile 'tpu'; it has: {offered}"):
        load_recipe(path, "tpu")


def test_longer_training_is_the_same_recipe(smoke, tmp_path):
    longer = load_recipe(edited(tmp_path, "steps = 12", "steps = 99"))
    assert longer != smoke
    assert all(longer.digest(stage) == smoke.digest(stage) for stage in STAGES)


def test_a_change_reaches_the_stages_that_build_on_it_and_no_others(smoke):
    text = dataclasses.replace(smoke.text, num_layers=2)
    other = dataclasses.replace(smoke, text=text)
    changed = {stage for stage in STAGES if other.digest(stage) != smoke.digest(stage)}
    assert changed == {"text", "denoiser", "few_step"}
