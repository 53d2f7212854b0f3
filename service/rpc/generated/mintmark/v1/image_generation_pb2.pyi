import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OutputFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_FORMAT_UNSPECIFIED: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_PNG: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_JPEG: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_WEBP: _ClassVar[OutputFormat]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_AI_GENERATED_BY_US: _ClassVar[Verdict]
    VERDICT_AI_GENERATED_BY_US_ALTERED: _ClassVar[Verdict]
    VERDICT_AI_GENERATED_OTHER: _ClassVar[Verdict]
    VERDICT_INVALID_CREDENTIALS: _ClassVar[Verdict]
    VERDICT_NO_EVIDENCE: _ClassVar[Verdict]

class Confidence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFIDENCE_UNSPECIFIED: _ClassVar[Confidence]
    CONFIDENCE_PROOF: _ClassVar[Confidence]
    CONFIDENCE_STRONG: _ClassVar[Confidence]
    CONFIDENCE_WEAK: _ClassVar[Confidence]
    CONFIDENCE_NONE: _ClassVar[Confidence]

class CredentialState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDENTIAL_STATE_UNSPECIFIED: _ClassVar[CredentialState]
    CREDENTIAL_STATE_TRUSTED: _ClassVar[CredentialState]
    CREDENTIAL_STATE_VALID: _ClassVar[CredentialState]
    CREDENTIAL_STATE_INVALID: _ClassVar[CredentialState]
    CREDENTIAL_STATE_ABSENT: _ClassVar[CredentialState]
OUTPUT_FORMAT_UNSPECIFIED: OutputFormat
OUTPUT_FORMAT_PNG: OutputFormat
OUTPUT_FORMAT_JPEG: OutputFormat
OUTPUT_FORMAT_WEBP: OutputFormat
VERDICT_UNSPECIFIED: Verdict
VERDICT_AI_GENERATED_BY_US: Verdict
VERDICT_AI_GENERATED_BY_US_ALTERED: Verdict
VERDICT_AI_GENERATED_OTHER: Verdict
VERDICT_INVALID_CREDENTIALS: Verdict
VERDICT_NO_EVIDENCE: Verdict
CONFIDENCE_UNSPECIFIED: Confidence
CONFIDENCE_PROOF: Confidence
CONFIDENCE_STRONG: Confidence
CONFIDENCE_WEAK: Confidence
CONFIDENCE_NONE: Confidence
CREDENTIAL_STATE_UNSPECIFIED: CredentialState
CREDENTIAL_STATE_TRUSTED: CredentialState
CREDENTIAL_STATE_VALID: CredentialState
CREDENTIAL_STATE_INVALID: CredentialState
CREDENTIAL_STATE_ABSENT: CredentialState

class GenerateRequest(_message.Message):
    __slots__ = ("prompt", "model", "negative_prompt", "n", "size", "seed", "num_inference_steps", "guidance_scale", "scheduler", "output_format", "output_compression", "partial_images")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NUM_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_IMAGES_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    model: str
    negative_prompt: str
    n: int
    size: Size
    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    output_format: OutputFormat
    output_compression: int
    partial_images: int
    def __init__(self, prompt: _Optional[str] = ..., model: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., n: _Optional[int] = ..., size: _Optional[_Union[Size, _Mapping]] = ..., seed: _Optional[int] = ..., num_inference_steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., scheduler: _Optional[str] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., output_compression: _Optional[int] = ..., partial_images: _Optional[int] = ...) -> None: ...

class EditRequest(_message.Message):
    __slots__ = ("prompt", "model", "negative_prompt", "n", "size", "seed", "num_inference_steps", "guidance_scale", "scheduler", "output_format", "output_compression", "partial_images", "image", "mask", "strength")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NUM_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_IMAGES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    model: str
    negative_prompt: str
    n: int
    size: Size
    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    output_format: OutputFormat
    output_compression: int
    partial_images: int
    image: _containers.RepeatedScalarFieldContainer[bytes]
    mask: bytes
    strength: float
    def __init__(self, prompt: _Optional[str] = ..., model: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., n: _Optional[int] = ..., size: _Optional[_Union[Size, _Mapping]] = ..., seed: _Optional[int] = ..., num_inference_steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., scheduler: _Optional[str] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., output_compression: _Optional[int] = ..., partial_images: _Optional[int] = ..., image: _Optional[_Iterable[bytes]] = ..., mask: _Optional[bytes] = ..., strength: _Optional[float] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("accepted", "progress", "preview", "image", "done")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    progress: Progress
    preview: Preview
    image: FinishedImage
    done: Done
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., image: _Optional[_Union[FinishedImage, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ...) -> None: ...

class EditResponse(_message.Message):
    __slots__ = ("accepted", "progress", "preview", "image", "done")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    progress: Progress
    preview: Preview
    image: FinishedImage
    done: Done
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., image: _Optional[_Union[FinishedImage, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("request_id", "queue_position", "estimated_wait")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_WAIT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    queue_position: int
    estimated_wait: _duration_pb2.Duration
    def __init__(self, request_id: _Optional[str] = ..., queue_position: _Optional[int] = ..., estimated_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("steps_done", "steps_total")
    STEPS_DONE_FIELD_NUMBER: _ClassVar[int]
    STEPS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    steps_done: int
    steps_total: int
    def __init__(self, steps_done: _Optional[int] = ..., steps_total: _Optional[int] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("image_index", "partial_index", "image")
    IMAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_INDEX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image_index: int
    partial_index: int
    image: Image
    def __init__(self, image_index: _Optional[int] = ..., partial_index: _Optional[int] = ..., image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class FinishedImage(_message.Message):
    __slots__ = ("image_index", "image")
    IMAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image_index: int
    image: Image
    def __init__(self, image_index: _Optional[int] = ..., image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("request_id", "model", "created_at", "usage", "warnings", "energy")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    created_at: _timestamp_pb2.Timestamp
    usage: Usage
    warnings: _containers.RepeatedScalarFieldContainer[str]
    energy: Energy
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., energy: _Optional[_Union[Energy, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "images")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    images: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., images: _Optional[int] = ...) -> None: ...

class Energy(_message.Message):
    __slots__ = ("joules", "joules_per_image", "sources")
    JOULES_FIELD_NUMBER: _ClassVar[int]
    JOULES_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    joules: float
    joules_per_image: float
    sources: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, joules: _Optional[float] = ..., joules_per_image: _Optional[float] = ..., sources: _Optional[_Iterable[str]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("content", "mime_type", "width_px", "height_px", "seed", "output_id", "pixels_sha256", "content_sha256", "watermark_id", "watermark_profile", "manifest_id", "created_at")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_ID_FIELD_NUMBER: _ClassVar[int]
    PIXELS_SHA256_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_ID_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_PROFILE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    mime_type: str
    width_px: int
    height_px: int
    seed: int
    output_id: str
    pixels_sha256: str
    content_sha256: str
    watermark_id: str
    watermark_profile: str
    manifest_id: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, content: _Optional[bytes] = ..., mime_type: _Optional[str] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., seed: _Optional[int] = ..., output_id: _Optional[str] = ..., pixels_sha256: _Optional[str] = ..., content_sha256: _Optional[str] = ..., watermark_id: _Optional[str] = ..., watermark_profile: _Optional[str] = ..., manifest_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Size(_message.Message):
    __slots__ = ("width_px", "height_px")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    def __init__(self, image: _Optional[bytes] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("verdict", "confidence", "c2pa", "watermark", "notes")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    C2PA_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    confidence: Confidence
    c2pa: Credentials
    watermark: Watermark
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., confidence: _Optional[_Union[Confidence, str]] = ..., c2pa: _Optional[_Union[Credentials, _Mapping]] = ..., watermark: _Optional[_Union[Watermark, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("state", "present", "issuer", "time", "has_trusted_time", "failures", "digital_source_type", "actions", "ingredients", "manifest_id", "output_id", "generation")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    HAS_TRUSTED_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    DIGITAL_SOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    INGREDIENTS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    state: CredentialState
    present: bool
    issuer: str
    time: str
    has_trusted_time: bool
    failures: _containers.RepeatedScalarFieldContainer[str]
    digital_source_type: str
    actions: _containers.RepeatedScalarFieldContainer[str]
    ingredients: _containers.RepeatedCompositeFieldContainer[Ingredient]
    manifest_id: str
    output_id: str
    generation: GenerationClaim
    def __init__(self, state: _Optional[_Union[CredentialState, str]] = ..., present: _Optional[bool] = ..., issuer: _Optional[str] = ..., time: _Optional[str] = ..., has_trusted_time: _Optional[bool] = ..., failures: _Optional[_Iterable[str]] = ..., digital_source_type: _Optional[str] = ..., actions: _Optional[_Iterable[str]] = ..., ingredients: _Optional[_Iterable[_Union[Ingredient, _Mapping]]] = ..., manifest_id: _Optional[str] = ..., output_id: _Optional[str] = ..., generation: _Optional[_Union[GenerationClaim, _Mapping]] = ...) -> None: ...

class Ingredient(_message.Message):
    __slots__ = ("relationship", "state", "failures", "manifest_id")
    RELATIONSHIP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_ID_FIELD_NUMBER: _ClassVar[int]
    relationship: str
    state: CredentialState
    failures: _containers.RepeatedScalarFieldContainer[str]
    manifest_id: str
    def __init__(self, relationship: _Optional[str] = ..., state: _Optional[_Union[CredentialState, str]] = ..., failures: _Optional[_Iterable[str]] = ..., manifest_id: _Optional[str] = ...) -> None: ...

class GenerationClaim(_message.Message):
    __slots__ = ("provider", "system", "system_version", "model", "model_revision", "created_or_altered", "output_id", "time", "preview")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_OR_ALTERED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    provider: str
    system: str
    system_version: str
    model: str
    model_revision: str
    created_or_altered: str
    output_id: str
    time: str
    preview: bool
    def __init__(self, provider: _Optional[str] = ..., system: _Optional[str] = ..., system_version: _Optional[str] = ..., model: _Optional[str] = ..., model_revision: _Optional[str] = ..., created_or_altered: _Optional[str] = ..., output_id: _Optional[str] = ..., time: _Optional[str] = ..., preview: _Optional[bool] = ...) -> None: ...

class Watermark(_message.Message):
    __slots__ = ("present", "check", "profile", "id", "is_weak", "pose", "score", "false_positive_rate", "registered", "output_id")
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IS_WEAK_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FALSE_POSITIVE_RATE_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_ID_FIELD_NUMBER: _ClassVar[int]
    present: bool
    check: str
    profile: str
    id: str
    is_weak: bool
    pose: WatermarkPose
    score: float
    false_positive_rate: float
    registered: bool
    output_id: str
    def __init__(self, present: _Optional[bool] = ..., check: _Optional[str] = ..., profile: _Optional[str] = ..., id: _Optional[str] = ..., is_weak: _Optional[bool] = ..., pose: _Optional[_Union[WatermarkPose, _Mapping]] = ..., score: _Optional[float] = ..., false_positive_rate: _Optional[float] = ..., registered: _Optional[bool] = ..., output_id: _Optional[str] = ...) -> None: ...

class WatermarkPose(_message.Message):
    __slots__ = ("rotation_degrees", "is_mirrored", "scale")
    ROTATION_DEGREES_FIELD_NUMBER: _ClassVar[int]
    IS_MIRRORED_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    rotation_degrees: int
    is_mirrored: bool
    scale: float
    def __init__(self, rotation_degrees: _Optional[int] = ..., is_mirrored: _Optional[bool] = ..., scale: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "revision", "family", "prediction_type", "sizes", "default_size", "schedulers", "defaults", "limits", "card", "is_default")
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SIZE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULERS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    id: str
    revision: str
    family: str
    prediction_type: str
    sizes: _containers.RepeatedCompositeFieldContainer[Size]
    default_size: Size
    schedulers: _containers.RepeatedScalarFieldContainer[str]
    defaults: SamplingDefaults
    limits: RequestLimits
    card: _struct_pb2.Struct
    is_default: bool
    def __init__(self, id: _Optional[str] = ..., revision: _Optional[str] = ..., family: _Optional[str] = ..., prediction_type: _Optional[str] = ..., sizes: _Optional[_Iterable[_Union[Size, _Mapping]]] = ..., default_size: _Optional[_Union[Size, _Mapping]] = ..., schedulers: _Optional[_Iterable[str]] = ..., defaults: _Optional[_Union[SamplingDefaults, _Mapping]] = ..., limits: _Optional[_Union[RequestLimits, _Mapping]] = ..., card: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., is_default: _Optional[bool] = ...) -> None: ...

class SamplingDefaults(_message.Message):
    __slots__ = ("num_inference_steps", "guidance_scale", "guidance_rescale", "scheduler")
    NUM_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_RESCALE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float
    scheduler: str
    def __init__(self, num_inference_steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., guidance_rescale: _Optional[float] = ..., scheduler: _Optional[str] = ...) -> None: ...

class RequestLimits(_message.Message):
    __slots__ = ("max_prompt_tokens", "max_prompt_chars", "max_images_per_request", "max_inference_steps", "max_guidance_scale", "max_upload_bytes")
    MAX_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_CHARS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGES_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_prompt_tokens: int
    max_prompt_chars: int
    max_images_per_request: int
    max_inference_steps: int
    max_guidance_scale: float
    max_upload_bytes: int
    def __init__(self, max_prompt_tokens: _Optional[int] = ..., max_prompt_chars: _Optional[int] = ..., max_images_per_request: _Optional[int] = ..., max_inference_steps: _Optional[int] = ..., max_guidance_scale: _Optional[float] = ..., max_upload_bytes: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: _Optional[bool] = ...) -> None: ...
