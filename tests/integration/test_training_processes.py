"""Training one stage in two processes, as the command line does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.training.__main__ import FAILED, FINISHED, PAUSED, main

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


def test_a_batch_that_cannot_be_shared_out_is_refused(options, capfd):
    assert main(["autoencoder", *options, "--processes", "3"]) == FAILED
    assert "cannot be shared out to 3 processes" in capfd.readouterr().err


def test_several_processes_are_for_a_processor_only(options, capsys):
    assert main(["autoencoder", *options, "--processes", "2", "--device", "cuda"]) == FAILED
    assert "give --device cpu" in capsys.readouterr().err
