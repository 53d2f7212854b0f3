"""Every metric the service exports, in one table: `docs/metrics.md` is written from it."""

from __future__ import annotations

from service.telemetry.metric_definition import MetricDefinition

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STEP_S = (*_QUICK_S, 30.0, 60.0)
_LONG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_ROWS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0, 256.0)

HTTP_REQUESTS = MetricDefinition(
    "mintmark_http_requests_total",
    "counter",
    "HTTP requests answered, by route template (never the raw path) and status.",
    ("route", "method", "status"),
)
HTTP_REQUEST_SECONDS = MetricDefinition(
    "mintmark_http_request_seconds",
    "histogram",
    "Time from the first byte of an HTTP request to the last byte of its answer.",
    ("route", "method"),
    _LONG_S,
)
HTTP_IN_FLIGHT = MetricDefinition(
    "mintmark_http_requests_in_flight",
    "gauge",
    "HTTP requests being served right now; probes and scrapes are not counted.",
)
RPC_CALLS = MetricDefinition(
    "mintmark_rpc_calls_total",
    "counter",
    "gRPC calls ended, by full method name and status code, health checks included.",
    ("method", "code"),
)
RPC_CALL_SECONDS = MetricDefinition(
    "mintmark_rpc_call_seconds",
    "histogram",
    "Time from the request of a gRPC call to the end of its answer, streams included.",
    ("method",),
    _LONG_S,
)
RPC_IN_FLIGHT = MetricDefinition(
    "mintmark_rpc_calls_in_flight",
    "gauge",
    "gRPC calls being served right now; health checks and reflection are not counted.",
)
REQUESTS = MetricDefinition(
    "mintmark_requests_total",
    "counter",
    "Generation requests by how they ended: done, an error code, or cancelled.",
    ("model", "outcome"),
)
REQUEST_SECONDS = MetricDefinition(
    "mintmark_request_seconds",
    "histogram",
    "Time from a generation request's acceptance to its signed pictures, successful ones only.",
    ("model",),
    _LONG_S,
)
ADMISSION_REFUSALS = MetricDefinition(
    "mintmark_admission_refusals_total",
    "counter",
    "Generation requests refused before anything was started, by error code.",
    ("reason",),
)
QUEUE_DEPTH = MetricDefinition(
    "mintmark_queue_depth",
    "gauge",
    "Images accepted and not yet running.",
)
QUEUED_WORK_SECONDS = MetricDefinition(
    "mintmark_queued_work_seconds",
    "gauge",
    "Estimate of the denoiser's time that everything accepted, waiting or running, still takes.",
)
QUEUE_SECONDS = MetricDefinition(
    "mintmark_queue_seconds",
    "histogram",
    "Time a request waited before its first image joined the running batch.",
    (),
    (0.0, *_LONG_S),
)
STEP_SECONDS = MetricDefinition(
    "mintmark_step_seconds",
    "histogram",
    "Duration of one denoiser call over the batch, by the size of its pictures.",
    ("model", "size"),
    _STEP_S,
)
BATCH_ROWS = MetricDefinition(
    "mintmark_batch_rows",
    "histogram",
    "Rows of one denoiser call, guidance rows included, by the size of its pictures.",
    ("model", "size"),
    _ROWS,
)
ENGINE_BUSY_SECONDS = MetricDefinition(
    "mintmark_engine_busy_seconds_total",
    "counter",
    "Time the engine has worked: its rate is the share of time in which it is busy.",
)
ENCODE_SECONDS = MetricDefinition(
    "mintmark_encode_seconds",
    "histogram",
    "Duration of encoding what an image starts from: its prompts, or a picture that is edited.",
    ("what",),
    _QUICK_S,
)
DECODE_SECONDS = MetricDefinition(
    "mintmark_decode_seconds",
    "histogram",
    "Duration of one call of the decoder from latents to pixels.",
    (),
    _QUICK_S,
)
ENGINE_OUTCOMES = MetricDefinition(
    "mintmark_engine_requests_total",
    "counter",
    "Requests that left the engine, by terminal state: done, failed, cancelled or expired.",
    ("outcome",),
)
CANCEL_SECONDS = MetricDefinition(
    "mintmark_cancel_seconds",
    "histogram",
    "Time from the call that cancelled a request until its place in the engine was free.",
    (),
    _QUICK_S,
)
DEADLINE_MISSES = MetricDefinition(
    "mintmark_deadline_misses_total",
    "counter",
    "Requests whose deadline passed in the engine, by where: queued or running.",
    ("where",),
)
IMAGES = MetricDefinition(
    "mintmark_images_total",
    "counter",
    "Signed pictures handed out.",
    ("model", "format"),
)
PIXELS = MetricDefinition(
    "mintmark_pixels_total",
    "counter",
    "Pixels of the signed pictures handed out.",
    ("model",),
)
MARKING_SECONDS = MetricDefinition(
    "mintmark_marking_seconds",
    "histogram",
    "Duration of one stage of marking one picture.",
    ("stage",),
    _QUICK_S,
)
LEDGER_WRITE_SECONDS = MetricDefinition(
    "mintmark_ledger_write_seconds",
    "histogram",
    "Duration of writing the record of one picture, failures included.",
    (),
    _QUICK_S,
)
LEDGER_LAG_SECONDS = MetricDefinition(
    "mintmark_ledger_lag_seconds",
    "gauge",
    "Age of the oldest record that is not written yet; 0 if there is none.",
)
STORED_PICTURES = MetricDefinition(
    "mintmark_stored_pictures_total",
    "counter",
    "Pictures that were to be stored to be answered by link, by outcome: stored or failed.",
    ("storage", "outcome"),
)
STORED_BYTES = MetricDefinition(
    "mintmark_stored_bytes_total",
    "counter",
    "Bytes of the pictures that were stored.",
    ("storage",),
)
STORE_SECONDS = MetricDefinition(
    "mintmark_store_seconds",
    "histogram",
    "Duration of storing one picture, failures included.",
    ("storage",),
    _QUICK_S,
)
VERIFICATIONS = MetricDefinition(
    "mintmark_verifications_total",
    "counter",
    "Uploaded pictures that were examined, by verdict.",
    ("verdict",),
)
MODEL_LOAD_SECONDS = MetricDefinition(
    "mintmark_model_load_seconds",
    "gauge",
    "How long loading and warming up a model took.",
    ("model",),
)
MODEL_WEIGHTS_BYTES = MetricDefinition(
    "mintmark_model_weights_bytes",
    "gauge",
    "Size of a model's weight files and graphs on disk.",
    ("model",),
)
MODEL_MEMORY_BYTES = MetricDefinition(
    "mintmark_model_memory_bytes",
    "gauge",
    "Memory that a model's weights take on their device; absent where the runner cannot tell.",
    ("model", "device"),
    is_optional=True,
)
ENERGY_JOULES = MetricDefinition(
    "mintmark_energy_joules_total",
    "counter",
    "Energy counted by the hardware since the start, all processes; absent where none counts it.",
    ("source",),
    is_optional=True,
)
TRACE_SPANS = MetricDefinition(
    "mintmark_trace_spans_total",
    "counter",
    "Spans of kept traces by what became of them: sent, or dropped because the collector did not "
    "take them in time.",
    ("outcome",),
)
ALIVE = MetricDefinition(
    "mintmark_alive",
    "gauge",
    "1 while the server works or may yet, 0 once only a restart helps, as /livez says.",
)
READY = MetricDefinition(
    "mintmark_ready",
    "gauge",
    "1 while the server takes new work, else 0, as /readyz says.",
)
SIGNER_EXPIRY_SECONDS = MetricDefinition(
    "mintmark_signer_expiry_seconds",
    "gauge",
    "Seconds until the signing certificate expires; negative when it has, absent until it is read.",
    is_optional=True,
)
BUILD_INFO = MetricDefinition(
    "mintmark_build_info",
    "gauge",
    "Always 1; the labels say what is running.",
    ("version", "python"),
)
MODEL_INFO = MetricDefinition(
    "mintmark_model_info",
    "gauge",
    "1 for every served model; the labels say which weights.",
    ("model", "revision"),
)

METRICS: tuple[MetricDefinition, ...] = (
    HTTP_REQUESTS,
    HTTP_REQUEST_SECONDS,
    HTTP_IN_FLIGHT,
    RPC_CALLS,
    RPC_CALL_SECONDS,
    RPC_IN_FLIGHT,
    REQUESTS,
    REQUEST_SECONDS,
    ADMISSION_REFUSALS,
    QUEUE_DEPTH,
    QUEUED_WORK_SECONDS,
    QUEUE_SECONDS,
    STEP_SECONDS,
    BATCH_ROWS,
    ENGINE_BUSY_SECONDS,
    ENCODE_SECONDS,
    DECODE_SECONDS,
    ENGINE_OUTCOMES,
    CANCEL_SECONDS,
    DEADLINE_MISSES,
    IMAGES,
    PIXELS,
    MARKING_SECONDS,
    LEDGER_WRITE_SECONDS,
    LEDGER_LAG_SECONDS,
    STORED_PICTURES,
    STORED_BYTES,
    STORE_SECONDS,
    VERIFICATIONS,
    MODEL_LOAD_SECONDS,
    MODEL_WEIGHTS_BYTES,
    MODEL_MEMORY_BYTES,
    ENERGY_JOULES,
    TRACE_SPANS,
    ALIVE,
    READY,
    SIGNER_EXPIRY_SECONDS,
    BUILD_INFO,
    MODEL_INFO,
)
