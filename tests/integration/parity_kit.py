"""Our model beside the stock diffusers pipeline over the same folder, with the same noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from diffusers.schedulers import scheduling_euler_ancestral_discrete

from models.noise import step_noise
from tests.factories import EngineBench

if TYPE_CHECKING:
    import numpy as np

    from service.domain.request import GenerationRequest

TOLERANCE = 2e-4
STOCK: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # its default fits no latent model
    "euler": (EulerDiscreteScheduler, {}),
    "euler_karras": (EulerDiscreteScheduler, {"use_karras_sigmas": True}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}


class LatentsRecorder:
    """A model that remembers the finished latents it was asked to decode, in order."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.latents: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decode(self, latents: Any) -> Any:
        self.latents.append(self._model.arrays.to_numpy(latents)[0])
        return self._model.decode(latents)


def use_scheduler(pipeline: Any, config: Any, request: GenerationRequest, monkeypatch: Any) -> None:
    """Give a stock pipeline the request's scheduler, which draws our noise on its way."""
    scheduler_class, changes = STOCK[request.sampling.scheduler]
    pipeline.scheduler = scheduler_class.from_config(config, **changes)
    draws = iter(range(request.sampling.num_inference_steps))

    def our_noise(shape: Any, *_: Any, **__: Any) -> torch.Tensor:
        noise = step_noise(request.sampling.seed, next(draws), tuple(shape)[1:])
        return torch.from_numpy(noise[None])

    monkeypatch.setattr(scheduling_euler_ancestral_discrete, "randn_tensor", our_noise)


def our_latents(ours: LatentsRecorder, requests: list[GenerationRequest]) -> dict[int, np.ndarray]:
    """Return the latents by seed of requests that join one after the other."""
    ours.latents.clear()
    bench = EngineBench(ours)
    order = []
    sinks = []
    for request in requests:
        sinks.append((request, bench.submit(request)[1]))
        bench.loop.tick()
        order += [r for r, sink in sinks if sink.results and r not in order]
    while not bench.loop.is_idle:
        bench.loop.tick()
        order += [r for r, sink in sinks if sink.results and r not in order]
    return {
        request.sampling.seed: latents for request, latents in zip(order, ours.latents, strict=True)
    }
