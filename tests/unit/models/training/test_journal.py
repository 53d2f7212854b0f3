"""The visible record of a run."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from models.training.journal import Journal, make_grid


def steps(folder):
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def height_px(folder):
    with Image.open(folder / "loss.png") as picture:
        return picture.height


def test_a_resumed_run_forgets_what_it_does_again(tmp_path):
    journal = Journal(tmp_path)
    for step in (1, 2, 3):
        journal.add(step, {"loss": 1 / step})
    resumed = Journal(tmp_path, first_step=2)
    assert steps(tmp_path) == [1, 2]
    resumed.add(3, {"loss": 0.1})
    assert steps(tmp_path) == [1, 2, 3]


def test_a_line_cut_short_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n{"step": 2, "lo')
    Journal(tmp_path, first_step=5).add(6, {"loss": 0.5})
    assert steps(tmp_path) == [1, 6]


def test_the_plot_shows_every_value(tmp_path):
    journal = Journal(tmp_path)
    journal.plot()
    assert not (tmp_path / "loss.png").exists()
    journal.add(1, {"loss": 1.0})
    journal.plot()
    low = height_px(tmp_path)
    journal.add(1, {"psnr_db": 20.0})
    journal.plot()
    assert height_px(tmp_path) > 1.5 * low


def test_samples_are_pictures_named_by_step(tmp_path):
    grid = make_grid(np.full((5, 8, 6, 3), 7, np.uint8), columns=3)
    assert grid.shape == (28, 34, 3)
    assert (grid[4:12, 4:10] == 7).all()
    assert (grid[16:24, 24:30] == 255).all()
    Journal(tmp_path).add_samples(40, grid)
    with Image.open(tmp_path / "samples-00000040.png") as picture:
        assert np.array_equal(np.asarray(picture), grid)
