"""A model on the test bench: loaded as the service loads it, with its judge beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from models.options import LoadOptions
from models.registry import load_model
from models.runners.onnx_runner import OnnxRunner
from models.training import metrics
from models.training.drawing import draw_pictures
from models.training.measurements import Scores
from models.training.vocabulary import BACKGROUNDS, COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.interface import DiffusionModel
    from models.runners.interface import Runner
    from models.spec import SamplingDefaults
    from models.training.classifier import Judge
    from models.training.drawing import Order
    from models.training.reference import Facts, Scope

    Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Bench:
    """What draws, what rebuilds and what judges. batch: pictures per network call.

    runner: the same folder's networks once more, for the autoencoder's encoder, which the service
    does not use. sampling: the model's own defaults, with no more steps than the recipe allows.
    """

    model: DiffusionModel
    runner: Runner
    judge: Judge
    scope: Scope
    sampling: SamplingDefaults
    batch: int

    def draw(self, orders: Sequence[Order], what: str) -> Pictures:
        """Return a picture for each order, showing progress under the name `what`."""
        with tqdm(total=len(orders), desc=what, unit="picture") as progress:
            batches = []
            size_px = self.model.spec.default_size_px
            for drawn in draw_pictures(self.model, orders, size_px, self.sampling, self.batch):
                progress.update(len(drawn))
                batches.append(drawn)
        return np.concatenate(batches)

    def reconstruct(self, pictures: Pictures) -> Pictures:
        """Return what the autoencoder makes of the pictures, from its latents' mean."""
        arrays = self.runner.arrays
        batches = []
        for start in tqdm(range(0, len(pictures), self.batch), desc="reconstructions"):
            pixels = pictures[start : start + self.batch].transpose(0, 3, 1, 2) / 127.5 - 1
            moments = self.runner.vae_encoder(arrays.from_numpy(pixels.astype(np.float32)))
            latents = moments[:, : self.model.spec.latent.channels]
            rebuilt = arrays.to_numpy(self.runner.vae_decoder(latents)).transpose(0, 2, 3, 1)
            batches.append(np.rint((rebuilt * 0.5 + 0.5).clip(0, 1) * 255).astype(np.uint8))
        return np.concatenate(batches)

    def score(self, pictures: Pictures, facts: Facts, original: Pictures | None = None) -> Scores:
        """Return how many pictures show what the facts say.

        Subject and style are chosen among those in scope. Background: the palette colour nearest
        to the border. Recolour: the colour nearest to the object's dominant hue, over pictures for
        which one was asked. original: what the pictures are reconstructions of.
        """
        seen = self.judge.look(pictures)
        subjects, styles = (
            np.array(list(part)) for part in (self.scope.subjects, self.scope.styles)
        )
        subject_scores = seen.subject_scores[:, subjects]
        subject = np.searchsorted(subjects, facts.subject)
        style = np.searchsorted(styles, facts.style)
        palette = np.array([background.rgb for background in BACKGROUNDS], np.float64)
        background = metrics.nearest_colours(metrics.border_colours(pictures), palette)
        return Scores(
            count=len(pictures),
            subject_top1=float(metrics.top_k_hits(subject_scores, subject, 1).mean()),
            subject_top5=float(metrics.top_k_hits(subject_scores, subject, 5).mean()),
            style=float(metrics.top_k_hits(seen.style_scores[:, styles], style, 1).mean()),
            background=float((background == facts.background).mean()),
            blank=float(metrics.are_blank(pictures).mean()),
            recolour=_recolour_share(pictures, facts),
            psnr_db=None if original is None else float(metrics.psnr_db(pictures, original).mean()),
        )

    def close(self) -> None:
        """Free both copies of the networks."""
        self.model.close()
        self.runner.close()


def open_model(folder: Path, device: str) -> tuple[DiffusionModel, Runner]:
    """Load a pipeline folder twice: as the service does, and its bare networks.

    device: "cpu" computes with ONNX Runtime, which is what is served; "cuda" with torch, for speed.
    Raises WeightsError or RunnerUnavailable as models.registry.load_model does.
    """
    runner: Any
    if device == "cpu":
        options = LoadOptions(path=str(folder))
        runner = OnnxRunner(folder, options)
    else:
        from models.runners.torch_runner import TorchRunner  # noqa: PLC0415  (seconds to import)

        options = LoadOptions(path=str(folder), runner="torch", device="cuda")
        runner = TorchRunner(folder, options)
    return load_model(options), runner


def choose_sampling(model: DiffusionModel, max_steps: int) -> SamplingDefaults:
    """Return the model's own defaults with at most `max_steps` steps."""
    defaults = model.spec.defaults
    return replace(defaults, num_inference_steps=min(defaults.num_inference_steps, max_steps))


def _recolour_share(pictures: Pictures, facts: Facts) -> float | None:
    asked = facts.recolour > 0
    if not asked.any():
        return None
    palette = np.array([colour.hue_deg for colour in COLOURS])
    seen = metrics.nearest_hues(metrics.object_hues(pictures[asked]), palette)
    return float((seen + 1 == facts.recolour[asked]).mean())
