"""Facts about a model that the rest of the service may rely on without loading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from models.vocabulary_match import Vocabulary

PredictionType = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True, slots=True)
class LatentGeometry:
    """How pixels map to latents: `channels` planes at 1/`factor` of the picture's side."""

    channels: int
    factor: int

    def shape(self, width_px: int, height_px: int) -> tuple[int, int, int]:
        """Return (channels, height, width) of the latents of one picture."""
        return (self.channels, height_px // self.factor, width_px // self.factor)


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets when it does not say; per model, from its folder's `mintmark.json`."""

    num_inference_steps: int = 20
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    scheduler: str = "ddim"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One served model. `sizes_px` lists every (width, height) a request may ask for.

    `revision` is the hex digest over its weights, so equal revisions mean equal pixels.
    `card` holds public facts for `GET /v1/models/{id}` (JSON-serialisable).
    `vocabulary` is what its prompts may name; None if its card lists no subjects.
    `takes_mask`: an inpainting network, which reads a mask and what is kept beside the latents.
    """

    model_id: str
    revision: str
    family: str
    latent: LatentGeometry
    sizes_px: tuple[tuple[int, int], ...]
    default_size_px: tuple[int, int]
    max_prompt_tokens: int
    prediction_type: PredictionType
    schedulers: tuple[str, ...]
    defaults: SamplingDefaults = SamplingDefaults()
    card: dict[str, Any] = field(default_factory=dict)
    takes_mask: bool = False
    vocabulary: Vocabulary | None = field(default=None, repr=False)
