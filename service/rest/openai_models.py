"""GET /v1/models: which models are served, what they can draw and how they were set up."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from service.rest.dependencies import find_model
from service.rest.json_answer import JsonAnswer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from models.spec import ModelSpec
    from service.intake import LimitsOptions
    from service.rest.dependencies import RestEnvironment

_OWNER = "mintmark"


class ModelsEndpoint:
    """Lists the served models in OpenAI's shape, with their facts and limits."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment

    async def list(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """Answer with every model, the default one first."""
        dependencies = self._environment.require_loaded()
        default_id = dependencies.default_model_id
        specs = sorted(
            dependencies.models.values(),
            key=lambda spec: (spec.model_id != default_id, spec.model_id),
        )
        limits = self._environment.limits
        return JsonAnswer({"object": "list", "data": [describe(spec, limits) for spec in specs]})

    async def retrieve(self, request: Request) -> Response:
        """Answer with one model; raises ModelNotFound."""
        dependencies = self._environment.require_loaded()
        # An empty name would mean the default model elsewhere; in a path it names nothing.
        spec = find_model(dependencies, request.path_params["model_id"] or "/")
        return JsonAnswer(describe(spec, self._environment.limits))


def describe(spec: ModelSpec, limits: LimitsOptions) -> dict[str, Any]:
    """Return the public facts of one model, JSON-ready. `created` is 0 when it is not known."""
    created = spec.card.get("created")
    return {
        "id": spec.model_id,
        "object": "model",
        "created": created if isinstance(created, int) else 0,
        "owned_by": _OWNER,
        "revision": spec.revision,
        "family": spec.family,
        "prediction_type": spec.prediction_type,
        "sizes": [_size(size) for size in spec.sizes_px],
        "default_size": _size(spec.default_size_px),
        "schedulers": list(spec.schedulers),
        "defaults": dataclasses.asdict(spec.defaults),
        "limits": {
            "max_prompt_tokens": spec.max_prompt_tokens,
            "max_prompt_chars": limits.max_prompt_chars,
            "max_images_per_request": limits.max_images_per_request,
            "max_inference_steps": limits.max_inference_steps,
            "max_guidance_scale": limits.max_guidance_scale,
        },
        "card": spec.card,
    }


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]}x{size_px[1]}"
