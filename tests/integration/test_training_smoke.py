"""Training, from committed drawings to a pipeline folder that the service loads, on a tiny recipe.

One work folder goes through every stage once; the tests look at what each left there.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from models.options import LoadOptions
from models.registry import load_model, read_spec
from models.training.__main__ import FAILED, FINISHED, PAUSED, main
from models.training.drawing import Order, draw_pictures
from models.training.recipe import SMOKE_RECIPE_FILE
from models.weights import verify_digests

# Eight graphs are traced on the way: a minute of processor time, on a busy machine two.
pytestmark = pytest.mark.timeout(400)
STAGES = ("autoencoder", "text", "denoiser", "few_step")
FOLDERS = ("pipeline", "pipeline-few-step")
NEAREST = {"lorry": "car", "treaty": None}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Where the release is installed; there is a card from before."""
    folder = tmp_path_factory.mktemp("installed") / "embedded"
    folder.mkdir()
    (folder / "MODEL_CARD.md").write_text("card")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory, target):
    work = tmp_path_factory.mktemp("training")
    first = ["--smoke", "--work", str(work)]
    assert main(["data", *first]) == FINISHED
    # Interrupted once, so that everything below also shows that a run goes on.
    assert main(["autoencoder", *first, "--minutes", "1e-6"]) == PAUSED
    assert not (work / "runs/autoencoder/result").exists()
    with pytest.MonkeyPatch.context() as patch:
        # The sentence model is 90 MB; what comes of it is tested beside it.
        patch.setattr("models.training.command.make_nearest", lambda *_: NEAREST)
        assert main(["all", *first, "--shard-mb", "0.05", "--target", str(target)]) == FINISHED
    return work


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("runner", ["onnx", "torch"])
def test_the_service_draws_with_what_came_out(work, folder, runner):
    model = load_model(LoadOptions(path=str(work / folder), runner=runner, num_threads=1))
    try:
        order = Order(f"a {model.spec.card['subjects'][0]}, flat style", seed=3)
        size_px, defaults = model.spec.default_size_px, model.spec.defaults
        (pictures,) = draw_pictures(model, [order], size_px, defaults, 1)
    finally:
        model.close()
    assert size_px == (32, 32)
    assert pictures.shape == (1, 32, 32, 3)
    assert np.ptp(pictures) > 0


def test_the_sibling_needs_few_steps_and_no_guidance(work):
    facts = [json.loads((work / folder / "mintmark.json").read_text()) for folder in FOLDERS]
    assert [fact["model_id"] for fact in facts] == ["mintmark-smoke", "mintmark-smoke-2step"]
    assert facts[0]["defaults"]["guidance_scale"] > 1
    assert facts[1]["defaults"]["guidance_scale"] == 1
    assert facts[1]["defaults"]["num_inference_steps"] == 2
    assert facts[0]["card"] == facts[1]["card"] | {"description": facts[0]["card"]["description"]}


@pytest.mark.parametrize("name", FOLDERS)
def test_whoever_serves_a_release_may_read_it(work, name):
    files = [path for path in (work / name).rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)


def test_the_pipelines_share_all_but_the_denoiser(work):
    first, second = (verify_digests(work / folder) for folder in FOLDERS)
    different = {name for name in first if first[name] != second[name]}
    assert "unet/diffusion_pytorch_model.safetensors" in different
    assert {name for name in different if not name.startswith("unet/")} == {"mintmark.json"}


def test_both_are_installed_side_by_side_as_they_were_released(work, target):
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "embedded",
        "embedded_few_step",
    ]
    sibling = target.with_name("embedded_few_step")
    for installed, released in zip((target, sibling), FOLDERS, strict=True):
        assert verify_digests(installed) == verify_digests(work / released)
    assert (target / "MODEL_CARD.md").read_text() == "card"


def test_the_installed_pair_is_what_a_server_finds(work, target):
    class Installed(LoadOptions):
        @classmethod
        def embedded_folder(cls):
            return target

    found = [read_spec(options).model_id for options in Installed().each()]
    assert found == ["mintmark-smoke", "mintmark-smoke-2step"]


def test_the_sibling_is_measured_against_the_model(work):
    reports = [
        json.loads((work / "evaluation" / name / "report.json").read_text())
        for name in ("mintmark-smoke", "mintmark-smoke-2step")
    ]
    rows = [{check["name"] for check in report["checks"]} for report in reports]
    assert {name for name in rows[1] - rows[0] if "few-step subject top-1" in name}
    assert rows[0] < rows[1]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_service_finds_what_is_nearest_to_unknown_words(work, folder):
    assert "vocabulary.json" in verify_digests(work / folder)
    vocabulary = read_spec(LoadOptions(path=str(work / folder))).vocabulary
    assert vocabulary is not None
    assert vocabulary.find_warnings("a lorry beside a mushrom above a treaty, shaded") == (
        "not drawn: 'lorry'; nearest known: 'car'",
        "not drawn: 'mushrom'; nearest known: 'mushroom'",
        "not drawn: 'treaty'",
    )


def test_the_card_says_what_was_trained_on(work):
    card = json.loads((work / "pipeline/mintmark.json").read_text())["card"]
    assert len(card["subjects"]) == 6
    assert set(card["styles"]) == {"flat", "soft"}
    assert card["training_data"] == [{"name": "tests/data/training_art", "license": "Apache-2.0"}]
    assert card["parameters"] > 10_000


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_names_the_machine(work, folder):
    for path in (work / folder).rglob("*"):
        if path.is_file():
            assert str(work).encode() not in path.read_bytes(), path


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_watched(work, stage):
    run = work / "runs" / stage
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, steps[-1] + 1))
    assert (run / "loss.png").stat().st_size > 1000
    assert bool(list(run.glob("samples-*.png"))) == (stage != "text")


@pytest.mark.parametrize("stage", STAGES)
def test_no_checkpoint_file_is_larger_than_asked(work, stage):
    (last,) = sorted((work / "runs" / stage).glob("checkpoint-*"))[-1:]
    sizes = [path.stat().st_size for path in last.iterdir()]
    assert max(sizes) <= 0.05 * 2**20
    assert len(sizes) > 2


def test_a_finished_stage_is_left_alone(work, capsys):
    before = (work / "runs/denoiser/result/result.json").stat().st_mtime_ns
    assert main(["denoiser", "--smoke", "--work", str(work)]) == FINISHED
    assert "finished before, 12 steps" in capsys.readouterr().out
    assert (work / "runs/denoiser/result/result.json").stat().st_mtime_ns == before


def test_another_recipe_is_refused_and_changes_nothing(work, tmp_path, capsys):
    other = tmp_path / "recipe.toml"
    other.write_text(
        SMOKE_RECIPE_FILE.read_text()
        .replace("weight_decay", "")
        .replace("[autoencoder.training]", "[autoencoder.training]\nweight_decay = 0.5")
    )
    before = verify_digests(work / "pipeline")
    for stage in ("autoencoder", "denoiser", "release"):
        assert main([stage, "--recipe", str(other), "--work", str(work)]) == FAILED
        assert "made by another recipe" in capsys.readouterr().err
    assert verify_digests(work / "pipeline") == before


def test_a_release_without_a_finished_stage_is_refused(work, tmp_path, capsys):
    shutil.copytree(work / "data", tmp_path / "data")
    shutil.copytree(work / "runs/autoencoder", tmp_path / "runs/autoencoder")
    assert main(["release", "--smoke", "--work", str(tmp_path)]) == FAILED
    assert "'text' is not finished: run `python -m models.training text`" in capsys.readouterr().err
    assert not (tmp_path / "pipeline").exists()


def test_training_without_data_says_to_make_it(tmp_path, capsys):
    assert main(["autoencoder", "--smoke", "--work", str(tmp_path)]) == FAILED
    assert "Run the data stage" in capsys.readouterr().err


def test_training_starts_from_a_released_folder(work, tmp_path, capsys):
    shutil.copytree(work / "data", tmp_path / "data")
    start = ["--smoke", "--work", str(tmp_path), "--init", str(work / "pipeline")]
    for stage in ("text", "autoencoder", "denoiser"):
        assert main([stage, *start]) == FINISHED
    before, after = (
        (folder / "text_encoder/config.json").read_bytes()
        for folder in (work / "runs/text/result", tmp_path / "runs/text/result")
    )
    assert before == after
    assert main(["text", "--smoke", "--work", str(tmp_path)]) == FAILED
    assert "Give --init again" in capsys.readouterr().err


def test_networks_of_another_recipe_are_no_start(tmp_path, work, capsys):
    shutil.copytree(work / "data", tmp_path / "data")
    embedded = str(LoadOptions.embedded_folder())
    for stage, difference in (("autoencoder", "block_out_channels"), ("text", "width 192")):
        assert main([stage, "--smoke", "--work", str(tmp_path), "--init", embedded]) == FAILED
        assert difference in capsys.readouterr().err
    assert main(["text", "--smoke", "--work", str(tmp_path), "--init", str(tmp_path)]) == FAILED
    assert f"--init {tmp_path} cannot be used" in capsys.readouterr().err
