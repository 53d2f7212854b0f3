"""Checkpoints: what comes back is what was saved, or a sentence that says what to do."""

from __future__ import annotations

import pytest
import torch

from models.training.checkpoint import CheckpointStore, Origin
from models.training.errors import TrainingError
from tests.unit.models.training.test_storage import FullDisk

ORIGIN = Origin("denoiser", "recipe-digest", {"autoencoder": "one"})


def state(value):
    return {"weights": torch.full((1000,), float(value)), "draws": {"seed": value, "words": ["a"]}}


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "run", ORIGIN)


def test_a_new_run_has_no_checkpoint(store):
    assert store.load_latest("cpu") is None
    store.check_latest()


def test_the_newest_comes_back_whole(store):
    for step in (1, 2):
        store.save(step, state(step))
    step, found = store.load_latest("cpu")
    assert step == 2
    assert torch.equal(found["weights"], state(2)["weights"])
    assert found["draws"] == {"seed": 2, "words": ["a"]}


def test_the_last_two_are_kept(store, tmp_path):
    for step in (9, 10, 100):
        store.save(step, state(step))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint-00000010",
        "checkpoint-00000100",
    ]


def test_no_file_is_larger_than_asked(tmp_path):
    store = CheckpointStore(tmp_path, ORIGIN, part_bytes=1500)
    folder = store.save(1, state(1))
    assert max(p.stat().st_size for p in folder.iterdir()) <= 1500
    assert len(list(folder.glob("*.bin"))) > 2
    # Read back without knowing how it was cut.
    found = CheckpointStore(tmp_path, ORIGIN).load_latest("cpu")
    assert found is not None
    assert torch.equal(found[1]["weights"], state(1)["weights"])


@pytest.mark.parametrize("damage", ["part", "manifest", "missing part"])
def test_a_damaged_one_is_passed_over(store, damage, capsys):
    store.save(1, state(1))
    folder = store.save(2, state(2))
    if damage == "part":
        part = folder / "part-0000.bin"
        part.write_bytes(part.read_bytes()[:-1] + b"x")
    elif damage == "manifest":
        (folder / "manifest.json").write_text('{"step": 2')
    else:
        (folder / "part-0000.bin").unlink()
    step, _ = store.load_latest("cpu")
    assert step == 1
    assert "checkpoint-00000002 is damaged" in capsys.readouterr().out


def test_all_damaged_says_how_to_start_again(store, tmp_path):
    folder = store.save(1, state(1))
    (folder / "part-0000.bin").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"Every checkpoint .* is damaged\. Remove that folder"):
        store.load_latest("cpu")


def test_another_recipe_is_refused(store, tmp_path):
    store.save(1, state(1))
    other = CheckpointStore(tmp_path / "run", Origin("denoiser", "other", ORIGIN.parents))
    for refuse in (other.check_latest, lambda: other.load_latest("cpu")):
        with pytest.raises(TrainingError, match="made by another recipe"):
            refuse()


def test_other_parents_are_refused_by_name(store, tmp_path):
    store.save(1, state(1))
    other = CheckpointStore(
        tmp_path / "run", Origin("denoiser", ORIGIN.recipe, {"autoencoder": "two"})
    )
    with pytest.raises(TrainingError, match="trained on another result of: autoencoder"):
        other.load_latest("cpu")


@pytest.mark.parametrize("files_that_fit", [0, 1])
def test_a_full_disk_keeps_the_earlier_ones(store, tmp_path, files_that_fit):
    store.save(1, state(1))
    full = CheckpointStore(tmp_path / "run", ORIGIN, write=FullDisk(files_that_fit=files_that_fit))
    with pytest.raises(TrainingError, match="disk is full"):
        full.save(2, state(2))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint-00000001"]
    assert store.load_latest("cpu")[0] == 1


def test_an_interruption_while_saving_keeps_the_earlier_ones(store, tmp_path):
    def interrupt(path, content):
        path.write_bytes(content[:10])
        raise KeyboardInterrupt

    store.save(1, state(1))
    with pytest.raises(KeyboardInterrupt):
        CheckpointStore(tmp_path / "run", ORIGIN, write=interrupt).save(2, state(2))
    assert store.load_latest("cpu")[0] == 1
    store.save(2, state(2))
    assert store.load_latest("cpu")[0] == 2


def test_a_checkpoint_runs_no_code(store, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("boom",))

    store.save(1, {"bomb": Bomb()})
    with pytest.raises(Exception, match="Weights only load failed"):
        store.load_latest("cpu")
