"""The embedded model: ONNX Runtime agrees with torch, and no row sees its neighbours."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from models.noise import initial_noise
from models.options import LoadOptions
from models.registry import load_model
from models.runners.interface import RunnerUnavailable
from models.runners.onnx_runner import OnnxRunner
from models.runners.torch_runner import TorchRunner
from models.schedules.solvers import Column
from models.stepping import advance
from models.weights import WeightsError

PROMPT = "an apple, flat style, on a white background"


@pytest.fixture(scope="module")
def onnx():
    model = load_model(LoadOptions(num_threads=1))
    yield model
    model.close()


@pytest.fixture(scope="module")
def torch_model():
    model = load_model(LoadOptions(runner="torch", num_threads=1))
    yield model
    model.close()


def draw_rows(rows):
    rng = np.random.default_rng(rows)
    return (
        rng.standard_normal((rows, 4, 16, 16), np.float32),
        (rng.random(rows) * 999).astype(np.float32),
        rng.standard_normal((rows, 32, 192), np.float32),
    )


def denoise(model, latents, timesteps, embeds):
    arrays = model.arrays
    out = model.denoise(arrays.from_numpy(latents), timesteps, arrays.from_numpy(embeds))
    return arrays.to_numpy(out)


def generate(model, prompt, seed, num_inference_steps):
    """Sample without guidance, by the table, for whichever array library the model has."""
    arrays = model.arrays
    table = model.compile_solver("ddim", num_inference_steps)
    x = arrays.from_numpy(initial_noise(seed, (1, 4, 16, 16)) * np.float32(table.init_noise_scale))
    embeds, history = model.encode_prompt(prompt), arrays.zeros((1, 4, 16, 16))
    for row in table.coefficients.astype(np.float32):
        columns = [arrays.from_numpy(value.reshape(1, 1, 1, 1)) for value in row]
        out = model.denoise(columns[Column.S] * x, row[[Column.T]], embeds)
        x, history = advance(x, out, history, None, columns[2:])
    return model.decode(x)[0]


def test_both_runners_report_the_same_spec(onnx, torch_model):
    assert onnx.spec == torch_model.spec


@pytest.mark.parametrize("prompt", [PROMPT, "", "🐼 " * 50])
def test_prompt_embeddings_agree(onnx, torch_model, prompt):
    ours = onnx.encode_prompt(prompt)
    theirs = torch_model.arrays.to_numpy(torch_model.encode_prompt(prompt))
    assert ours.shape == (1, 32, 192)
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("rows", [1, 3])
def test_predictions_agree_at_fractional_times(onnx, torch_model, rows):
    inputs = draw_rows(rows)
    assert np.abs(denoise(onnx, *inputs) - denoise(torch_model, *inputs)).max() < 1e-4


def test_a_fraction_of_a_time_step_changes_the_prediction(onnx):
    latents, _, embeds = draw_rows(1)
    whole, fraction = (
        denoise(onnx, latents, np.full(1, t, np.float32), embeds) for t in (500, 500.5)
    )
    assert not np.array_equal(whole, fraction)


def test_finished_pictures_agree_to_one_level(onnx, torch_model):
    ours = generate(onnx, PROMPT, seed=3, num_inference_steps=4)
    theirs = generate(torch_model, PROMPT, seed=3, num_inference_steps=4)
    assert ours.shape == (64, 64, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_an_apple_is_red_on_white(onnx):
    picture = generate(onnx, PROMPT, seed=3, num_inference_steps=12).astype(int)
    corner, centre = picture[:6, :6].mean(axis=(0, 1)), picture[28:44, 24:40].mean(axis=(0, 1))
    assert corner.min() > 180
    assert centre[0] > centre[1:].max() + 60


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_rows_bits_do_not_depend_on_its_neighbours(num_threads):
    model = load_model(LoadOptions(num_threads=num_threads))
    latents, times, embeds = draw_rows(16)
    alone = [denoise(model, latents[[i]], times[[i]], embeds[[i]])[0] for i in range(16)]
    for rows in ([0, 1], [4, 2, 0], [15, 7, 3, 1, 0, 9, 4], list(range(15, -1, -1))):
        together = denoise(model, latents[rows], times[rows], embeds[rows])
        assert all(np.array_equal(out, alone[i]) for out, i in zip(together, rows, strict=True))
    model.close()


def test_a_pictures_bits_do_not_depend_on_the_number_of_threads(onnx):
    model = load_model(LoadOptions(num_threads=2))
    inputs = draw_rows(2)
    assert np.array_equal(denoise(model, *inputs), denoise(onnx, *inputs))
    assert np.array_equal(model.decode(inputs[0]), onnx.decode(inputs[0]))
    model.close()


def test_bfloat16_stays_close_to_float32(torch_model):
    rounded = load_model(LoadOptions(runner="torch", dtype="bfloat16", num_threads=1))
    inputs = draw_rows(2)
    exact = denoise(torch_model, *inputs)
    assert 0 < np.abs(denoise(rounded, *inputs) - exact).mean() < 0.05 * np.abs(exact).mean()
    rounded.close()


def test_torch_rows_have_the_same_spread_in_any_company(torch_model):
    arrays = torch_model.arrays
    values = np.random.default_rng(0).standard_normal((5, 4, 64, 64), np.float32)
    together = arrays.row_std(arrays.from_numpy(values))
    assert together.shape == (5, 1, 1, 1)
    for i in range(5):
        assert together[i] == arrays.row_std(arrays.from_numpy(values[[i]]))[0]
    expected = values.std(axis=(1, 2, 3), ddof=1)
    assert np.allclose(arrays.to_numpy(together).ravel(), expected, rtol=1e-6)


def test_cuda_is_refused_where_there_is_none():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has CUDA")
    with pytest.raises(RunnerUnavailable, match="no CUDA provider"):
        load_model(LoadOptions(device="cuda"))


def test_the_encoders_of_both_runners_agree_and_invert_the_decoder(onnx):
    options = LoadOptions(num_threads=1)
    onnx_runner = OnnxRunner(LoadOptions.embedded_folder(), options)
    torch_runner = TorchRunner(LoadOptions.embedded_folder(), options)
    picture = generate(onnx, PROMPT, seed=3, num_inference_steps=12)
    pixels = (picture.transpose(2, 0, 1)[None] / np.float32(127.5) - 1).astype(np.float32)

    moments = onnx_runner.vae_encoder(pixels)
    expected = torch_runner.vae_encoder(torch_runner.arrays.from_numpy(pixels))

    assert moments.shape == (1, 8, 16, 16)
    assert np.abs(moments - torch_runner.arrays.to_numpy(expected)).max() < 1e-4
    again = onnx_runner.vae_decoder(moments[:, :4])
    assert np.abs(again - pixels).mean() < 0.1


def test_a_folder_without_an_encoder_serves_everything_else(tmp_path):
    shutil.copytree(LoadOptions.embedded_folder(), tmp_path / "model")
    (tmp_path / "model/vae/encoder.onnx").unlink()
    runner = OnnxRunner(tmp_path / "model", LoadOptions(num_threads=1))
    assert runner.vae_decoder(np.zeros((1, 4, 16, 16), np.float32)).shape == (1, 3, 64, 64)
    with pytest.raises(WeightsError, match=r"no ONNX graph vae/encoder\.onnx"):
        runner.vae_encoder(np.zeros((1, 3, 64, 64), np.float32))
