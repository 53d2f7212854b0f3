"""What a scenario file may say: one class for each of its tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from loadtests.harness.arrivals import Arrivals, Bursts, Constant, Gamma, Poisson, Ramp

Rate = Annotated[float, Field(gt=0, le=10_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[int, int], Field(strict=False)]


class Table(BaseModel):
    """A table of a scenario: nothing is converted, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ConstantArrivals(Table):
    """One client every 1/rate seconds."""

    kind: Literal["constant"]
    rate_per_s: Rate

    def process(self) -> Arrivals:
        """Return the arrival process."""
        return Constant(self.rate_per_s)


class PoissonArrivals(Table):
    """Clients that know nothing of each other."""

    kind: Literal["poisson"]
    rate_per_s: Rate

    def process(self) -> Arrivals:
        """Return the arrival process."""
        return Poisson(self.rate_per_s)


class GammaArrivals(Table):
    """Bursty by the coefficient of variation of the gaps."""

    kind: Literal["gamma"]
    rate_per_s: Rate
    cv: float = Field(gt=0, le=20)

    def process(self) -> Arrivals:
        """Return the arrival process."""
        return Gamma(self.rate_per_s, self.cv)


class BurstArrivals(Table):
    """Calm and bursts in turn."""

    kind: Literal["bursts"]
    calm_rate_per_s: Annotated[float, Field(ge=0, le=10_000)]
    burst_rate_per_s: Rate
    mean_calm_s: Seconds
    mean_burst_s: Seconds

    def process(self) -> Arrivals:
        """Return the arrival process."""
        return Bursts(
            self.calm_rate_per_s, self.burst_rate_per_s, self.mean_calm_s, self.mean_burst_s
        )


class RampArrivals(Table):
    """A staircase of rates, each for an equal part of the run."""

    kind: Literal["ramp"]
    from_rate_per_s: Rate
    to_rate_per_s: Rate
    steps: int = Field(ge=2, le=100)

    def process(self) -> Arrivals:
        """Return the arrival process."""
        return Ramp(self.from_rate_per_s, self.to_rate_per_s, self.steps)


class ReplayArrivals(Table):
    """The times of a trace. `path`: JSON lines, relative to the scenario; docs/loadtests.md."""

    kind: Literal["replay"]
    path: str
    speed: float = Field(default=1.0, gt=0)


AnyArrivals = Annotated[
    ConstantArrivals
    | PoissonArrivals
    | GammaArrivals
    | BurstArrivals
    | RampArrivals
    | ReplayArrivals,
    Field(discriminator="kind"),
]


class MixEntry(Table):
    """One kind of request; the fields are those of `harness.mix.Profile`."""

    name: str = Field(min_length=1, max_length=40)
    weight: float = Field(default=1.0, gt=0)
    n: int = Field(default=1, ge=1, le=64)
    size_px: Size | None = None
    num_inference_steps: int | None = Field(default=None, ge=1)
    guidance_scale: float | None = Field(default=None, ge=0)
    scheduler: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    is_streamed: bool = False
    partial_images: int = Field(default=0, ge=0, le=3)


class ClientOptions(Table):
    """Clients who leave before their answer, and who read it slowly."""

    leave_share: Share = 0.0
    leave_within_s: Seconds = 1.0
    slow_share: Share = 0.0
    slow_bytes_per_s: int = Field(default=16_384, ge=1)


class ObjectiveOptions(Table):
    """What latency is good enough: `latency_s` for all, or `scale` times the expected one."""

    latency_s: Seconds | None = None
    scale: float | None = Field(default=None, gt=1)
    basis: Literal["alone", "linear"] = "alone"
    repeats: int = Field(default=3, ge=1, le=100)


class VerifyOptions(Table):
    """Which share of the pictures the verify API is asked about, and how many at most."""

    share: Share = 0.1
    at_most: int = Field(default=200, ge=0)


class OwnServerOptions(Table):
    """For a server that the run starts itself: MINTMARK_ settings, and sizes of its model.

    `sizes_px`: the embedded model is served in these sizes, of which it was trained for one only;
    the pictures show it, the times do not.
    """

    settings: dict[str, str] = Field(default_factory=dict)
    sizes_px: list[Size] = Field(default_factory=list)


class Budgets(Table):
    """What the run fails on. None: no limit.

    `attainment`, `goodput_per_s` and `pictures_per_s` are lower limits, all others upper ones.
    `error_share`: of failed and given-up requests; refused ones have their own.
    """

    p50_s: Seconds | None = None
    p95_s: Seconds | None = None
    p99_s: Seconds | None = None
    first_event_p99_s: Seconds | None = None
    attainment: Share | None = None
    goodput_per_s: Rate | None = None
    pictures_per_s: Rate | None = None
    error_share: Share = 0.0
    refused_share: Share | None = None
    overflow_share: Share = 0.0
    unsigned: int = Field(default=0, ge=0)
    cpu_s_per_picture: float | None = Field(default=None, gt=0)
    resident_memory_growth_bytes: float | None = Field(default=None, ge=0)
