"""Releasing: a complete folder takes the place of the old one, or the old one stays."""

from __future__ import annotations

import resource
import shutil
from contextlib import contextmanager

import pytest
import torch

from models.training.card import describe_denoiser
from models.training.errors import TrainingError
from models.training.release import Parts, install_pipeline, release_pipeline
from models.weights import verify_digests
from tests.models_kit import EMBEDDED, make_hollow_folder
from tests.unit.models.training.networks import (
    ART,
    RECIPE,
    make_autoencoder,
    make_encoder,
    make_tokenizer,
    make_unet,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = make_tokenizer(folder / "tokenizer")
    make_autoencoder().save_pretrained(folder / "vae")
    make_unet().save_pretrained(folder / "unet")
    make_encoder(tokenizer).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture
def parts(made, tmp_path):
    folder = tmp_path / "parts"
    shutil.copytree(made, folder)
    names = ("vae", "text_encoder", "tokenizer", "unet")
    return Parts(*(folder / name for name in names))


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "weights").write_text("old")
    return folder


@contextmanager
def files_of_at_most(size_bytes):
    """Make every larger write of this process fail, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def release(parts, target):
    return release_pipeline(parts, describe_denoiser(RECIPE), RECIPE, ART, target)


def assert_untouched(folder):
    assert [path.name for path in folder.iterdir()] == ["weights"]
    assert {path.name for path in folder.parent.iterdir()} == {"parts", "pipeline"}


@pytest.mark.parametrize("size_bytes", [20_000, 60_000])
def test_a_disk_without_room_leaves_the_old_folder(parts, old, size_bytes):
    with (
        pytest.raises(TrainingError, match="pipeline cannot be written"),
        files_of_at_most(size_bytes),
    ):
        release(parts, old)
    assert_untouched(old)


def test_a_missing_network_leaves_the_old_folder(parts, old):
    (parts.unet / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"cannot be put together.*Run their stages again"):
        release(parts, old)
    assert_untouched(old)


def test_weights_beyond_half_precision_are_refused(parts, old):
    vae = make_autoencoder()
    with torch.no_grad():
        vae.quant_conv.bias[0] = 1e6
    vae.save_pretrained(parts.vae)
    with pytest.raises(TrainingError, match=r"quant_conv\.bias is not finite in half precision"):
        release(parts, old)
    assert_untouched(old)


def test_an_installed_release_keeps_the_model_card(tmp_path):
    source = make_hollow_folder(tmp_path / "released")
    shutil.copy(EMBEDDED / "mintmark.json", source)
    target = tmp_path / "embedded"
    target.mkdir()
    (target / "MODEL_CARD.md").write_text("card")
    (target / "stale.onnx").write_text("")
    with pytest.raises(TrainingError, match="is not listed in SHA256SUMS"):
        install_pipeline(source, target)
    (source / "SHA256SUMS").unlink()
    from models.weights import write_digests

    write_digests(source)
    install_pipeline(source, target)
    assert (target / "MODEL_CARD.md").read_text() == "card"
    assert not (target / "stale.onnx").exists()
    assert verify_digests(target) == verify_digests(source)


def test_an_unreleased_folder_is_not_installed(tmp_path):
    with pytest.raises(TrainingError, match="There is no release in"):
        install_pipeline(tmp_path / "nothing", tmp_path / "embedded")
    assert list(tmp_path.iterdir()) == []
