"""Which models an evaluation measures."""

from __future__ import annotations

from models.options import LoadOptions
from models.training.command import find_released


def test_what_was_released_in_the_work_folder_comes_first(tmp_path):
    (tmp_path / "pipeline").mkdir()
    assert find_released(tmp_path) == (tmp_path / "pipeline", tmp_path / "pipeline-few-step")


def test_without_a_release_the_shipped_models_are_measured(tmp_path):
    model, sibling = find_released(tmp_path)
    assert model == LoadOptions.embedded_folder()
    assert sibling.name == "embedded_few_step"
    assert all((folder / "mintmark.json").is_file() for folder in (model, sibling))
