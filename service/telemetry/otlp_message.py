"""Spans as OTLP's protobuf message, the same for both protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from service.telemetry.span_table import ERROR_TYPE
from service.telemetry.trace_context import new_span_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.telemetry.spans import AttributeValue, Span
    from service.telemetry.trace_context import TraceContext

_SCOPE = "mintmark"
# Of a span's parent we always know whether it was ours or came with the request.
_FLAGS = 0x01 | pb.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE_PARENT = pb.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """The spans of one request. `epoch_ns`: Unix time at 0 of the clock that timed `root`."""

    trace: TraceContext
    root: Span
    epoch_ns: int

    @property
    def num_spans(self) -> int:
        """Return how many spans it has."""
        return _count(self.root)


class MessageBuilder:
    """Makes messages. `resource`: what made the spans; `version`: of this service."""

    def __init__(self, resource: Mapping[str, AttributeValue], version: str) -> None:
        self._resource = Resource(attributes=_attributes(resource))
        self._scope = InstrumentationScope(name=_SCOPE, version=version)

    def build(self, requests: Sequence[FinishedRequest]) -> ExportTraceServiceRequest:
        """Return one message with every span of `requests`."""
        spans = [span for request in requests for span in _spans(request)]
        in_scope = pb.ScopeSpans(scope=self._scope, spans=spans)
        return ExportTraceServiceRequest(
            resource_spans=[pb.ResourceSpans(resource=self._resource, scope_spans=[in_scope])]
        )


def _count(span: Span) -> int:
    return 1 + sum(map(_count, span.children))


def _spans(request: FinishedRequest) -> Iterator[pb.Span]:
    trace = request.trace
    parent = trace.parent
    root = _span(request, request.root, trace.span_id, "" if parent is None else parent.span_id)
    root.kind = pb.Span.SPAN_KIND_SERVER
    if parent is not None:
        root.flags |= _REMOTE_PARENT
    yield root
    yield from _below(request, request.root, trace.span_id)


def _below(request: FinishedRequest, span: Span, span_id: str) -> Iterator[pb.Span]:
    for child in span.children:
        child_id = new_span_id()
        yield _span(request, child, child_id, span_id)
        yield from _below(request, child, child_id)


def _span(request: FinishedRequest, span: Span, span_id: str, parent_id: str) -> pb.Span:
    trace = request.trace
    start_ns = request.epoch_ns + int(span.start_s * 1e9)
    attributes = dict(span.attributes)
    made = pb.Span(
        trace_id=bytes.fromhex(trace.trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent_id),
        trace_state="" if trace.parent is None else trace.parent.state,
        flags=_FLAGS,
        name=span.name,
        kind=pb.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start_ns,
        # What was interrupted may have begun after the request had ended.
        end_time_unix_nano=max(start_ns, request.epoch_ns + int(span.end_s * 1e9)),
    )
    if span.error is not None:
        attributes[ERROR_TYPE] = span.error
        if span.is_fault:
            made.status.code = pb.Status.STATUS_CODE_ERROR
            made.status.message = span.error
    made.attributes.extend(_attributes(attributes))
    return made


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: AttributeValue) -> AnyValue:
    match value:
        case bool():  # before int, which it is as well
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
