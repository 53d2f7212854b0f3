"""When requests come: open-loop arrival processes, which do not wait for answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Times = NDArray[np.float64]  # (requests,), seconds from the start, ascending

SPECS = (
    "poisson:RATE",
    "paced:RATE",
    "gamma:RATE,CV",
    "bursts:CALM,BURST,CALM_S,BURST_S",
    "ramp:FROM,TO",
    "trace:FILE",
)


class ArrivalProcess(Protocol):
    """Draws arrival times. `length_s`: how long it lasts if it says so itself, as a trace does."""

    @property
    def mean_rate_per_s(self) -> float:
        """Return the requests per second over the whole time."""

    @property
    def length_s(self) -> float | None:
        """Return the seconds after which it ends; None if it goes on for ever."""

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return the arrivals within [0, duration_s)."""


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent callers: exponential gaps."""

    mean_rate_per_s: float
    length_s: float | None = None

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return the arrivals; given how many there are, each is uniform."""
        count = rng.poisson(self.mean_rate_per_s * duration_s)
        return np.sort(rng.uniform(0.0, duration_s, count))


@dataclass(frozen=True, slots=True)
class Paced:
    """One request every 1 / rate seconds, the first at 0."""

    mean_rate_per_s: float
    length_s: float | None = None

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:  # noqa: ARG002
        """Return the arrivals."""
        return np.arange(0.0, duration_s, 1.0 / self.mean_rate_per_s)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma gaps. `cv`: their coefficient of variation; 1 is Poisson, more is burstier."""

    mean_rate_per_s: float
    cv: float
    length_s: float | None = None

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return the arrivals."""
        shape = 1.0 / self.cv**2
        expected = duration_s * self.mean_rate_per_s
        # Ten deviations above what is expected: it does not run short.
        count = int(expected + 10 * max(self.cv, 1.0) * math.sqrt(expected + 1)) + 50
        times: Times = np.cumsum(rng.gamma(shape, 1.0 / (shape * self.mean_rate_per_s), count))
        return times[times < duration_s]


@dataclass(frozen=True, slots=True)
class Bursts:
    """A Markov-modulated Poisson process: calm and bursts in turn, stays are exponential.

    It begins in either with the share of the time that this takes.
    """

    calm_per_s: float
    burst_per_s: float
    mean_calm_s: float
    mean_burst_s: float
    length_s: float | None = None

    @property
    def mean_rate_per_s(self) -> float:
        """Return the rate in the long run."""
        weighted = self.calm_per_s * self.mean_calm_s + self.burst_per_s * self.mean_burst_s
        return weighted / (self.mean_calm_s + self.mean_burst_s)

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return the arrivals; given how many there are in a stay, each is uniform."""
        burst_share = self.mean_burst_s / (self.mean_calm_s + self.mean_burst_s)
        is_burst, start_s, parts = bool(rng.random() < burst_share), 0.0, []
        while start_s < duration_s:
            end_s = start_s + rng.exponential(self.mean_burst_s if is_burst else self.mean_calm_s)
            until_s = min(end_s, duration_s)
            rate = self.burst_per_s if is_burst else self.calm_per_s
            count = rng.poisson(rate * (until_s - start_s))
            parts.append(np.sort(rng.uniform(start_s, until_s, count)))
            is_burst, start_s = not is_burst, end_s
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A Poisson process whose rate goes from one value to another in a straight line."""

    from_per_s: float
    to_per_s: float
    length_s: float | None = None

    @property
    def mean_rate_per_s(self) -> float:
        """Return the rate in the middle."""
        return (self.from_per_s + self.to_per_s) / 2

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Return the arrivals: drawn at the higher rate, then thinned."""
        highest = max(self.from_per_s, self.to_per_s)
        drawn = Poisson(highest).times(duration_s, rng)
        rates = self.from_per_s + (self.to_per_s - self.from_per_s) * drawn / duration_s
        kept: Times = drawn[rng.uniform(0.0, highest, len(drawn)) < rates]
        return kept


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals as they were recorded."""

    recorded_s: tuple[float, ...]

    @property
    def length_s(self) -> float | None:
        """Return the time of the last one, and one mean gap."""
        return self.recorded_s[-1] * (1.0 + 1.0 / len(self.recorded_s))

    @property
    def mean_rate_per_s(self) -> float:
        """Return the requests per second over its length."""
        assert self.length_s is not None
        return len(self.recorded_s) / self.length_s

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:  # noqa: ARG002
        """Return those within the duration; they are the same each time."""
        times = np.array(self.recorded_s, np.float64)
        return times[times < duration_s]


def parse_arrivals(spec: str) -> ArrivalProcess:
    """Return the process that a specification names (SPECS), rates in requests per second.

    Raises ConfigurationError for anything else, naming it.
    """
    kind, _, rest = spec.partition(":")
    try:
        build = _PARSERS[kind]
    except KeyError as error:
        raise ConfigurationError(
            f"{spec!r} names no arrivals; use one of {', '.join(SPECS)}."
        ) from error
    try:
        return build(rest)
    except ValueError as error:
        raise ConfigurationError(f"The arrivals {spec!r} cannot be used: {error}.") from error


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < np.inf:
        raise ValueError(f"{text} is not above 0")
    return value


def _numbers(rest: str, names: str) -> list[float]:
    parts = rest.split(",")
    if len(parts) != len(names.split(",")):
        raise ValueError(f"it needs {names}")
    return [_positive(part) for part in parts]


def read_trace(path: Path, speed: float = 1.0) -> Trace:
    """Return the arrivals in a file: JSON lines with `at_s`, or one time in seconds a line.

    speed: 2 plays it in half its time. Raises ConfigurationError if there are fewer than two
    moments, or something else in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        times = np.sort(np.array([_moment(line) for line in lines if line.strip()], np.float64))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"{path} is no trace of arrivals: {error}") from error
    if len(times) < 2 or not np.isfinite(times).all() or times[0] == times[-1]:  # noqa: PLR2004
        raise ConfigurationError(f"{path} holds fewer than two moments.")
    return Trace(tuple(((times - times[0]) / speed).tolist()))


def _moment(line: str) -> float:
    value = json.loads(line)
    return float(value["at_s"] if isinstance(value, dict) else value)


_PARSERS: dict[str, Callable[[str], ArrivalProcess]] = {
    "poisson": lambda rest: Poisson(_positive(rest)),
    "paced": lambda rest: Paced(_positive(rest)),
    "gamma": lambda rest: Gamma(*_numbers(rest, "RATE,CV")),
    "bursts": lambda rest: Bursts(*_numbers(rest, "CALM,BURST,CALM_S,BURST_S")),
    "ramp": lambda rest: Ramp(*_numbers(rest, "FROM,TO")),
    "trace": lambda rest: read_trace(Path(rest)),
}
