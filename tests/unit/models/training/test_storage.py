"""Writes: whole or not at all, whatever stops them."""

from __future__ import annotations

import errno

import pytest

from models.training.errors import TrainingError
from models.training.storage import new_folder, replace_file


class FullDisk:
    """A writer that leaves the first half of a file and then has no space left."""

    def __init__(self, *, files_that_fit=0):
        self._left = files_that_fit

    def __call__(self, path, content):
        if self._left > 0:
            self._left -= 1
            path.write_bytes(content)
            return
        path.write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_keeps_its_content_when_the_disk_is_full(tmp_path):
    path = tmp_path / "loss.png"
    replace_file(path, b"old")
    with pytest.raises(TrainingError, match=r"disk is full.*run the same command again"):
        replace_file(path, b"new content", FullDisk())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["loss.png"]


def test_a_folder_stays_as_it_was_when_filling_the_new_one_fails(tmp_path):
    target = tmp_path / "pipeline"
    with new_folder(target) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(TrainingError, match="disk is full"), new_folder(target) as folder:
        FullDisk()(folder / "weights", b"new")
    assert (target / "weights").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline"]


def test_a_killed_process_leaves_nothing_that_the_next_one_takes_over(tmp_path):
    target = tmp_path / "pipeline"
    context = new_folder(target)
    folder = context.__enter__()
    (folder / "half").write_text("")
    # As if the process had ended here: the context never exits.
    assert not target.exists()
    with new_folder(target) as folder:
        (folder / "weights").write_text("")
    assert [p.name for p in target.iterdir()] == ["weights"]


def test_other_trouble_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        replace_file(tmp_path / "file" / "below", b"")
