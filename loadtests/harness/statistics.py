"""What the samples of a run amount to. Percentiles are exact: every sample is kept."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.harness.request import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtests.harness.open_loop import Sample


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a run that counts: requests due, and pictures that came, in [begins, ends)."""

    begins_s: float
    ends_s: float

    @property
    def length_s(self) -> float:
        """Return how long it lasts."""
        return self.ends_s - self.begins_s

    def has(self, at_s: float) -> bool:
        """Return whether a time lies within."""
        return self.begins_s <= at_s < self.ends_s


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds, by nearest rank. `censored`: how many of `count` were given up, so took longer."""

    count: int
    censored: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One window of a run; rates are per second of it.

    `latency`: since requests were due; `service`: since they were really sent. Both are of patient
    clients that were answered or gave up; None without any. `judged`: patient clients, refused and
    never sent ones included: those that `attainment` is the share of, and `goodput_per_s` the rate
    of, that were answered within their objective.
    """

    window: Window
    offered: int
    offered_per_s: float
    kinds: dict[str, int]
    codes: dict[str, int]
    latency: Latency | None
    service: Latency | None
    first_event: Latency | None
    judged: int
    within_objective: int
    attainment: float | None
    goodput_per_s: float
    requests_per_s: float
    pictures: int
    pictures_per_s: float

    def share(self, kind: Kind) -> float:
        """Return the share of the offered requests that ended in one way; 0 if there were none."""
        return self.kinds.get(kind.value, 0) / self.offered if self.offered else 0.0


@dataclass(frozen=True, slots=True)
class Lag:
    """By how much the generator was late, over the whole run, in seconds."""

    p50_s: float
    p99_s: float
    max_s: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed.

    ordered: ascending, not empty. share: above 0, up to 1. Nearest rank: always a value that was
    measured, never one between two.
    """
    # Rounded first: 0.95 * 20 is a hair above 19.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def latency_of(values_s: Sequence[float], censored: int = 0) -> Latency | None:
    """Return the summary of some seconds; None if there are none."""
    if not values_s:
        return None
    ordered = sorted(values_s)
    p50, p90, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.95, 0.99))
    mean_s = math.fsum(ordered) / len(ordered)
    return Latency(len(ordered), censored, mean_s, p50, p90, p95, p99, ordered[-1])


def lag_of(samples: Sequence[Sample]) -> Lag:
    """Return how late the generator was with the requests that it sent; 0 if it sent none."""
    lags = sorted(each.lag_s for each in samples if each.kind is not Kind.OVERFLOW)
    if not lags:
        return Lag(0.0, 0.0, 0.0)
    return Lag(percentile(lags, 0.5), percentile(lags, 0.99), lags[-1])


def figures_of(
    samples: Sequence[Sample], window: Window, objectives_s: dict[str, float]
) -> Figures:
    """Return the figures of one window.

    objectives_s: by profile, the latency from due to done that is good enough; a profile without
    one is good whenever it is done.
    """
    offered = [each for each in samples if window.has(each.due_s)]
    patient = [each for each in offered if each.is_patient]
    waited = [each for each in patient if each.kind in {Kind.DONE, Kind.TIMED_OUT}]
    good = [each for each in patient if is_good(each, objectives_s)]
    completed = [each for each in samples if each.kind is Kind.DONE and window.has(each.done_s)]
    pictures = sum(each.pictures for each in completed)
    censored = sum(each.kind is Kind.TIMED_OUT for each in waited)
    first = [each.first_event_s for each in patient if each.first_event_s is not None]
    return Figures(
        window=window,
        offered=len(offered),
        offered_per_s=len(offered) / window.length_s,
        kinds=dict(Counter(each.kind.value for each in offered)),
        codes=dict(Counter(each.code for each in offered if each.code)),
        latency=latency_of([each.latency_s for each in waited], censored),
        service=latency_of([each.service_s for each in waited], censored),
        first_event=latency_of(first),
        judged=len(patient),
        within_objective=len(good),
        attainment=len(good) / len(patient) if patient else None,
        goodput_per_s=len(good) / window.length_s,
        requests_per_s=len(completed) / window.length_s,
        pictures=pictures,
        pictures_per_s=pictures / window.length_s,
    )


def is_good(sample: Sample, objectives_s: Mapping[str, float]) -> bool:
    """Return whether a request was answered within the objective of its profile."""
    objective_s = objectives_s.get(sample.profile, math.inf)
    return sample.kind is Kind.DONE and sample.latency_s <= objective_s
