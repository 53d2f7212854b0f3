"""The Stable Diffusion family: what it reads from a folder and how it drives a runner."""

from __future__ import annotations

import numpy as np
import pytest

from models.families import stable_diffusion
from models.families.index import family_of
from models.weights import WeightsError
from tests.models_kit import FakeRunner, edit_json, make_hollow_folder


@pytest.fixture
def folder(tmp_path):
    return make_hollow_folder(tmp_path / "model")


@pytest.fixture
def runner():
    return FakeRunner()


@pytest.fixture
def model(folder, runner):
    return stable_diffusion.build(folder, read_spec(folder), runner)


def read_spec(folder):
    return stable_diffusion.read_spec(folder, "under-test", "0" * 64)


def test_the_spec_comes_from_the_configuration_files(folder):
    spec = read_spec(folder)
    assert spec.model_id == "under-test"
    assert spec.latent.shape(64, 64) == (4, 16, 16)
    assert spec.max_prompt_tokens == 30
    assert spec.prediction_type == "v_prediction"
    assert "ddim" in spec.schedulers
    assert spec.defaults.scheduler == "ddim"


def test_a_stable_diffusion_1_5_shape_is_offered_its_usual_sizes(folder):
    edit_json(
        folder / "unet/config.json", sample_size=64, block_out_channels=[320, 640, 1280, 1280]
    )
    edit_json(folder / "vae/config.json", block_out_channels=[128, 256, 512, 512])
    spec = read_spec(folder)
    assert spec.default_size_px == (512, 512)
    assert {(512, 512), (768, 512), (512, 768), (640, 512)} <= set(spec.sizes_px)
    assert all(w % 64 == 0 and h % 64 == 0 for w, h in spec.sizes_px)
    assert len(spec.sizes_px) == len(set(spec.sizes_px)) == 9


def test_facts_override_what_is_derived(folder):
    (folder / "mintmark.json").write_text("{}")
    edit_json(
        folder / "mintmark.json",
        sizes_px=[[64, 64], [96, 64]],
        default_size_px=[96, 64],
        defaults={"num_inference_steps": 7, "scheduler": "euler"},
        card={"subjects": ["cat"]},
    )
    spec = read_spec(folder)
    assert spec.sizes_px == ((64, 64), (96, 64))
    assert spec.default_size_px == (96, 64)
    assert (spec.defaults.num_inference_steps, spec.defaults.scheduler) == (7, "euler")
    assert spec.card == {"subjects": ["cat"]}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"sizes_px": [[70, 64]]}, "multiples of 16"),
        ({"default_size_px": [80, 80]}, "not one of sizes_px"),
        ({"defaults": {"scheduler": "magic"}}, "'magic' does not fit"),
        ({"sizes_px": [[0, 64]]}, "not valid at sizes_px.0.0"),
        ({"colour": "red"}, "not valid at colour"),
    ],
)
def test_facts_that_contradict_the_model_are_refused(folder, facts, message):
    (folder / "mintmark.json").write_text("{}")
    edit_json(folder / "mintmark.json", **facts)
    with pytest.raises(WeightsError, match=message):
        read_spec(folder)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"in_channels": 8}, "takes 8 channels and returns 4"),
        ("unet/config.json", {"out_channels": None}, "returns None"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "added embeddings"),
        ("unet/config.json", {"sample_size": None}, "geometry"),
        ("text_encoder/config.json", {"use_attention_mask": True}, "attention mask"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "wavy"}, "wavy"),
    ],
)
def test_networks_that_need_more_than_this_family_gives_are_refused(folder, file, changes, message):
    edit_json(folder / file, **changes)
    with pytest.raises(WeightsError, match=message):
        read_spec(folder)


def test_a_schedule_without_ddim_gets_another_default_scheduler(folder):
    edit_json(folder / "scheduler/scheduler_config.json", clip_sample=True)
    spec = read_spec(folder)
    assert "ddim" not in spec.schedulers
    assert spec.defaults.scheduler in spec.schedulers


def test_equal_prompts_are_encoded_once(model, runner):
    first = model.encode_prompt("a cat")
    assert model.encode_prompt("a cat") is first
    model.encode_prompt("a dog")
    assert len(runner.encoded_ids) == 2


def test_the_prompt_cache_forgets_the_least_recently_used(model, runner):
    model.encode_prompt("")
    for number in range(500):
        model.encode_prompt(f"cat {number}")
        model.encode_prompt("")
    assert len(runner.encoded_ids) == 501
    model.encode_prompt("cat 0")
    assert len(runner.encoded_ids) == 502


def test_prompts_that_differ_only_in_case_share_ids_but_not_entries(model, runner):
    assert np.array_equal(model.encode_prompt("A cat"), model.encode_prompt("a cat"))
    assert len(runner.encoded_ids) == 2


def test_denoise_returns_the_networks_raw_prediction(model):
    latents = np.ones((2, 4, 16, 16), np.float32)
    out = model.denoise(latents, np.array([2.0, 3.5], np.float32), np.zeros((2, 32, 4), np.float32))
    assert out[0].max() == 2.0
    assert out[1].max() == 3.5


def test_decode_clamps_and_rounds_to_the_nearest_level(model):
    latents = np.zeros((1, 4, 1, 2), np.float32)
    latents[0, :3, 0, 0] = (-1.5, 0.0, 1.5)
    latents[0, :3, 0, 1] = (-1 + 2 * 10.4 / 255, -1 + 2 * 10.6 / 255, -1 + 2 / 255)
    pixels = model.decode(latents)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0, 0].tolist() == [0, 128, 255]
    assert pixels[0, 0, 4].tolist() == [10, 11, 1]


def test_decode_hands_over_one_picture_at_a_time(model, runner):
    pixels = model.decode(np.zeros((3, 4, 16, 16), np.float32))
    assert pixels.shape == (3, 64, 64, 3)
    assert runner.decoded_rows == [1, 1, 1]


def test_decode_divides_by_the_autoencoders_scale(folder, runner):
    edit_json(folder / "vae/config.json", scaling_factor=0.5)
    model = stable_diffusion.build(folder, read_spec(folder), runner)
    assert model.decode(np.full((1, 4, 1, 1), 0.25, np.float32)).max() == 191


def test_closing_the_model_closes_the_runner(model, runner):
    model.close()
    assert runner.is_closed


def test_the_solver_comes_from_the_folders_schedule(model):
    assert model.compile_solver("ddim", 5).num_steps == 5
    with pytest.raises(ValueError, match="unknown scheduler"):
        model.compile_solver("magic", 5)


def test_pixels_are_encoded_to_the_scaled_mean(folder, runner):
    edit_json(folder / "vae/config.json", scaling_factor=0.5)
    model = stable_diffusion.build(folder, read_spec(folder), runner)
    assert model.can_encode_image
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    pixels[1] = 255
    blank = np.zeros((2, 8, 8), np.bool_)
    blank[1, 4:] = True
    latents = model.encode_image(pixels, blank)
    assert latents.shape[0] == 2
    assert (latents[0, :3] == -0.5).all()
    assert (latents[1, :3, 0] == 0.5).all()
    assert (latents[1, :3, 1] == 0.0).all()  # mid-grey


@pytest.fixture
def inpainting_folder(folder):
    edit_json(folder / "unet/config.json", in_channels=9)
    edit_json(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")
    return folder


def test_a_network_with_nine_channels_takes_masks(inpainting_folder):
    spec = read_spec(inpainting_folder)
    assert spec.takes_mask
    assert spec.latent.channels == 4
    assert family_of(inpainting_folder) == "stable_diffusion"


def test_a_network_that_takes_masks_gets_them_beside_the_latents(inpainting_folder):
    class Watching(FakeRunner):
        def unet(self, sample, timestep, prompt_embeds):
            seen.append(sample)
            return sample[:, :4]

        def vae_encoder(self, pixels):
            planes = pixels[:, :1, ::4, ::4].repeat(4, axis=1)
            return np.concatenate([planes, np.full_like(planes, 7.0)], axis=1)

    seen: list[np.ndarray] = []
    model = stable_diffusion.build(inpainting_folder, read_spec(inpainting_folder), Watching())
    latents, times = np.ones((2, 4, 4, 4), np.float32), np.zeros(2, np.float32)
    embeds = np.zeros((2, 30, 4), np.float32)
    beside = np.full((2, 5, 4, 4), 3.0, np.float32)
    model.denoise(latents, times, embeds, beside)
    model.denoise(latents, times, embeds)
    given, nothing_kept = seen
    assert given.shape == nothing_kept.shape == (2, 9, 4, 4)
    assert (given[:, 4:] == 3.0).all()
    assert (nothing_kept[:, 4] == 1.0).all()  # everything is redrawn
    assert (nothing_kept[:, 5:] == 0.0).all()  # over mid-grey


def test_a_network_that_takes_masks_is_refused_without_an_encoder(inpainting_folder, runner):
    runner.has_vae_encoder = False
    with pytest.raises(WeightsError, match="encoder"):
        stable_diffusion.build(inpainting_folder, read_spec(inpainting_folder), runner)
