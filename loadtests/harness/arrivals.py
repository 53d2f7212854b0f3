"""When clients come: every process returns all its times at once, so a seed fixes them.

The capacity planner draws from the same processes; here they know which parts of a run to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.planning import arrivals as processes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run that offers one rate on average; seconds from the beginning."""

    begins_s: float
    ends_s: float
    rate_per_s: float


class Arrivals(Protocol):
    """An arrival process; the rates are means over its randomness."""

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        ...

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the parts that are to be judged by themselves; they cover the duration."""
        ...


def _one_stage(duration_s: float, rate_per_s: float) -> tuple[Stage, ...]:
    return (Stage(0.0, duration_s, rate_per_s),)


@dataclass(frozen=True, slots=True)
class Constant:
    """One client every 1/rate seconds, the first at 0."""

    rate_per_s: float

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        return processes.Paced(self.rate_per_s).times(duration_s, rng)

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the whole run."""
        return _one_stage(duration_s, self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Clients that know nothing of each other: exponential gaps."""

    rate_per_s: float

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        return processes.Poisson(self.rate_per_s).times(duration_s, rng)

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the whole run."""
        return _one_stage(duration_s, self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma gaps. `cv`: their coefficient of variation; 1 is Poisson, more is burstier."""

    rate_per_s: float
    cv: float

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        return processes.Gamma(self.rate_per_s, self.cv).times(duration_s, rng)

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the whole run."""
        return _one_stage(duration_s, self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Bursts:
    """A Markov-modulated Poisson process of two states; stays are exponential.

    It begins in either with the share of the time that this takes.
    """

    calm_rate_per_s: float
    burst_rate_per_s: float
    mean_calm_s: float
    mean_burst_s: float

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        return self._process.times(duration_s, rng)

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the whole run, at its mean rate in the long run."""
        return _one_stage(duration_s, self._process.mean_rate_per_s)

    @property
    def _process(self) -> processes.Bursts:
        return processes.Bursts(
            self.calm_rate_per_s, self.burst_rate_per_s, self.mean_calm_s, self.mean_burst_s
        )


@dataclass(frozen=True, slots=True)
class Ramp:
    """Poisson arrivals whose rate climbs a staircase of `steps` stairs of equal length.

    A staircase and not a slope: each stair gives one point of goodput over rate.
    """

    from_rate_per_s: float
    to_rate_per_s: float
    steps: int

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return ascending times in [0, duration_s)."""
        found = []
        for stage in self.stages(duration_s):
            count = rng.poisson(stage.rate_per_s * (stage.ends_s - stage.begins_s))
            found.append(np.sort(rng.uniform(stage.begins_s, stage.ends_s, count)))
        times = np.concatenate(found)
        return times[times < duration_s]

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the stairs."""
        rates = np.linspace(self.from_rate_per_s, self.to_rate_per_s, self.steps)
        edges = np.linspace(0, duration_s, self.steps + 1)
        return tuple(
            Stage(float(begins), float(ends), float(rate))
            for begins, ends, rate in zip(edges[:-1], edges[1:], rates, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """The times of a recorded trace. `speed`: 2 plays it in half its time."""

    recorded_s: tuple[float, ...]
    speed: float = 1.0

    def times_s(self, duration_s: float, rng: np.random.Generator) -> Times:  # noqa: ARG002
        """Return ascending times in [0, duration_s); what lies beyond is cut off."""
        times = np.sort(np.asarray(self.recorded_s, dtype=np.float64)) / self.speed
        return times[times < duration_s]

    def stages(self, duration_s: float) -> tuple[Stage, ...]:
        """Return the whole run, at the rate of the trace."""
        count = sum(each / self.speed < duration_s for each in self.recorded_s)
        return _one_stage(duration_s, count / duration_s)
