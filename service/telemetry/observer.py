"""From what the engine and the marking report to metrics; neither knows Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.events import Admitted, Decoded, EngineEvent, Finished, Queued, StepDone
from service.telemetry.metric_table import (
    BATCH_ROWS,
    DECODE_SECONDS,
    ENGINE_OUTCOMES,
    MARKING_SECONDS,
    QUEUE_SECONDS,
    STEP_SECONDS,
)

if TYPE_CHECKING:
    from service.telemetry.metrics import Metrics


class MetricsObserver:
    """Implements service.domain.events.Observer, on the engine thread: it only adds numbers."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_event(self, event: EngineEvent) -> None:
        """Count one engine event."""
        metrics = self._metrics
        match event:
            case Queued():
                pass  # the queue itself is asked for its depth, at every scrape
            case Admitted():
                metrics.observe(QUEUE_SECONDS, event.queued_s)
            case StepDone():
                metrics.observe(STEP_SECONDS, event.step_s)
                metrics.observe(BATCH_ROWS, event.rows)
            case Decoded():
                metrics.observe(DECODE_SECONDS, event.decode_s)
            case Finished():
                metrics.count(ENGINE_OUTCOMES, event.outcome.value)

    def on_marking_stage(self, stage: str, duration_s: float) -> None:
        """Note how long one stage of marking one picture took. Any thread."""
        self._metrics.observe(MARKING_SECONDS, duration_s, stage)
