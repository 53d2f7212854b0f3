"""Training one stage in two processes, as the command line does it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.training.__main__ import FAILED, FINISHED, PAUSED, main
from models.training.recipe import SMOKE_RECIPE_FILE

# Each call starts two interpreters with torch.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    options = ["--smoke", "--work", str(tmp_path_factory.mktemp("training"))]
    assert main(["data", *options]) == FINISHED
    return options


def test_two_processes_pause_go_on_and_keep_one_record(options, capfd):
    run = ["autoencoder", *options, "--processes", "2"]
    assert main([*run, "--minutes", "1e-6"]) == PAUSED
    # What both draw next is in the checkpoint, so their number cannot change.
    assert main(["autoencoder", *options]) == FAILED
    assert "was begun with --processes 2" in capfd.readouterr().err
    assert main(run) == FINISHED
    assert "Going on from step 1 of" in capfd.readouterr().out
    folder = Path(options[-1]) / "runs" / "autoencoder"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, steps[-1] + 1))
    assert (folder / "result" / "vae" / "config.json").is_file()


def test_told_to_stop_they_write_a_checkpoint_and_pause(options, tmp_path):
    recipe = tmp_path / "long.toml"
    # So often that the clocks of the two disagree on when to save, which must not part them.
    often = "steps = 100000\ncheckpoint_every_s = 0.05"
    recipe.write_text(SMOKE_RECIPE_FILE.read_text().replace("steps = 12", often))
    work = tmp_path / "work"
    shutil.copytree(Path(options[-1]) / "data", work / "data")
    command = [sys.executable, "-m", "models.training", "autoencoder", "--recipe", str(recipe)]
    run = subprocess.Popen(
        [*command, "--work", str(work), "--processes", "2"], stderr=subprocess.PIPE, text=True
    )
    journal = work / "runs/autoencoder/metrics.jsonl"
    wait_until(lambda: len(list(journal.parent.glob("checkpoint-*"))) == 2, timeout_s=120)
    run.terminate()
    _, errors = run.communicate(timeout=25)
    assert run.returncode == PAUSED, errors
    assert "forcefully" not in errors
    assert len(list(journal.parent.glob("checkpoint-*"))) == 2


def test_a_batch_that_cannot_be_shared_out_is_refused(options, capfd):
    assert main(["autoencoder", *options, "--processes", "3"]) == FAILED
    assert "cannot be shared out to 3 processes" in capfd.readouterr().err


def test_several_processes_are_for_a_processor_only(options, capsys):
    assert main(["autoencoder", *options, "--processes", "2", "--device", "cuda"]) == FAILED
    assert "give --device cpu" in capsys.readouterr().err


def wait_until(is_so, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
