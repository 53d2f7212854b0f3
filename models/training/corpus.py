"""What the text encoder is initialised on: captions with labels, and words of the language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from models.training.vocabulary import BACKGROUNDS, COLOURS, STYLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.training.sampler import BatchSampler

_CHUNK: Final = 64
# An unknown word has to be understood where prompts put it, and alone.
_FRAMES: Final = (
    "{word}",
    "a {word}",
    "a {word}, {style}, on a {background} background",
    "a {colour} {word}, {style}, on a {background} background",
)


@dataclass(frozen=True, slots=True)
class Captions:
    """n captions. labels: (n, 4) int64 on the CPU: subject, style, background, recolour."""

    texts: list[str]
    labels: Tensor


def draw_captions(sampler: BatchSampler, count: int) -> Captions:
    """Return captions of `count` training pictures."""
    texts: list[str] = []
    labels = []
    while len(texts) < count:
        batch = sampler.sample(min(_CHUNK, count - len(texts)))
        texts += batch.captions
        columns = (batch.subject, batch.style, batch.background, batch.recolour)
        labels.append(torch.stack(columns, dim=1).cpu())
    return Captions(texts, torch.cat(labels))


def frame_words(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` texts around words drawn from `words`, the same for the same seed."""
    rng = np.random.default_rng(seed)

    def pick(names: Sequence[str]) -> str:
        return names[int(rng.integers(len(names)))]

    styles = [f"{style.name} style" for style in STYLES]
    backgrounds = [background.name for background in BACKGROUNDS]
    colours = [colour.name for colour in COLOURS]
    return [
        pick(_FRAMES).format(
            word=pick(words),
            style=pick(styles),
            background=pick(backgrounds),
            colour=pick(colours),
        )
        for _ in range(count)
    ]
