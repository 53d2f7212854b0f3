"""Fleets tried on one workload: the same demands for each, seed by seed, so that they compare."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.planning.arrivals import Poisson
from service.planning.fleet import Demand, Fleet, FleetOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.planning.arrivals import ArrivalProcess
    from service.planning.autoscaler import AutoscalerOptions
    from service.planning.objective import Objective
    from service.planning.outcome import Figures
    from service.planning.routing import Routing
    from service.planning.simulate import Limits
    from service.planning.workload import KindCosts

PERCENTS = (50.0, 95.0, 99.0)


@dataclass(frozen=True, slots=True)
class Load:
    """What comes, for how long. `warm_up_s`: the part at the beginning that does not count.

    `seeds`: one run each.
    """

    process: ArrivalProcess
    costs: tuple[KindCosts, ...]
    duration_s: float
    warm_up_s: float
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one fleet did, as means over the seeds.

    `replicas`: at the start. `target_s`: of its autoscaler, if it has one. `mean_replicas`: held on
    average, which is what costs. `percentiles_s`: of PERCENTS. `worst`: by condition, the figure
    that is certain to 95 %. `missed`: the conditions that do not hold with it.
    """

    replicas: int
    target_s: float | None
    mean_replicas: float
    most_replicas: int
    percentiles_s: tuple[float, ...]
    goodput: float
    refusals: float
    expiries: float
    images_per_s: float
    worst: dict[str, float]
    missed: tuple[str, ...]

    @property
    def is_enough(self) -> bool:
        """Tell whether every condition holds with confidence."""
        return not self.missed


class Trials:
    """Tries fleets under one load; the demands are drawn once and kept."""

    def __init__(self, load: Load, objective: Objective, routing: Routing) -> None:
        self._load = load
        self._objective = objective
        self._routing = routing
        self._demands = [
            Demand.draw(load.process, load.costs, load.duration_s, seed) for seed in load.seeds
        ]

    @property
    def requests(self) -> int:
        """Return how many requests come, over all seeds."""
        return sum(len(demand.arrivals_s) for demand in self._demands)

    def run(
        self, replicas: int, limits: Limits, autoscaler: AutoscalerOptions | None = None
    ) -> Trial:
        """Run one fleet once per seed."""
        options = FleetOptions(replicas, limits, self._routing, autoscaler)
        limit_s, warm_up_s = self._objective.latency_s, self._load.warm_up_s
        runs = [
            Fleet(demand, options, seed).run().figures(limit_s, warm_up_s)
            for demand, seed in zip(self._demands, self._load.seeds, strict=True)
        ]
        return self._trial(replicas, None if autoscaler is None else autoscaler.target_s, runs)

    def _trial(self, replicas: int, target_s: float | None, runs: Sequence[Figures]) -> Trial:
        objective = self._objective

        def mean(name: str) -> float:
            return statistics.fmean(float(getattr(figures, name)) for figures in runs)

        return Trial(
            replicas=replicas,
            target_s=target_s,
            mean_replicas=mean("mean_replicas"),
            most_replicas=max(figures.most_replicas for figures in runs),
            percentiles_s=tuple(
                statistics.fmean(figures.percentile_s(percent) for figures in runs)
                for percent in PERCENTS
            ),
            goodput=mean("goodput"),
            refusals=mean("refusals"),
            expiries=mean("expiries"),
            images_per_s=mean("images_per_s"),
            worst={str(limit): limit.estimate(runs)[1] for limit in objective.limits},
            missed=tuple(str(limit) for limit in objective.missed(runs)),
        )


def alone_s(costs: KindCosts, limits: Limits) -> float:
    """Return the seconds of one request of a kind on a replica that has nothing else to do."""
    demand = Demand(np.zeros(1), [costs], length_s=1.0)
    return float(Fleet(demand, FleetOptions(1, limits)).run().latencies_s[0])


def capacity_per_s(costs: Sequence[KindCosts]) -> float:
    """Return the most requests of the mix that one replica could finish in a second.

    As if every call were as full and as cheap as its kind allows: a bound, not a promise.
    """
    weights = np.array([each.kind.weight for each in costs])
    engine_s = np.array([each.engine_s for each in costs])
    return float(1.0 / (weights @ engine_s / weights.sum()))


def overload(load: Load, times_capacity: float) -> Load:
    """Return Poisson arrivals of the same mix, so many times what one replica can finish."""
    rate_per_s = times_capacity * capacity_per_s(load.costs)
    duration_s = max(
        30 * max(each.engine_s for each in load.costs), _OVERLOAD_REQUESTS / rate_per_s
    )
    return Load(Poisson(rate_per_s), load.costs, duration_s, duration_s / 4, load.seeds)


_OVERLOAD_REQUESTS = 600
