"""Whether a process's memory grows with the requests it has served."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Self

import numpy as np

from loadtests.chaos.judgement import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIB = 2**20
_WARM_UP_SHARE = 1 / 3
_WINDOW_SHARE = 1 / 4
_LEAST_READINGS = 8
# The server remembers the last 1,024 requests (service/generation.py); until then it fills.
_SETTLED_REQUESTS = 3 * 1024


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """A process's anonymous resident memory after so many requests."""

    requests: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much growth after warm-up is none. `slope`: bytes per request; `growth`: bytes.

    A leak of one small object a request (1 KiB) must be found, and the allocator's settling, a few
    MiB that come once, must not. Over the 6,667 requests after warm-up of a full run the former is
    6.5 MiB and the latter less than half of it. A short run, which ends before what the server
    remembers is full, can only find whole pictures that are kept: 12 KiB of pixels for each.
    """

    slope: float
    growth: float

    @classmethod
    def for_requests(cls, requests: int) -> Self:
        """Return what a run of so many requests can tell."""
        is_settled = requests >= _SETTLED_REQUESTS
        return cls(slope=1024.0, growth=24.0 * _MIB) if is_settled else cls(12_288.0, 32.0 * _MIB)


def slope_bytes_per_request(readings: Sequence[MemoryReading]) -> float:
    """Return the median of the slopes between all pairs of readings after warm-up (Theil-Sen).

    Up to 29 % of the readings may be peaks without moving it. Raises ValueError for too few.
    """
    warm = _after_warm_up(readings)
    requests = np.array([each.requests for each in warm], np.float64)
    sizes = np.array([each.resident_bytes for each in warm], np.float64)
    first, second = np.triu_indices(len(warm), k=1)
    apart = requests[second] - requests[first]
    is_apart = apart != 0
    slopes = (sizes[second] - sizes[first])[is_apart] / apart[is_apart]
    return float(np.median(slopes))


def growth_bytes(readings: Sequence[MemoryReading]) -> float:
    """Return the last quarter's median less the first's, after warm-up. Raises ValueError."""
    warm = _after_warm_up(readings)
    width = max(1, int(len(warm) * _WINDOW_SHARE))
    first, last = warm[:width], warm[-width:]
    return median(each.resident_bytes for each in last) - median(
        each.resident_bytes for each in first
    )


def judge_slope(readings: Sequence[MemoryReading], bounds: Bounds) -> Finding:
    """Memory does not climb: what every request leaves behind is less than the bound."""
    slope = slope_bytes_per_request(readings)
    detail = (
        f"{slope * 1000 / _MIB:+.2f} MiB per 1,000 requests after warm-up, "
        f"at most {bounds.slope * 1000 / _MIB:.2f}"
    )
    return Finding("memory does not climb", slope <= bounds.slope, detail)


def judge_growth(readings: Sequence[MemoryReading], bounds: Bounds) -> Finding:
    """Nor does it jump: a step that stays is growth as well."""
    growth = growth_bytes(readings)
    detail = f"{growth / _MIB:+.1f} MiB after warm-up, at most {bounds.growth / _MIB:g} MiB"
    return Finding("memory is flat", growth <= bounds.growth, detail)


def _after_warm_up(readings: Sequence[MemoryReading]) -> Sequence[MemoryReading]:
    """Leave out the first third."""
    warm = readings[int(len(readings) * _WARM_UP_SHARE) :]
    if len(warm) < _LEAST_READINGS:
        raise ValueError("too few readings to speak of growth")
    return warm
