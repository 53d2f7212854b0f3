"""What a fleet has to achieve, as `p99<=3s, goodput>=99%, refusals<=1%`, and whether it does."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.planning.outcome import Figures

_LATENCY = re.compile(r"p(\d{1,2}(?:\.\d+)?)<=(\d+(?:\.\d+)?)(ms|s)")
_SHARE = re.compile(r"(goodput>=|refusals<=|expiries<=)(\d+(?:\.\d+)?)%")
# Student's t, one-sided 95 %, by degrees of freedom from 1 on; 1.645 in the limit.
_STUDENT_T: tuple[float, ...] = (
    6.314,
    2.920,
    2.353,
    2.132,
    2.015,
    1.943,
    1.895,
    1.860,
    1.833,
    1.812,
)
_STUDENT_T += (1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725)
_STUDENT_T_BEYOND = 1.725


@dataclass(frozen=True, slots=True)
class Limit:
    """One condition. `name`: `p99`, `goodput`, `refusals` or `expiries`.

    `bound`: seconds for a percentile, a share 0 .. 1 for the others; from above, but for goodput.
    """

    name: str
    bound: float

    @property
    def is_latency(self) -> bool:
        """Tell whether it is about a percentile of the latency."""
        return self.name.startswith("p")

    def value(self, figures: Figures) -> float:
        """Return the figure that it bounds."""
        if self.is_latency:
            return figures.percentile_s(float(self.name[1:]))
        return float(getattr(figures, self.name))

    def estimate(self, runs: Sequence[Figures]) -> tuple[float, float]:
        """Return the mean over runs, and its 95 % confidence bound on the bad side."""
        values = [self.value(figures) for figures in runs]
        mean = statistics.fmean(values)
        if len(values) == 1 or not all(math.isfinite(value) for value in values):
            return mean, mean
        freedom = len(values) - 1
        t = _STUDENT_T[freedom - 1] if freedom <= len(_STUDENT_T) else _STUDENT_T_BEYOND
        margin = t * statistics.stdev(values) / math.sqrt(len(values))
        return mean, mean - margin if self.name == "goodput" else mean + margin

    def holds(self, runs: Sequence[Figures]) -> bool:
        """Tell whether it holds with confidence."""
        _, worst = self.estimate(runs)
        return worst >= self.bound if self.name == "goodput" else worst <= self.bound

    def __str__(self) -> str:
        """Return it as it is written."""
        if self.is_latency:
            return f"{self.name}<={self.bound:g}s"
        sign = ">=" if self.name == "goodput" else "<="
        return f"{self.name}{sign}{self.bound * 100:g}%"


@dataclass(frozen=True, slots=True)
class Objective:
    """All conditions together."""

    limits: tuple[Limit, ...]

    @property
    def latency(self) -> Limit | None:
        """Return the first condition on latency; goodput counts by its seconds."""
        return next((limit for limit in self.limits if limit.is_latency), None)

    @property
    def latency_s(self) -> float | None:
        """Return the seconds of `latency`."""
        return None if self.latency is None else self.latency.bound

    def allowed(self, name: str, default: float) -> float:
        """Return the bound of a named condition; `default` if there is none."""
        return next((limit.bound for limit in self.limits if limit.name == name), default)

    def missed(self, runs: Sequence[Figures]) -> tuple[Limit, ...]:
        """Return the conditions that do not hold with confidence."""
        return tuple(limit for limit in self.limits if not limit.holds(runs))

    def __str__(self) -> str:
        """Return it as it is written."""
        return ", ".join(map(str, self.limits))


def parse_objective(text: str) -> Objective:
    """Return the conditions in a text, separated by commas. Raises ConfigurationError."""
    limits = []
    for part in filter(None, (piece.replace(" ", "") for piece in text.split(","))):
        if matched := _LATENCY.fullmatch(part):
            scale = 0.001 if matched[3] == "ms" else 1.0
            limit = Limit(f"p{matched[1]}", float(matched[2]) * scale)
        elif matched := _SHARE.fullmatch(part):
            limit = Limit(matched[1][:-2], float(matched[2]) / 100)
        else:
            raise ConfigurationError(
                f"{part!r} is no condition; write e.g. p99<=3s, p50<=800ms, goodput>=99%, "
                "refusals<=1% or expiries<=0.1%."
            )
        limits.append(limit)
    if not limits:
        raise ConfigurationError("An objective has at least one condition, e.g. p99<=3s.")
    return Objective(tuple(limits))
