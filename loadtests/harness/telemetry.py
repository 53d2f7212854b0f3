"""What the server says of itself: two readings of its metrics, and what lies between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Reading = Mapping[tuple[str, Labels], float]


class Telemetry(Protocol):
    """A server's metrics."""

    async def read(self) -> Reading:
        """Return every series as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """Between two readings. None where the server exposes no such metric, or nothing happened.

    `cpu_s`: of the serving process. `queue_*`: from acceptance to the first step; the percentile is
    the upper edge of its histogram's bucket. `batch_rows_mean`: rows of a denoiser call.
    `refusals`, `endings`: requests by reason and by how they left the engine.
    """

    cpu_s: float | None
    cpu_s_per_picture: float | None
    pictures: float
    queue_mean_s: float | None
    queue_p99_at_most_s: float | None
    batch_rows_mean: float | None
    denoiser_calls: float
    refusals: dict[str, float]
    endings: dict[str, float]
    resident_memory_bytes: float | None
    resident_memory_growth_bytes: float | None


def parse(exposition: str) -> Reading:
    """Return the series of a text exposition by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def compare(before: Reading, after: Reading) -> ServerFigures:
    """Return what happened between two readings of one process."""
    gained = {key: value - before.get(key, 0.0) for key, value in after.items()}
    pictures = _total(gained, "mintmark_images_total")
    cpu_s = _total_or_none(gained, "process_cpu_seconds_total")
    return ServerFigures(
        cpu_s=cpu_s,
        cpu_s_per_picture=cpu_s / pictures if cpu_s is not None and pictures else None,
        pictures=pictures,
        queue_mean_s=_mean(gained, "mintmark_queue_seconds"),
        queue_p99_at_most_s=_bucket_edge(gained, "mintmark_queue_seconds", 0.99),
        batch_rows_mean=_mean(gained, "mintmark_batch_rows"),
        denoiser_calls=_total(gained, "mintmark_batch_rows_count"),
        refusals=_by_label(gained, "mintmark_admission_refusals_total", "reason"),
        endings=_by_label(gained, "mintmark_engine_requests_total", "outcome"),
        resident_memory_bytes=_total_or_none(after, "process_resident_memory_bytes"),
        resident_memory_growth_bytes=_total_or_none(gained, "process_resident_memory_bytes"),
    )


def _values(reading: Reading, name: str) -> dict[Labels, float]:
    return {labels: value for (known, labels), value in reading.items() if known == name}


def _total(reading: Reading, name: str) -> float:
    return math.fsum(_values(reading, name).values())


def _total_or_none(reading: Reading, name: str) -> float | None:
    return _total(reading, name) if _values(reading, name) else None


def _mean(reading: Reading, name: str) -> float | None:
    count = _total(reading, f"{name}_count")
    return _total(reading, f"{name}_sum") / count if count else None


def _bucket_edge(reading: Reading, name: str, share: float) -> float | None:
    buckets: dict[float, float] = {}
    for labels, count in _values(reading, f"{name}_bucket").items():
        edge = float(dict(labels)["le"])
        buckets[edge] = buckets.get(edge, 0.0) + count
    whole = max(buckets.values(), default=0.0)
    if not whole:
        return None
    found = min(edge for edge, count in buckets.items() if count >= share * whole)
    return found if math.isfinite(found) else None


def _by_label(reading: Reading, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for labels, value in _values(reading, name).items():
        key = dict(labels).get(label, "")
        if value:
            found[key] = found.get(key, 0.0) + value
    return found
