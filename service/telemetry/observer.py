"""From what the engine and the marking report to metrics; neither knows Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.events import (
    Admitted,
    Decoded,
    Encoded,
    EngineEvent,
    Finished,
    Outcome,
    StepDone,
    Worked,
)
from service.telemetry.metric_table import (
    BATCH_ROWS,
    CANCEL_SECONDS,
    DEADLINE_MISSES,
    DECODE_SECONDS,
    ENCODE_SECONDS,
    ENGINE_BUSY_SECONDS,
    ENGINE_OUTCOMES,
    MARKING_SECONDS,
    QUEUE_SECONDS,
    STEP_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.events import Observer
    from service.telemetry.metrics import Metrics


class MetricsObserver:
    """Implements service.domain.events.Observer, on the engine thread: it only adds numbers."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_event(self, event: EngineEvent) -> None:
        """Count one engine event."""
        metrics = self._metrics
        match event:  # the most frequent first
            case StepDone():
                size = _size_label(event.size_px)
                metrics.observe(STEP_SECONDS, event.step_s, event.model_id, size)
                metrics.observe(BATCH_ROWS, event.rows, event.model_id, size)
            case Worked():
                metrics.count(ENGINE_BUSY_SECONDS, amount=event.busy_s)
            case Admitted():
                metrics.observe(QUEUE_SECONDS, event.queued_s)
            case Encoded():
                metrics.observe(ENCODE_SECONDS, event.encode_s, event.what)
            case Decoded():
                metrics.observe(DECODE_SECONDS, event.decode_s)
            case Finished():
                self._note_end(event)
            case _:
                pass  # the queue itself is asked for its depth, at every scrape

    def on_marking_stage(self, stage: str, duration_s: float) -> None:
        """Note how long one stage of marking one picture took. Any thread."""
        self._metrics.observe(MARKING_SECONDS, duration_s, stage)

    def _note_end(self, event: Finished) -> None:
        self._metrics.count(ENGINE_OUTCOMES, event.outcome.value)
        if event.cancel_s is not None:
            self._metrics.observe(CANCEL_SECONDS, event.cancel_s)
        if event.outcome is Outcome.EXPIRED:
            where = "running" if event.has_started else "queued"
            self._metrics.count(DEADLINE_MISSES, where)


class Observers:
    """Tells several observers of each event, in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def on_event(self, event: EngineEvent) -> None:
        """Pass on one event."""
        for observer in self._observers:
            observer.on_event(event)


def _size_label(size_px: tuple[int, int]) -> str:
    """Return "64x64". Models list the sizes they draw, so there are few."""
    return f"{size_px[0]}x{size_px[1]}"
