"""Every span the service makes, in one table: `docs/tracing.md` says the same."""

from __future__ import annotations

from dataclasses import dataclass

INTAKE = "intake"
ADMISSION = "admission"
QUEUE = "queue"
ENCODE_PROMPT = "encode_prompt"
DENOISE = "denoise"
DECODE = "decode"
MARK = "mark"
ANSWER = "answer"
# What `MarkingPipeline` calls its stages.
STAGES = ("watermark", "encode", "sign", "ledger")

REQUEST_ID = "mintmark.request_id"
OUTCOME = "mintmark.outcome"
MODEL = "mintmark.model"
IMAGES = "mintmark.images"
SIZE = "mintmark.size"
IS_EDIT = "mintmark.is_edit"
IMAGE_INDEX = "mintmark.image.index"
IS_PREVIEW = "mintmark.image.is_preview"
STEPS = "mintmark.steps"
STEPS_WANTED = "mintmark.steps.wanted"
ROWS_MIN = "mintmark.rows.min"
ROWS_MEAN = "mintmark.rows.mean"
ROWS_MAX = "mintmark.rows.max"
SHAPE = "mintmark.shape"
GUIDED = "mintmark.is_guided"
SCHEDULER = "mintmark.scheduler"

# Names of the OpenTelemetry semantic conventions.
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
HTTP_SENT_BYTES = "http.response.body.size"
URL_SCHEME = "url.scheme"
URL_PATH = "url.path"
PROTOCOL_VERSION = "network.protocol.version"
RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"

_OF_REQUEST = (REQUEST_ID, OUTCOME, MODEL, IMAGES, SIZE, IS_EDIT)


@dataclass(frozen=True, slots=True)
class SpanDefinition:
    """One kind of span. `stops`: of docs/architecture.md. `attributes`: all it may have.

    `error.type` is on every span that ended with an error, and not listed.
    """

    name: str
    stops: str
    meaning: str
    attributes: tuple[str, ...] = ()


HTTP_SERVER = SpanDefinition(
    "<method> <route>",
    "1-10",
    "An HTTP request, from its headers to the last byte of its answer.",
    (
        HTTP_METHOD,
        HTTP_ROUTE,
        HTTP_STATUS,
        HTTP_SENT_BYTES,
        URL_SCHEME,
        URL_PATH,
        PROTOCOL_VERSION,
        *_OF_REQUEST,
    ),
)
RPC_SERVER = SpanDefinition(
    "<service>/<method>",
    "1-10",
    "A gRPC call, from its request to its status.",
    (RPC_SYSTEM, RPC_METHOD, RPC_STATUS, *_OF_REQUEST),
)
SPANS: tuple[SpanDefinition, ...] = (
    HTTP_SERVER,
    RPC_SERVER,
    SpanDefinition(INTAKE, "1-2", "Key, body, checks, until the use case is called."),
    SpanDefinition(
        ADMISSION, "3-4", "The caller's quota, the prompt's tokens, the scheduler's table."
    ),
    SpanDefinition(QUEUE, "4", "Waiting until the first image is taken from the queue."),
    SpanDefinition(
        ENCODE_PROMPT,
        "5",
        "Per image: prompt embeddings, the picture to edit, noise, a slot.",
        (IMAGE_INDEX,),
    ),
    SpanDefinition(
        DENOISE,
        "6-7",
        "Per image: from joining the batch to its last step. Rows are those of the batches it was "
        "in, other requests' included.",
        (
            IMAGE_INDEX,
            STEPS,
            STEPS_WANTED,
            ROWS_MIN,
            ROWS_MEAN,
            ROWS_MAX,
            SHAPE,
            GUIDED,
            SCHEDULER,
        ),
    ),
    SpanDefinition(DECODE, "8", "Per image: latents to pixels.", (IMAGE_INDEX,)),
    SpanDefinition(
        MARK,
        "9",
        "Per picture, previews included: from the wish for a thread to the signed file.",
        (IMAGE_INDEX, IS_PREVIEW),
    ),
    SpanDefinition(
        STAGES[0],
        "9",
        "Below `mark`: embedding the watermark and reading it back out of the file, all rounds of "
        "the closed loop together.",
    ),
    SpanDefinition(
        STAGES[1], "9", "Below `mark`: encoding the file and decoding it again, all rounds."
    ),
    SpanDefinition(
        STAGES[2], "9", "Below `mark`: signing, and verifying the signature in the signed file."
    ),
    SpanDefinition(STAGES[3], "9", "Below `mark`: the row in the ledger."),
    SpanDefinition(ANSWER, "10", "From the last signed picture to the last byte of the answer."),
)
