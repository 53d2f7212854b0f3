"""Spans leave by OTLP: sampled by their trace, queued, sent from a thread of their own."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from service.telemetry.otlp_message import FinishedRequest, MessageBuilder
from service.telemetry.otlp_sender import GrpcSender, HttpSender
from service.telemetry.span_queue import SpanQueue
from service.telemetry.spans import server_span
from service.telemetry.trace_context import continue_trace, parse_parent
from service.telemetry.tracing import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.telemetry.metrics import Metrics
    from service.telemetry.options import TelemetryOptions
    from service.telemetry.request_record import RequestRecord
    from service.telemetry.span_queue import Sender
    from service.telemetry.spans import ServerFacts
    from service.telemetry.trace_context import TraceContext

_CLOSE_TIMEOUT_S = 2.0


class OtlpTracer:
    """Implements service.telemetry.tracing.Tracer. `sample_ratio`: of traces that begin here."""

    def __init__(self, queue: SpanQueue, sample_ratio: float) -> None:
        self._queue = queue
        self._sample_ratio = sample_ratio

    def begin(self, header: Callable[[str], Sequence[str]]) -> TraceContext:
        """Continue the trace of the caller, or begin one."""
        parent = parse_parent(header(TRACEPARENT), header(TRACESTATE))
        return continue_trace(parent, self._sample_ratio)

    def finish(self, record: RequestRecord, facts: ServerFacts) -> None:
        """Queue the spans of a request; drop them if the queue is full."""
        if record.trace is None or not record.trace.is_sampled:
            return
        root = server_span(record, facts)
        # From the engine's clock, which never jumps, to the one that others share.
        epoch_ns = time.time_ns() - int(record.clock() * 1e9)
        self._queue.put(FinishedRequest(record.trace, root, epoch_ns))

    def close(self) -> None:
        """Send what is left, for as long as a shutdown may wait for it."""
        self._queue.close(_CLOSE_TIMEOUT_S)


def build_otlp_tracer(options: TelemetryOptions, version: str, metrics: Metrics) -> OtlpTracer:
    """Return a tracer that sends to `options.otlp_endpoint`, which must be set."""
    assert options.otlp_endpoint is not None
    sender: Sender
    if options.otlp_protocol == "grpc":
        sender = GrpcSender(options.otlp_endpoint, options.otlp_header_pairs)
    else:
        sender = HttpSender(options.otlp_endpoint, options.otlp_header_pairs)
    resource = {
        "service.name": "mintmark",
        "service.version": version,
        "service.instance.id": str(uuid.uuid4()),
    }
    queue = SpanQueue(sender, MessageBuilder(resource, version), metrics)
    queue.start()
    return OtlpTracer(queue, options.trace_sample_ratio)
