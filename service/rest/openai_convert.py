"""From OpenAI's names to ours: quality, fidelity and the rest of a request's body (stop 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.intake import GenerationDraft
from service.rest.openai_schema import ImagesVariationBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.spec import ModelSpec
    from service.edit_intake import EditDraft
    from service.intake import LimitsOptions
    from service.rest.openai_schema import ImagesBody, ImagesEditBody

# Of the model's default number of steps. Answers name a quality by one of these.
QUALITY_SHARES: Mapping[str, float] = {
    "low": 0.5,
    "medium": 1.0,
    "high": 1.5,
    "xhigh": 2.0,
    "max": 3.0,
}
_SYNONYMS: Mapping[str, str] = {"auto": "medium", "standard": "medium", "hd": "high"}

# Less than image-to-image takes by default (service.edit_intake), which is what "low" stands for.
HIGH_FIDELITY_STRENGTH = 0.5


def quality_of(body: ImagesBody) -> str:
    """Return the quality as answers name it: one of QUALITY_SHARES."""
    asked = body.quality or "auto"
    return _SYNONYMS.get(asked, asked)


def to_draft(
    body: ImagesBody, spec: ModelSpec, limits: LimitsOptions, edit: EditDraft | None = None
) -> GenerationDraft:
    """Translate the wire names once; what the values may be is `service.intake`'s to say.

    `edit`: the decoded uploads of an edit.
    """
    return GenerationDraft(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        num_images=body.n,
        size=body.size,
        seed=body.seed,
        num_inference_steps=_steps(body, spec, limits),
        guidance_scale=body.guidance_scale,
        scheduler=body.scheduler,
        output_format=body.output_format,
        output_compression=body.output_compression,
        num_previews=body.partial_images,
        edit=edit,
        needs_prompt=not isinstance(body, ImagesVariationBody),
    )


def strength_of(body: ImagesEditBody, spec: ModelSpec, limits: LimitsOptions) -> float | None:
    """Return the strength that a body asks for, in whichever words; None leaves it to the intake.

    `input_fidelity` never makes a request of so few steps fail that none of them would be taken.
    """
    if body.strength is not None or body.input_fidelity != "high":
        return body.strength
    steps = _steps(body, spec, limits) or spec.defaults.num_inference_steps
    return HIGH_FIDELITY_STRENGTH if int(steps * HIGH_FIDELITY_STRENGTH) else None


def _steps(body: ImagesBody, spec: ModelSpec, limits: LimitsOptions) -> int | None:
    """Return how many steps the body asks for; None for as many as the model takes by itself."""
    share = QUALITY_SHARES[quality_of(body)]
    if body.num_inference_steps is not None or share == 1:
        return body.num_inference_steps
    steps = round(spec.defaults.num_inference_steps * share)
    return min(max(1, steps), limits.max_inference_steps)
