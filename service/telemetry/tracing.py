"""Who turns a finished request into spans: nobody, unless an endpoint for them is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.telemetry.metrics import Metrics
    from service.telemetry.options import TelemetryOptions
    from service.telemetry.request_record import RequestRecord
    from service.telemetry.spans import ServerFacts
    from service.telemetry.trace_context import TraceContext

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"


class Tracer(Protocol):
    """Used by the transports, from the event loop; nothing here blocks but `close`."""

    def begin(self, header: Callable[[str], Sequence[str]]) -> TraceContext | None:
        """Return the place of a new request in its trace; None if nothing is traced.

        `header`: returns every value of a request header (or gRPC metadata) by its name.
        """

    def finish(self, record: RequestRecord, facts: ServerFacts) -> None:
        """Make the spans of a request that has been answered, if its trace is kept."""

    def close(self) -> None:
        """Send what is left, within 2 seconds or not at all. Blocking; may be called twice."""


class NoTracer:
    """Traces nothing and costs nothing."""

    def begin(self, header: Callable[[str], Sequence[str]]) -> None:  # noqa: ARG002
        """Return None."""
        return

    def finish(self, record: RequestRecord, facts: ServerFacts) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def build_tracer(options: TelemetryOptions, version: str, metrics: Metrics) -> Tracer:
    """Return the tracer that `options` ask for, running. `version`: of this service."""
    if options.otlp_endpoint is None:
        return NoTracer()
    # Here, not above: a server that traces nothing loads nothing for it.
    from service.telemetry.otlp import build_otlp_tracer  # noqa: PLC0415

    return build_otlp_tracer(options, version, metrics)
