"""Edits equal those of the stock image-to-image and inpainting pipelines, alone and in a mix.

The stock pipelines are given our starting noise and the mean of the encoder's distribution, which
is what we start from; they would draw both. Everything else is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.stable_diffusion import (
    pipeline_stable_diffusion_img2img,
    pipeline_stable_diffusion_inpaint,
)
from PIL import Image

from models.noise import initial_noise
from models.options import LoadOptions
from models.registry import load_model
from tests.factories import make_request, make_source
from tests.integration.parity_kit import (
    STOCK,
    TOLERANCE,
    LatentsRecorder,
    our_latents,
    use_scheduler,
)
from tests.models_kit import make_stable_diffusion_folder

pytestmark = [
    pytest.mark.timeout(400),
    # diffusers' schedulers on numpy 2; nothing of ours.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@dataclass
class Side:
    """Our model and the stock pipelines over the same folder."""

    ours: LatentsRecorder
    to_image: Any
    inpaint: Any
    scheduler_config: Any


def load_side(folder: str, runner: str) -> Side:
    inpaint: Any = StableDiffusionInpaintPipeline.from_pretrained(folder, dtype=torch.float32)
    parts = dict(inpaint.components)
    to_image: Any = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    for pipeline in (inpaint, to_image):
        pipeline.set_progress_bar_config(disable=True)
    ours = LatentsRecorder(load_model(LoadOptions(path=folder, runner=runner)))
    return Side(ours, to_image, inpaint, inpaint.scheduler.config)


@pytest.fixture(scope="module", params=["embedded-onnx", "tiny-torch"])
def side(request, unexported):
    name, runner = request.param.split("-")
    folder = LoadOptions.embedded_folder() if name == "embedded" else unexported
    return load_side(str(folder), runner)


@pytest.fixture(scope="module")
def inpainting_side(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "tiny-inpainting"
    make_stable_diffusion_folder(folder, is_inpainting=True)
    return load_side(str(folder), "torch")


def edits_for(side: Side, *, masked: bool, strengths: tuple[float, ...]) -> list[Any]:
    """Return one request for each scheduler, over the strengths in turn, guided and not."""
    spec = side.ours.spec
    return [
        make_request(
            model_id=spec.model_id,
            prompt=f"a red apple {index}",
            seed=100 + index,
            steps=5 + index,
            guidance=4.0 if index % 2 else 1.0,
            scheduler=scheduler,
            size=spec.default_size_px,
            source=make_source(
                size=spec.default_size_px,
                strength=strengths[index % len(strengths)],
                masked=masked,
                picture_seed=index,
            ),
        )
        for index, scheduler in enumerate(STOCK)
    ]


def stock_latents(side: Side, request: Any, monkeypatch: Any) -> np.ndarray:
    sampling, source = request.sampling, request.source

    def our_noise(shape: Any, *_: Any, **__: Any) -> torch.Tensor:
        return torch.from_numpy(initial_noise(sampling.seed, tuple(shape)[1:])[None])

    for module in (pipeline_stable_diffusion_img2img, pipeline_stable_diffusion_inpaint):
        monkeypatch.setattr(module, "randn_tensor", our_noise)
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()
    )
    pipeline, masks = side.to_image, {}
    if source.mask is not None:
        pipeline = side.inpaint
        masks = {
            "mask_image": Image.fromarray(source.mask),
            "height": request.height_px,
            "width": request.width_px,
        }
    use_scheduler(pipeline, side.scheduler_config, request, monkeypatch)
    result = pipeline(
        request.prompt,
        image=Image.fromarray(source.pixels),
        negative_prompt="",
        strength=source.strength,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        output_type="latent",
        **masks,
    )
    latents: np.ndarray = result.images[0].numpy()
    return latents


def assert_equal_to_stock(side: Side, requests: list[Any], monkeypatch: Any) -> None:
    ours = our_latents(side.ours, requests)
    for request in requests:
        stock = stock_latents(side, request, monkeypatch)
        difference = np.abs(ours[request.sampling.seed] - stock).max()
        assert difference <= TOLERANCE, (request.sampling, request.source.strength)


@pytest.mark.parametrize("strengths", [(0.3, 0.5, 0.8), (1.0,)])
def test_image_to_image_equals_the_stock_pipeline(side, strengths, monkeypatch):
    for request in edits_for(side, masked=False, strengths=strengths):
        assert_equal_to_stock(side, [request], monkeypatch)


@pytest.mark.parametrize("strengths", [(0.3, 0.5, 0.8), (1.0,)])
def test_inpainting_equals_the_stock_pipeline(side, strengths, monkeypatch):
    for request in edits_for(side, masked=True, strengths=strengths):
        assert_equal_to_stock(side, [request], monkeypatch)


def test_edits_in_a_mix_with_generations_equal_the_stock_pipelines(side, monkeypatch):
    spec = side.ours.spec
    generations = [
        make_request(model_id=spec.model_id, size=spec.default_size_px, seed=seed)
        for seed in range(2)
    ]
    masked = [
        replace(edit, sampling=replace(edit.sampling, seed=200 + index))
        for index, edit in enumerate(edits_for(side, masked=True, strengths=(0.9, 1.0)))
    ]
    edits = [*edits_for(side, masked=False, strengths=(0.7,)), *masked]
    ours = our_latents(side.ours, [*generations, *edits])
    for request in edits:
        difference = ours[request.sampling.seed] - stock_latents(side, request, monkeypatch)
        assert np.abs(difference).max() <= TOLERANCE, (request.sampling, request.source.strength)


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_a_network_that_reads_masks_equals_the_stock_pipeline(
    inpainting_side, strength, monkeypatch
):
    requests = edits_for(inpainting_side, masked=True, strengths=(strength,))
    assert inpainting_side.ours.spec.takes_mask
    assert_equal_to_stock(inpainting_side, requests, monkeypatch)


def test_a_network_that_reads_masks_draws_from_nothing_as_if_all_were_redrawn(
    inpainting_side, monkeypatch
):
    (edit, *_) = edits_for(inpainting_side, masked=True, strengths=(1.0,))
    source = replace(edit.source, mask=np.full_like(edit.source.mask, 255))
    generation = replace(edit, source=None)
    (drawn,) = our_latents(inpainting_side.ours, [generation]).values()
    stock = stock_latents(inpainting_side, replace(edit, source=source), monkeypatch)
    assert np.abs(drawn - stock).max() <= TOLERANCE
