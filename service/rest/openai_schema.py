"""OpenAI's image requests, as far as they are implemented, and our own fields (stop 1).

The models are also what `/openapi.json` is made from, so their descriptions are for callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidRequest
from service.rest.form_values import typed_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from service.rest.form_names import FieldValue

_MAX_NAME_CHARS = 60
_MAX_IDENTIFIER_CHARS = 512

Quality = Literal["auto", "standard", "low", "medium", "high", "hd", "xhigh", "max"]

# Fields of OpenAI's for things that are not done here. Null asks for nothing and is accepted;
# ignoring anything else would break a promise.
UNSUPPORTED: Mapping[str, str] = {
    "complexity": "nothing is planned before a picture is drawn",
    "frame_count": "animations are not drawn",
    "frame_duration_ms": "animations are not drawn",
    "markup": "the models edit by a prompt and a mask, not by drawings on the picture",
    "svg": "pictures are drawn in pixels",
}


class ImagesBody(BaseModel):
    """What generations and edits have in common; null means "not said" for all but the prompt."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str = Field(description="What the picture shows.")
    model: str | None = Field(default=None, description="By default the first served model.")
    n: int | None = Field(default=None, description="How many pictures; 1 by default.")
    size: str | None = Field(
        default=None, description="`auto`, or WIDTHxHEIGHT from the model's `sizes`."
    )
    quality: Quality | None = Field(
        default=None,
        description="A share of the model's default number of steps, unless "
        "`num_inference_steps` says how many.",
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(
        default=None, description="`transparent` is refused: the models draw opaque pictures."
    )
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = Field(
        default=None, description="0 to 100, for JPEG and WebP; PNG ignores it."
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None, description="`url` needs a server with a storage, and no `stream`."
    )
    stream: bool | None = Field(default=None, description="Answer with server-sent events.")
    partial_images: int | None = Field(
        default=None, description="0 to 3 unfinished states of each picture, with `stream`."
    )
    user: str | None = Field(default=None, max_length=_MAX_IDENTIFIER_CHARS)
    safety_identifier: str | None = Field(
        default=None, max_length=_MAX_IDENTIFIER_CHARS, description="Echoed; not stored."
    )
    negative_prompt: str | None = Field(default=None, description="What it should not show.")
    seed: int | None = Field(default=None, description="Picture i takes seed + i.")
    num_inference_steps: int | None = None
    guidance_scale: float | None = Field(default=None, description="1 and less: no guidance.")
    scheduler: str | None = Field(default=None, description="One of the model's `schedulers`.")


class ImagesGenerateBody(ImagesBody):
    """The body of POST /v1/images/generations."""

    moderation: Literal["auto", "low"] | None = Field(default=None, description="Ignored.")
    style: Literal["vivid", "natural"] | None = Field(default=None, description="Ignored.")


class ImagesEditBody(ImagesBody):
    """The text fields of POST /v1/images/edits; its files are `image` and `mask`."""

    input_fidelity: Literal["low", "high"] | None = Field(
        default=None, description="`high` keeps more of the picture; see `strength`, which wins."
    )
    strength: float | None = Field(
        default=None,
        description="Above 0, at most 1: how far the result may leave the picture.",
    )


class ImagesVariationBody(ImagesEditBody):
    """The text fields of POST /v1/images/variations; its file is `image`."""

    prompt: str = Field(default="", description="What the picture shows; not needed.")
    input_fidelity: Literal["low", "high"] | None = Field(
        default="high", description="As for an edit, but `high` unless said otherwise."
    )


Body = TypeVar("Body", bound=ImagesBody)


def parse_json_body(members: Mapping[str, Any], model: type[Body]) -> Body:
    """Check names and types; raises InvalidRequest naming the first field at fault."""
    supported = _supported(members, model)
    try:
        body = model.model_validate(supported)
    except ValidationError as exc:
        raise _refusal(exc.errors(include_url=False, include_input=False)[0]) from None
    _check_combination(body)
    return body


def parse_form_body(fields: Mapping[str, FieldValue], model: type[Body]) -> Body:
    """Do the same for a form, whose values are text; an empty one means "not said".

    Raises InvalidRequest naming the first field at fault.
    """
    return parse_json_body(typed_values(_supported(fields, model), model), model)


def _supported(members: Mapping[str, Any], model: type[ImagesBody]) -> dict[str, Any]:
    # Before validation, which would report every one of a thousand unknown names.
    supported = {}
    for name, value in members.items():
        if name in model.model_fields:
            supported[name] = value
        elif name not in UNSUPPORTED:
            shown = name[:_MAX_NAME_CHARS]
            raise InvalidRequest(f"'{shown}' is not a field of this request.", param=shown)
        elif value is not None:
            raise InvalidRequest(
                f"'{name}' is not supported by this server: {UNSUPPORTED[name]}.", param=name
            )
    return supported


def _check_combination(body: ImagesBody) -> None:
    if body.background == "transparent":
        raise InvalidRequest(
            "'background' must be auto or opaque: the models draw opaque pictures.",
            param="background",
        )
    if body.partial_images and not body.stream:
        raise InvalidRequest("'partial_images' needs 'stream'.", param="partial_images")
    if body.stream and body.response_format == "url":
        raise InvalidRequest(
            "'response_format' must be b64_json for a stream: events carry their pictures.",
            param="response_format",
        )


def _refusal(problem: ErrorDetails) -> InvalidRequest:
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return InvalidRequest(f"'{name}' is required.", param=name)
    return InvalidRequest(f"'{name}': {problem['msg']}.", param=name)
