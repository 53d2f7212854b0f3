"""The engine's latents equal those of the stock diffusers pipeline: alone, in a mix, both runners.

The pipeline starts from the same noise; what a stochastic scheduler draws on the way is given to
it from our noise as well. Everything else is stock: text encoding, guidance, rescaling, scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from models.noise import initial_noise
from models.options import LoadOptions
from models.registry import load_model
from service.domain.request import GenerationRequest
from tests.factories import make_request
from tests.integration.parity_kit import TOLERANCE, LatentsRecorder, our_latents, use_scheduler

pytestmark = [
    pytest.mark.timeout(400),  # tracing four networks takes half a minute of processor time
    # diffusers' schedulers on numpy 2; nothing of ours.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@dataclass
class Side:
    """Our model and the stock pipeline over the same folder."""

    ours: LatentsRecorder
    stock: Any
    scheduler_config: Any


def load_side(folder: str, **options: Any) -> Side:
    stock = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    ours = LatentsRecorder(load_model(LoadOptions(path=folder, **options)))
    return Side(ours, stock, stock.scheduler.config)


@pytest.fixture(scope="module", params=["embedded-onnx", "tiny-onnx", "tiny-torch"])
def side(request, exported):
    name, runner = request.param.split("-")
    folder = str(LoadOptions.embedded_folder()) if name == "embedded" else str(exported)
    return load_side(folder, runner=runner)


def requests_for(side: Side) -> list[GenerationRequest]:
    spec = side.ours.spec
    return [
        make_request(
            model_id=spec.model_id,
            prompt=f"a red apple {index}",
            seed=index,
            steps=4 + index,
            guidance=guidance,
            rescale=rescale,
            scheduler=scheduler,
            size=spec.default_size_px,
        )
        for index, (scheduler, guidance, rescale) in enumerate(
            [
                ("ddim", 4.0, 0.5),
                ("euler", 7.5, 0.0),
                ("euler_karras", 1.0, 0.0),
                ("euler_ancestral", 4.0, 0.0),
                ("dpmpp_2m", 4.0, 0.5),
                ("dpmpp_2m_karras", 3.0, 0.0),
            ]
        )
    ]


def stock_latents(side: Side, request: GenerationRequest, monkeypatch) -> np.ndarray:
    sampling = request.sampling
    shape = side.ours.spec.latent.shape(request.width_px, request.height_px)
    use_scheduler(side.stock, side.scheduler_config, request, monkeypatch)
    result = side.stock(
        request.prompt,
        negative_prompt="",
        height=request.height_px,
        width=request.width_px,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        guidance_rescale=sampling.guidance_rescale,
        latents=torch.from_numpy(initial_noise(sampling.seed, shape)[None]),
        output_type="latent",
    )
    latents: np.ndarray = result.images[0].numpy()
    return latents


def test_a_request_alone_equals_the_stock_pipeline(side, monkeypatch):
    for request in requests_for(side):
        ours = our_latents(side.ours, [request])[request.sampling.seed]
        stock = stock_latents(side, request, monkeypatch)
        assert np.abs(ours - stock).max() <= TOLERANCE, request.sampling.scheduler


def test_requests_in_a_mix_equal_the_stock_pipeline(side, monkeypatch):
    requests = requests_for(side)
    ours = our_latents(side.ours, requests)
    for request in requests:
        stock = stock_latents(side, request, monkeypatch)
        difference = np.abs(ours[request.sampling.seed] - stock).max()
        assert difference <= TOLERANCE, request.sampling.scheduler
