"""What a metric is, as Prometheus sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True, eq=False)  # by identity: looked up at every count
class MetricDefinition:
    """One metric as Prometheus sees it.

    `name`: the name of the time series; a counter's ends in `_total`. `buckets`: upper bounds of
    a histogram, ascending, in the unit of the name; empty for the other types. `is_optional`: not
    exposed before it has a value, because not every machine can tell one, or not from the start.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    is_optional: bool = False
