"""Open-loop load as a library: what to ask, when, of whom, and what the answers amount to.

Everything here is free of transports and of this service; `loadtests.targets` has those. A target
is anything with `async send(request) -> Outcome`, so other servers can be put under the same
arrivals.
"""

from __future__ import annotations

from loadtests.harness.arrivals import (
    Arrivals,
    Bursts,
    Constant,
    Gamma,
    Poisson,
    Ramp,
    Replay,
    Stage,
)
from loadtests.harness.mix import Clients, Profile, Workload, plan_requests
from loadtests.harness.open_loop import LoadOptions, Planned, Recording, Sample, offer
from loadtests.harness.request import ImageRequest, Kind, Outcome, Target
from loadtests.harness.statistics import Figures, Window, figures_of, percentile

__all__ = [
    "Arrivals",
    "Bursts",
    "Clients",
    "Constant",
    "Figures",
    "Gamma",
    "ImageRequest",
    "Kind",
    "LoadOptions",
    "Outcome",
    "Planned",
    "Poisson",
    "Profile",
    "Ramp",
    "Recording",
    "Replay",
    "Sample",
    "Stage",
    "Target",
    "Window",
    "Workload",
    "figures_of",
    "offer",
    "percentile",
    "plan_requests",
]
