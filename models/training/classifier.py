"""The judge: a small network that names subject and style, trained once on renders of the art.

It has seen the art that the model learnt from, so it is a gauge for regressions, not an independent
witness. Held-out pairs are part of what it learns: it has to know what they should look like.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F  # noqa: N812  (its usual name)
from tqdm import tqdm

from models.training.sampler import BatchSampler
from models.training.storage import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.training.art import Art
    from models.training.recipe import EvaluationRecipe, Recipe

# Judged at this side at most: larger pictures are reduced first, by area.
MAX_SIDE_PX: Final = 64
_FEATURES: Final = 64
_LEARNING_RATE: Final = 3e-3
_JUDGE_BATCH: Final = 256
# Raised when the network or its training changes, so that a cached judge is not taken for it.
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge sees. Scores are logits, (N, subjects) and (N, styles); features (N, 64)."""

    subject_scores: NDArray[np.float32]
    style_scores: NDArray[np.float32]
    features: NDArray[np.float64]


class JudgeNetwork(nn.Module):
    """Five convolutions, a mean, one feature vector, two heads."""

    def __init__(self, num_subjects: int, num_styles: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(3, 32, kernel=5, stride=2),
            *_block(32, 64, kernel=3, stride=2),
            *_block(64, 128, kernel=3, stride=2),
            *_block(128, 192, kernel=3, stride=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * 192, _FEATURES),
        )
        self.subject = nn.Linear(_FEATURES, num_subjects)
        self.style = nn.Linear(_FEATURES, num_styles)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return features (n, 64), subject and style logits of pixels (n, 3, h, w) in [-1, 1]."""
        features = self.body(_reduced(pixels))
        active = F.silu(features)
        return features, self.subject(active), self.style(active)


class Judge:
    """A trained judge on a device. `digest` tells data and training apart."""

    def __init__(self, network: JudgeNetwork, digest: str, device: str) -> None:
        self.digest = digest
        self._network = network.to(device).eval()
        self._device = device

    @torch.no_grad()
    def look(self, pictures: NDArray[np.uint8]) -> Judgement:
        """Judge pictures (N, H, W, 3), in the order given."""
        parts = [
            self._network(_pixels(pictures[start : start + _JUDGE_BATCH], self._device))
            for start in range(0, len(pictures), _JUDGE_BATCH)
        ]
        features, subject, style = (
            torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)
        )
        return Judgement(subject, style, features.astype(np.float64))


def obtain_judge(art: Art, work: Path, recipe: Recipe, device: str) -> Judge:
    """Return the judge for this art, from the work folder if it was trained before.

    Trains it otherwise, on every picture, held-out pairs included, and keeps it. A kept judge of
    other art or another training is replaced.
    """
    digest = _digest(art, recipe)
    path = work / "evaluation" / "classifier.safetensors"
    with torch.random.fork_rng(), _one_thread():
        torch.manual_seed(recipe.evaluation.seed)
        network = JudgeNetwork(len(art.subjects), len(art.styles))
        if not _restore(network, path, digest):
            _train(network, art, recipe, device)
            _keep(network, path, digest)
    return Judge(network, digest, device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: the network is so small that beside other work two cost five times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _block(channels_in: int, channels: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    """Return convolution, normalisation and activation."""
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.SiLU()


def _reduced(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels with no side above MAX_SIDE_PX."""
    height, width = pixels.shape[-2:]
    size = (min(height, MAX_SIDE_PX), min(width, MAX_SIDE_PX))
    return pixels if size == (height, width) else F.interpolate(pixels, size, mode="area")


def _pixels(pictures: NDArray[np.uint8], device: str) -> torch.Tensor:
    """Return uint8 pictures as float pixels (n, 3, h, w) in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def _train(network: JudgeNetwork, art: Art, recipe: Recipe, device: str) -> None:
    """Train fresh weights on renders of every picture, natural and recoloured, one object each."""
    options = recipe.evaluation
    side_px = min(recipe.data.size_px, MAX_SIDE_PX)
    sampler = BatchSampler(art, side_px, device, options.seed, recipe.data, split="all")
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=options.classifier_steps + 1, pct_start=0.1
    )
    for _ in tqdm(range(options.classifier_steps), desc="judge", unit="step"):
        loss = _loss(network, sampler, options)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _loss(network: JudgeNetwork, sampler: BatchSampler, options: EvaluationRecipe) -> torch.Tensor:
    """Return the loss of one fresh batch.

    Latent noise and low resolution of a model's pictures are no business of the judge, but without
    some blur and noise in its training it would mistake them for another style.
    """
    batch = sampler.sample(options.classifier_batch, pairs_share=0.0)
    pixels = batch.pixels + 0.03 * torch.randn_like(batch.pixels)
    half = len(pixels) // 2
    blurred = F.avg_pool2d(F.pad(pixels[:half], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mixed = torch.cat([blurred, pixels[half:]]).contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        _, subject, style = network(mixed)
    subject_loss = F.cross_entropy(subject.float(), batch.subject, label_smoothing=0.05)
    style_loss = F.cross_entropy(style.float(), batch.style, label_smoothing=0.05)
    return subject_loss + 0.5 * style_loss


def _digest(art: Art, recipe: Recipe) -> str:
    """Return a hex digest over everything that decides the judge's weights."""
    options = recipe.evaluation
    facts = {
        "version": _VERSION,
        "pictures": [[p.subject, p.style, p.sha256] for p in art.pictures],
        "resolution_px": art.pixels.shape[1],
        "data": dataclasses.asdict(recipe.data),
        "training": [options.classifier_steps, options.classifier_batch, options.seed],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _restore(network: JudgeNetwork, path: Path, digest: str) -> bool:
    """Load a kept judge and tell whether it is the one asked for; a damaged one is not."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as stored:
            if (stored.metadata() or {}).get("digest") != digest:
                return False
            network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except SafetensorError:
        return False
    return True


def _keep(network: JudgeNetwork, path: Path, digest: str) -> None:
    """Write the judge whole or not at all."""
    weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    replace_file(path, save(weights, metadata={"digest": digest}))
