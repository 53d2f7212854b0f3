"""The Prometheus metrics of one worker, built from the table in `metric_table`."""

from __future__ import annotations

import platform
import threading
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from service.telemetry.metric_table import BUILD_INFO, METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.telemetry.metric_definition import MetricDefinition

MetricObject = Counter | Gauge | Histogram


class Metrics:
    """Every metric of the table on a registry of its own. Thread-safe.

    Built in the process that counts, once: two instances never share a series. The values live
    in memory only; see `service.config.keep_metrics_in_memory` for why that needs care.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, version: str) -> None:
        # Without this, every counter brings a second series with the time it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._objects = {
            definition: self._build(definition)
            for definition in METRICS
            if not definition.is_optional
        }
        # Found again at every count; there are as many as there are series.
        self._children: dict[tuple[MetricDefinition, tuple[str, ...]], MetricObject] = {}
        ProcessCollector(registry=self._registry)
        self.set(BUILD_INFO, 1.0, version, platform.python_version())

    def count(self, definition: MetricDefinition, *labels: str, amount: float = 1.0) -> None:
        """Add `amount` to a counter. `labels`: values, in the order of the definition."""
        metric = self._child(definition, labels)
        assert isinstance(metric, Counter)
        metric.inc(amount)

    def add(self, definition: MetricDefinition, amount: float) -> None:
        """Move a gauge without labels up or, with a negative `amount`, down."""
        metric = self._child(definition, ())
        assert isinstance(metric, Gauge)
        metric.inc(amount)

    def set(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        """Set a gauge to `value`, in the unit of its name."""
        metric = self._child(definition, labels)
        assert isinstance(metric, Gauge)
        metric.set(value)

    def follow(self, definition: MetricDefinition, read: Callable[[], float]) -> None:
        """Have a gauge without labels call `read` at every scrape. `read` must be quick."""
        metric = self._child(definition, ())
        assert isinstance(metric, Gauge)
        metric.set_function(read)

    def observe(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        """Put `value`, in the unit of the name, into a histogram."""
        metric = self._child(definition, labels)
        assert isinstance(metric, Histogram)
        metric.observe(value)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format (`content_type`)."""
        return generate_latest(self._registry)

    def _child(self, definition: MetricDefinition, labels: tuple[str, ...]) -> MetricObject:
        child = self._children.get((definition, labels))
        if child is None:
            metric = self._object(definition)
            child = metric.labels(*labels) if definition.labels else metric
            self._children[definition, labels] = child
        return child

    def _object(self, definition: MetricDefinition) -> MetricObject:
        with self._lock:  # an optional metric is registered once, whichever thread is first
            if definition not in self._objects:
                self._objects[definition] = self._build(definition)
            return self._objects[definition]

    def _build(self, definition: MetricDefinition) -> MetricObject:
        name, text, labels = definition.name, definition.help, definition.labels
        match definition.type:
            case "counter":
                return Counter(name, text, labels, registry=self._registry)
            case "gauge":
                return Gauge(name, text, labels, registry=self._registry)
            case "histogram":
                return Histogram(
                    name, text, labels, registry=self._registry, buckets=definition.buckets
                )
