"""The stock diffusers pipeline on the embedded model's weights: what all peers draw with."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionPipeline

from models.options import LoadOptions
from models.weights import FACTS_FILE, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from loadtests.peers.servers.wire import ImagesRequest


class StockPipeline:
    """One pipeline in float32 on the CPU. Not for several threads at once.

    num_threads: torch's, for the whole process.
    """

    def __init__(self, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        folder = LoadOptions.embedded_folder()
        self._defaults: dict[str, Any] = read_json(folder / FACTS_FILE)["defaults"]
        load: Any = StableDiffusionPipeline.from_pretrained
        self._pipeline = load(folder, dtype=torch.float32, local_files_only=True)
        self._pipeline.set_progress_bar_config(disable=True)

    def draw(self, requests: Sequence[ImagesRequest]) -> list[bytes]:
        """Return a PNG for each request, in order.

        One call of the pipeline has one number of steps and one guidance scale, so requests that
        agree in both share a call, and the groups come one after the other.
        """
        groups: dict[tuple[int, float], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(self._call_key(request), []).append(index)
        pictures: dict[int, bytes] = {}
        for (steps, guidance_scale), indices in groups.items():
            chosen = [requests[index] for index in indices]
            drawn = self._call(chosen, steps, guidance_scale)
            pictures |= dict(zip(indices, map(_png, drawn), strict=True))
        return [pictures[index] for index in range(len(requests))]

    def _call_key(self, request: ImagesRequest) -> tuple[int, float]:
        steps, guidance_scale = request.num_inference_steps, request.guidance_scale
        return (
            self._defaults["num_inference_steps"] if steps is None else steps,
            self._defaults["guidance_scale"] if guidance_scale is None else guidance_scale,
        )

    def _call(
        self, requests: Sequence[ImagesRequest], steps: int, guidance_scale: float
    ) -> list[Image]:
        drawn: list[Image] = self._pipeline(
            [request.prompt for request in requests],
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            guidance_rescale=self._defaults["guidance_rescale"],
            generator=[torch.Generator().manual_seed(request.seed) for request in requests],
        ).images
        return drawn


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
