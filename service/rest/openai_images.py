"""POST /v1/images/generations: OpenAI's image call, answered with signed pictures (stops 1, 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.domain.identity import Deadline
from service.errors import ServiceError
from service.intake import build_request
from service.provenance.manifest import format_watermark_id
from service.rest.dependencies import find_model
from service.rest.disconnect import run_while_connected
from service.rest.json_answer import PicturesAnswer
from service.rest.openai_schema import parse_body, to_draft
from service.rest.request_body import read_json_object
from service.rest.request_identity import request_id_of
from service.telemetry.metric_table import ADMISSION_REFUSALS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from service.domain.result import GenerationResult, SignedImage
    from service.rest.dependencies import RestDependencies, RestEnvironment


class ImagesEndpoint:
    """Generates pictures for one HTTP request and stops when its client leaves."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment

    async def create(self, request: Request) -> Response:
        """Answer with every picture, or raise a ServiceError; never with fewer or unsigned ones."""
        environment = self._environment
        deadline = Deadline.after(environment.request_timeout_s, environment.clock())
        body = parse_body(await read_json_object(request))
        dependencies = self._require_loaded()
        spec = find_model(dependencies, body.model)
        work = dependencies.generate(
            build_request(to_draft(body), spec, environment.limits),
            request_id=request_id_of(request.scope),
            deadline=deadline,
        )
        return present(await run_while_connected(work, request.receive))

    def _require_loaded(self) -> RestDependencies:
        try:
            return self._environment.require_loaded()
        except ServiceError as error:
            self._environment.metrics.count(ADMISSION_REFUSALS, error.code)
            raise


def present(result: GenerationResult) -> PicturesAnswer:
    """Return `result` as OpenAI's ImagesResponse, with seed and provenance beside each picture."""
    wanted = result.request
    tokens = result.prompt_tokens
    facts = {
        "created": int(result.created_at.timestamp()),
        "model": wanted.model_id,
        "request_id": result.request_id,
        "output_format": wanted.output.format.value,
        "size": f"{wanted.width_px}x{wanted.height_px}",
        "quality": "auto",
        "background": "opaque",
        "usage": {
            "input_tokens": tokens,
            "output_tokens": 0,
            "total_tokens": tokens,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        },
    }
    return PicturesAnswer([(image.content, _item(image)) for image in result.images], facts)


def _item(image: SignedImage) -> dict[str, Any]:
    return {
        "seed": image.seed,
        "output_id": image.output_id,
        "manifest_id": image.manifest_id,
        "watermark_id": format_watermark_id(image.watermark_id),
        "watermark_profile": image.watermark_profile,
        "pixels_sha256": image.pixels_sha256,
        "content_sha256": image.content_sha256,
    }
