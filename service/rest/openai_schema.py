"""OpenAI's image request, as far as it is implemented, with our own fields beside it (stop 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidRequest
from service.intake import GenerationDraft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_MAX_NAME_CHARS = 60

# Fields of OpenAI's that have no effect here. The listed values ask for nothing that we do not
# do; every other value is refused by name, because ignoring it would break a promise.
_NEUTRAL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "quality": ("auto", "standard"),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "style": ("vivid", "natural"),
    "response_format": ("b64_json",),
    "stream": (False,),
    "partial_images": (0,),
    "complexity": (),
    "frame_count": (),
    "frame_duration_ms": (),
    "svg": (),
}


class ImagesGenerateBody(BaseModel):
    """The body of POST /v1/images/generations; null means "not said" for every optional field."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    response_format: str | None = None
    stream: bool | None = None
    partial_images: int | None = None
    complexity: Any = None
    frame_count: Any = None
    frame_duration_ms: Any = None
    svg: Any = None
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=512)
    # Ours.
    negative_prompt: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None


def parse_body(members: Mapping[str, Any]) -> ImagesGenerateBody:
    """Check types and names; raises InvalidRequest naming the first field at fault."""
    for name in members:  # before validation, which would report every one of a thousand
        if name not in ImagesGenerateBody.model_fields:
            shown = name[:_MAX_NAME_CHARS]
            raise InvalidRequest(f"'{shown}' is not a field of this request.", param=shown)
    try:
        body = ImagesGenerateBody.model_validate(members)
    except ValidationError as exc:
        raise _refusal(exc.errors(include_url=False, include_input=False)[0]) from None
    for field, neutral in _NEUTRAL_VALUES.items():
        value = getattr(body, field)
        if value is not None and value not in neutral:
            raise _unsupported(field, neutral)
    return body


def to_draft(body: ImagesGenerateBody) -> GenerationDraft:
    """Translate the wire names once; what the values may be is `service.intake`'s to say."""
    return GenerationDraft(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        num_images=body.n,
        size=body.size,
        seed=body.seed,
        num_inference_steps=body.num_inference_steps,
        guidance_scale=body.guidance_scale,
        scheduler=body.scheduler,
        output_format=body.output_format,
        output_compression=body.output_compression,
    )


def _refusal(problem: ErrorDetails) -> InvalidRequest:
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return InvalidRequest(f"'{name}' is required.", param=name)
    return InvalidRequest(f"'{name}': {problem['msg']}.", param=name)


def _unsupported(field: str, neutral: tuple[Any, ...]) -> InvalidRequest:
    if not neutral:
        return InvalidRequest(f"'{field}' is not supported by this server.", param=field)
    known = ", ".join(str(value).lower() for value in neutral)
    return InvalidRequest(f"'{field}' supports only: {known}.", param=field)
