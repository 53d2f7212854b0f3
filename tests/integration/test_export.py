"""Export: a folder as stock diffusers saves it becomes one that both runners serve alike."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from models.options import LoadOptions
from models.registry import load_model
from models.runners.export import export_folder, main
from models.weights import WeightsError, verify_digests
from tests.models_kit import edit_json, make_hollow_folder

# Tracing four networks takes half a minute of processor time, on a busy machine more.
pytestmark = pytest.mark.timeout(400)
PROMPT = "a cat, 3d style"


@pytest.fixture(scope="module", params=["onnx", "torch"])
def model(request, exported):
    loaded = load_model(LoadOptions(path=str(exported), runner=request.param, num_threads=2))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def pipeline(exported):
    return StableDiffusionPipeline.from_pretrained(
        str(exported), safety_checker=None, local_files_only=True
    )


def difference(model, ours, theirs):
    return np.abs(model.arrays.to_numpy(ours) - theirs.detach().numpy()).max()


def test_the_spec_is_that_of_stable_diffusion_1(model):
    assert model.spec.model_id == "tiny-sd-onnx"
    assert model.spec.prediction_type == "epsilon"
    assert model.spec.max_prompt_tokens == 75
    assert model.spec.latent.factor == 8
    assert model.spec.sizes_px[0] == (64, 64)


@pytest.mark.parametrize("prompt", [PROMPT, "", "a " * 200])
def test_prompt_embeddings_are_diffusers(model, pipeline, prompt):
    expected, _ = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
    assert difference(model, model.encode_prompt(prompt), expected) < 1e-4


@pytest.mark.parametrize(("rows", "height", "width"), [(1, 8, 8), (3, 8, 12), (66, 8, 8)])
def test_predictions_are_diffusers(model, pipeline, rows, height, width):
    torch.manual_seed(rows)
    sample, embeds = torch.randn(rows, 4, height, width), torch.randn(rows, 77, 32)
    times = torch.rand(rows) * 999
    with torch.inference_mode():
        expected = pipeline.unet(sample, times, embeds).sample
    to_native = model.arrays.from_numpy
    ours = model.denoise(to_native(sample.numpy()), times.numpy(), to_native(embeds.numpy()))
    assert difference(model, ours, expected) < 1e-4


@pytest.mark.parametrize("width", [8, 12])
def test_pixels_are_diffusers(model, pipeline, width):
    torch.manual_seed(width)
    latents = torch.randn(2, 4, 8, width)
    with torch.inference_mode():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    expected = np.stack(
        [np.array(image) for image in pipeline.image_processor.postprocess(decoded)]
    )
    ours = model.decode(model.arrays.from_numpy(latents.numpy()))
    assert ours.shape == (2, 64, 8 * width, 3)
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1
    assert (ours == expected).mean() > 0.999


@pytest.mark.parametrize("width", [64, 96])
def test_encoded_pictures_are_diffusers(model, pipeline, width):
    pixels = np.random.default_rng(width).integers(0, 256, (2, 64, width, 3), dtype=np.uint8)
    with torch.inference_mode():
        planes = pipeline.image_processor.preprocess([Image.fromarray(one) for one in pixels])
        mean = pipeline.vae.encode(planes).latent_dist.mode()
    ours = model.encode_image(pixels)
    assert difference(model, ours, mean * pipeline.vae.config.scaling_factor) < 1e-4


def test_a_folder_without_the_encoder_serves_generations_and_says_that_it_cannot_edit(
    exported, tmp_path
):
    folder = tmp_path / "no-encoder"
    shutil.copytree(exported, folder)
    (folder / "vae/encoder.onnx").unlink()
    model = load_model(LoadOptions(path=str(folder), runner="onnx", verify_digests=False))
    assert not model.can_encode_image
    assert model.decode(model.arrays.zeros((1, 4, 8, 8))).shape == (1, 64, 64, 3)
    with pytest.raises(WeightsError, match=r"vae/encoder\.onnx"):
        model.encode_image(np.zeros((1, 64, 64, 3), np.uint8))


def test_the_graphs_hold_no_weights_of_their_own(exported):
    for path in exported.glob("*/*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        inline_bytes = sum(len(tensor.raw_data) for tensor in graph.initializer)
        external = [tensor for tensor in graph.initializer if tensor.external_data]
        assert inline_bytes < 30_000
        assert len(external) > 10
        places = {
            entry.value for t in external for entry in t.external_data if entry.key == "location"
        }
        assert places <= {"model.safetensors", "diffusion_pytorch_model.safetensors"}


def test_the_graphs_do_not_name_the_machine_that_made_them(exported):
    for path in exported.glob("*/*.onnx"):
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert str(exported.parent).encode() not in content


def test_the_exported_folder_is_covered_by_digests(exported):
    digests = verify_digests(exported)
    assert {name for name in digests if name.endswith(".onnx")} == {
        "text_encoder/model.onnx",
        "unet/model.onnx",
        "vae/decoder.onnx",
        "vae/encoder.onnx",
    }


def test_a_damaged_weight_stops_the_export_and_leaves_no_trace(unexported, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(unexported, folder)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"conv_in.bias", b"conv_in.bats", 1))

    assert main([str(folder)]) == 1

    assert "lacks weights of the network, such as conv_in.bias" in capsys.readouterr().err
    assert not list(folder.rglob("*.onnx*"))
    assert not (folder / "SHA256SUMS").exists()


def test_weights_behind_links_are_refused(tmp_path):
    folder = make_hollow_folder(tmp_path / "model")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "blob")
    weights.symlink_to(tmp_path / "blob")
    with pytest.raises(WeightsError, match="symbolic link"):
        export_folder(folder)


@pytest.mark.parametrize(
    ("pipeline_class", "message"),
    [("StableDiffusion3Pipeline", "not supported"), (None, "not supported")],
)
def test_an_unsupported_pipeline_is_refused(tmp_path, pipeline_class, message):
    folder = make_hollow_folder(tmp_path / "model")
    edit_json(folder / "model_index.json", _class_name=pipeline_class)
    with pytest.raises(WeightsError, match=message):
        export_folder(folder)


def test_the_command_explains_itself(capsys, tmp_path):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "not a diffusers pipeline folder" in capsys.readouterr().err


def test_the_folder_still_loads_in_stock_diffusers(pipeline, exported):
    index = json.loads((exported / "model_index.json").read_text())
    assert index["_class_name"] == type(pipeline).__name__
