"""The text encoder's task."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models.training.corpus import draw_captions, frame_words
from models.training.text import Probes, TextNetwork, TextTask, make_lessons
from models.training.vocabulary import BACKGROUNDS, COLOURS
from tests.unit.models.training.networks import (
    ART,
    RECIPE,
    make_encoder,
    make_sampler,
    make_tokenizer,
)

LABELS = (len(ART.subjects), len(ART.styles), len(BACKGROUNDS), len(COLOURS) + 1)
OTHERS = ["puppy", "kitten", "lorry"] * 8
WIDTH = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    make_tokenizer(folder)
    return folder


@pytest.fixture
def make_task(folder):
    def make(*, has_teacher):
        tokenizer = make_tokenizer(folder)
        captions = draw_captions(make_sampler(), 100)
        others = OTHERS if has_teacher else []
        targets = None
        if has_teacher:
            seed = torch.Generator().manual_seed(1)
            targets = torch.randn(100 + len(others), WIDTH, generator=seed)
        torch.manual_seed(0)
        network = TextNetwork(make_encoder(tokenizer), LABELS, WIDTH if has_teacher else None)
        lessons = make_lessons(captions, others, targets, tokenizer, "cpu")
        probes = Probes.of(ART, tokenizer, "cpu")
        return TextTask(network, RECIPE.text, lessons, probes, folder), lessons

    return make


def test_captions_come_with_what_they_say():
    captions = draw_captions(make_sampler(), 70)
    assert len(captions.texts) == 70
    assert captions.labels.shape == (70, 4)
    batch = make_sampler().sample(64)
    assert captions.texts[:64] == batch.captions
    assert torch.equal(captions.labels[:64, 0], batch.subject)
    assert torch.equal(captions.labels[:64, 3], batch.recolour)


def test_words_are_framed_as_prompts_would_have_them():
    texts = frame_words(["puppy", "lorry"], 200, seed=1)
    assert texts == frame_words(["puppy", "lorry"], 200, seed=1)
    assert texts != frame_words(["puppy", "lorry"], 200, seed=2)
    assert all("puppy" in text or "lorry" in text for text in texts)
    assert {"puppy", "a lorry"} <= set(texts)
    assert any("background" in text for text in texts)


def test_lessons_compare_texts_with_their_mean_taken_off(make_task):
    _, lessons = make_task(has_teacher=True)
    assert torch.allclose(lessons.targets.norm(dim=1), torch.ones(len(lessons.targets)))
    assert lessons.num_captions == 100
    assert (lessons.labels[100:] == -1).all()
    assert (lessons.labels[:100] >= 0).all()


def test_without_a_teacher_it_learns_to_name(make_task):
    task, _ = make_task(has_teacher=False)
    assert set(task.losses(task.network, 0)) == {"loss", "naming"}


def test_it_learns_both_lessons(make_task):
    task, _ = make_task(has_teacher=True)
    first = task.losses(task.network, 0)
    assert set(first) == {"loss", "naming", "imitation"}
    optimizer = torch.optim.Adam(task.network.parameters(), lr=0.01)
    for step in range(60):
        losses = task.losses(task.network, step)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses["naming"] < first["naming"]
    assert losses["imitation"] < first["imitation"]


def test_a_resumed_task_sees_the_same_texts(make_task):
    (first, _), (second, _) = make_task(has_teacher=True), make_task(has_teacher=True)
    first.losses(first.network, 0)
    second.load_state_dict(first.state_dict())
    assert first.losses(first.network, 1)["loss"] == second.losses(second.network, 1)["loss"]


def test_synonyms_are_scored_by_the_nearest_name(folder):
    subjects = tuple(
        dataclasses.replace(subject, synonyms=(subject.name.upper(),)) for subject in ART.subjects
    )
    art = dataclasses.replace(ART, subjects=subjects)
    tokenizer = make_tokenizer(folder)
    network = TextNetwork(make_encoder(tokenizer), LABELS, None)
    with torch.no_grad():
        # The tokenizer folds case, so every synonym here is its subject's name.
        assert Probes.of(art, tokenizer, "cpu").score(network) == 1


def test_it_saves_the_encoder_with_its_tokenizer(make_task, tmp_path):
    task, _ = make_task(has_teacher=False)
    task.save(tmp_path, None)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert {"text_encoder/config.json", "tokenizer/vocab.json"} <= names
    assert (tmp_path / "text_encoder/model.safetensors").is_file()
