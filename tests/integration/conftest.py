"""The tiny Stable Diffusion folder, exported once: tracing four networks takes half a minute."""

from __future__ import annotations

import shutil

import pytest

from tests.models_kit import make_stable_diffusion_folder


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """Keep torch's threads from spinning against each other on a busy two-core machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def unexported(tmp_path_factory):
    return make_stable_diffusion_folder(tmp_path_factory.mktemp("pipeline") / "tiny-sd")


@pytest.fixture(scope="session")
def exported(unexported):
    from models.runners.export import export_folder

    folder = unexported.with_name("tiny-sd-onnx")
    shutil.copytree(unexported, folder)
    export_folder(folder)
    return folder
