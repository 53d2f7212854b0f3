"""Results as OpenAI's answers name them, with seed and provenance beside each picture (stop 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.provenance.manifest import format_watermark_id
from service.rest.json_answer import JsonAnswer, PicturesAnswer
from service.rest.openai_convert import quality_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.spec import ModelSpec
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult, RequestEnergy, SignedImage
    from service.rest.openai_schema import ImagesBody
    from service.storage.interface import StoredPicture


@dataclass(frozen=True, slots=True)
class Presenter:
    """What an answer says beside its pictures, for one request."""

    request: GenerationRequest
    spec: ModelSpec
    quality: str
    safety_identifier: str | None

    @classmethod
    def of(cls, body: ImagesBody, request: GenerationRequest, spec: ModelSpec) -> Presenter:
        """Return the presenter of a request that was made from `body` for `spec`."""
        # OpenAI's precedence; an empty one counts as none.
        identifier = body.safety_identifier or body.user or None
        return cls(request, spec, quality_of(body), identifier)

    def inline(self, result: GenerationResult) -> PicturesAnswer:
        """Return the answer that holds its pictures."""
        pictures = [(image.content, picture_facts(image)) for image in result.images]
        return PicturesAnswer(pictures, self._result_facts(result))

    def links(self, result: GenerationResult, stored: Sequence[StoredPicture]) -> JsonAnswer:
        """Return the answer that says where its pictures are. `stored`: one for each of them."""
        data = [
            {"url": place.url, "expires_at": place.expires_at_s, **picture_facts(image)}
            for image, place in zip(result.images, stored, strict=True)
        ]
        return JsonAnswer({"data": data, **self._result_facts(result)})

    def picture_form(self) -> dict[str, Any]:
        """Return how the pictures look, as answers and events alike say it."""
        wanted = self.request
        facts = {
            "background": "opaque",
            "output_format": wanted.output.format.value,
            "quality": self.quality,
            "size": f"{wanted.width_px}x{wanted.height_px}",
        }
        if self.safety_identifier is not None:
            facts["safety_identifier"] = self.safety_identifier
        return facts

    def usage(self, prompt_tokens: int, num_images: int, num_inputs: int) -> dict[str, Any]:
        """Return OpenAI's usage. A picture counts one token for each position of its latents.

        `num_inputs`: pictures that were read, so 1 for an edit.
        """
        wanted = self.request
        _, height, width = self.spec.latent.shape(wanted.width_px, wanted.height_px)
        output_tokens, image_tokens = height * width * num_images, height * width * num_inputs
        input_tokens = prompt_tokens + image_tokens
        return {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "input_tokens_details": {"text_tokens": prompt_tokens, "image_tokens": image_tokens},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": output_tokens},
        }

    @property
    def num_inputs(self) -> int:
        """Return how many pictures the request reads."""
        return 0 if self.request.source is None else 1

    def _result_facts(self, result: GenerationResult) -> dict[str, Any]:
        return {
            "created": int(result.created_at.timestamp()),
            "model": self.request.model_id,
            "request_id": result.request_id,
            **self.picture_form(),
            "warnings": list(result.warnings),
            "usage": self.usage(result.prompt_tokens, len(result.images), self.num_inputs),
            **energy_facts(result.energy, len(result.images)),
        }


def energy_facts(energy: RequestEnergy | None, num_images: int) -> dict[str, Any]:
    """Return what the drawing took, JSON-ready; nothing where no hardware counts it."""
    if energy is None:
        return {}
    return {
        "energy": {
            "joules": round(energy.joules, 3),
            "joules_per_image": round(energy.joules / num_images, 3),
            "sources": list(energy.sources),
        }
    }


def picture_facts(image: SignedImage) -> dict[str, Any]:
    """Return the seed and the provenance of one picture, JSON-ready."""
    return {
        "seed": image.seed,
        "output_id": image.output_id,
        "manifest_id": image.manifest_id,
        "watermark_id": format_watermark_id(image.watermark_id),
        "watermark_profile": image.watermark_profile,
        "pixels_sha256": image.pixels_sha256,
        "content_sha256": image.content_sha256,
    }
