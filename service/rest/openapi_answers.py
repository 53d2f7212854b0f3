"""What answers look like, for `/openapi.json`. Tests hold every answer against these.

Answers themselves are made field by field where their facts are: no picture passes a model.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

OutputFormatName = Literal["png", "jpeg", "webp"]
EffectiveQuality = Literal["low", "medium", "high", "xhigh", "max"]


class Answer(BaseModel):
    """Base of every answer: nothing is in it that is not declared."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TokenDetails(Answer):
    """How a number of tokens divides."""

    text_tokens: int
    image_tokens: int


class Usage(Answer):
    """Tokens of the prompt, and one for each latent position of the pictures read and drawn."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: TokenDetails
    output_tokens_details: TokenDetails


class Energy(Answer):
    """What the drawing of a request's pictures took, by the counters of the hardware."""

    joules: float
    joules_per_image: float
    sources: list[str]


class PictureFacts(Answer):
    """Seed and provenance of one picture."""

    seed: int
    output_id: str
    manifest_id: str
    watermark_id: str
    watermark_profile: str
    pixels_sha256: str = Field(description="Of the RGB pixels before marking: repeatable.")
    content_sha256: str = Field(description="Of the file as it was handed out.")


class Picture(PictureFacts):
    """One picture of an answer: `b64_json` or, as asked for, `url` with its `expires_at`."""

    b64_json: str | None = None
    url: str | None = None
    expires_at: int | None = Field(default=None, description="Unix seconds.")


class PictureForm(Answer):
    """What the pictures of a request have in common."""

    model: str
    request_id: str
    background: Literal["opaque"]
    output_format: OutputFormatName
    quality: EffectiveQuality
    size: str
    safety_identifier: str | None = None


class ImagesResponse(PictureForm):
    """The answer to a generation or an edit."""

    created: int
    data: list[Picture]
    warnings: list[str] = Field(description="One for each phrase that the model does not draw.")
    usage: Usage
    energy: Energy | None = Field(default=None, description="Absent where no hardware counts it.")


class ImagePartialEvent(PictureForm, PictureFacts):
    """An unfinished state of one picture, signed and marked as such."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    b64_json: str
    created_at: int
    image_index: int
    partial_image_index: int


class ImageCompletedEvent(PictureForm, PictureFacts):
    """A finished picture. The last one has the prompt's usage, the warnings and the energy."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    created_at: int
    image_index: int
    usage: Usage
    warnings: list[str] | None = None
    energy: Energy | None = None


class ErrorDetail(Answer):
    """`code` is for programs, `message` for people, `param` the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class Error(Answer):
    """Every error, on every route, and as the last event of a stream."""

    error: ErrorDetail


class SamplingDefaults(Answer):
    """What a request gets that does not say."""

    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float
    scheduler: str


class ModelLimits(Answer):
    """What a request may ask for."""

    max_prompt_tokens: int
    max_prompt_chars: int
    max_images_per_request: int
    max_inference_steps: int
    max_guidance_scale: float


class Model(Answer):
    """A served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    revision: str
    family: str
    prediction_type: str
    sizes: list[str]
    default_size: str
    schedulers: list[str]
    defaults: SamplingDefaults
    limits: ModelLimits
    card: dict[str, Any]


class ModelList(Answer):
    """Every served model, the default one first."""

    object: Literal["list"]
    data: list[Model]


class RequestProgress(Answer):
    """How far a request has come."""

    id: str
    object: Literal["request"]
    phase: Literal["queued", "running", "marking", "done", "failed", "cancelled", "expired"]
    queue_position: int
    steps_done: int
    steps_total: int


class RequestCancelled(Answer):
    """Whether the request was running and has been stopped."""

    id: str
    object: Literal["request"]
    cancelled: bool


class Status(Answer):
    """A probe that is well."""

    status: Literal["live", "ready"]


class Index(Answer):
    """What there is."""

    name: str
    version: str
    links: dict[str, str]
