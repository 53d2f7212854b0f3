"""Results: the next stage takes only what is finished, whole and from the same recipe."""

from __future__ import annotations

import pytest

from models.training.checkpoint import Origin
from models.training.errors import TrainingError
from models.training.results import find_result, new_result, require_result

ORIGIN = Origin("few_step", "recipe", {"denoiser": "one"})


@pytest.fixture
def run(tmp_path):
    with new_result(tmp_path, ORIGIN, 7) as folder:
        (folder / "unet").mkdir()
        (folder / "unet/weights").write_text("weights")
    return tmp_path


def test_a_finished_stage_is_found(run):
    result = require_result(run, "few-step", ORIGIN)
    assert result == find_result(run)
    assert result.steps == 7
    assert result.is_of(ORIGIN)
    assert (result.folder / "unet/weights").read_text() == "weights"


def test_the_digest_says_what_is_in_it(run, tmp_path):
    first = require_result(run, "few-step", ORIGIN).digest
    with new_result(run, ORIGIN, 7) as folder:
        (folder / "unet").mkdir()
        (folder / "unet/weights").write_text("other")
    assert require_result(run, "few-step", ORIGIN).digest != first


def test_an_unfinished_stage_says_which_command_to_run(tmp_path):
    assert find_result(tmp_path) is None
    with pytest.raises(TrainingError, match=r"'few-step' is not finished: run `python -m models"):
        require_result(tmp_path, "few-step", ORIGIN)


def test_a_failure_leaves_no_result(tmp_path):
    with pytest.raises(TrainingError, match="cannot be written"), new_result(tmp_path, ORIGIN, 1):
        raise OSError("cable pulled")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (Origin("few_step", "other", {"denoiser": "one"}), "another recipe"),
        (Origin("few_step", "recipe", {"denoiser": "two"}), "results that have changed since"),
    ],
)
def test_a_result_of_something_else_is_refused(run, origin, message):
    with pytest.raises(TrainingError, match=message):
        require_result(run, "few-step", origin)


def test_altered_files_are_refused(run):
    (run / "result/unet/weights").write_text("altered")
    with pytest.raises(TrainingError, match="was altered after it was made"):
        require_result(run, "few-step", ORIGIN)


def test_a_damaged_record_says_to_run_the_stage_again(run):
    (run / "result/result.json").write_text("{")
    with pytest.raises(TrainingError, match="run the stage again"):
        find_result(run)
