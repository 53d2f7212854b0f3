"""Finds the cheapest fleet that meets an objective: replicas, queue limit, autoscaling target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.errors import ConfigurationError
from service.planning.autoscaler import AutoscalerOptions
from service.planning.trials import Load, Trials, alone_s, capacity_per_s, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.planning.objective import Objective
    from service.planning.routing import Routing
    from service.planning.simulate import Limits
    from service.planning.trials import Trial
    from service.planning.workload import KindCosts

# How far the demand goes beyond what a replica can do when its queue limit is chosen.
OVERLOAD = 1.5
_MOST_QUEUED = 4096
_TARGET_SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)  # of a full batch's work
_TARGET_REFINEMENTS = 2
_SPARE = 1.5  # replicas that the autoscaler may add, times the fixed fleet


class Impossible(ConfigurationError):
    """No fleet meets the objective; the message says by what."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be planned.

    `limits`: those of a replica; its queue limit holds if `is_queue_fixed`, else it is chosen.
    `scaling_load`: what the autoscaler is tried on; None leaves it out. `pod_start_s`: from its
    decision to a ready replica.
    """

    load: Load
    objective: Objective
    limits: Limits
    routing: Routing
    max_replicas: int
    is_queue_fixed: bool = False
    scaling_load: Load | None = None
    pod_start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `fixed`: the smallest fleet that is enough. `scaled`: the cheapest autoscaled.

    `holds_in_overload`: whether latencies keep the objective when OVERLOAD times the capacity
    comes, with the rest refused; if not, no queue limit makes them. `alone_s`: by kind.
    """

    limits: Limits
    holds_in_overload: bool
    fixed: Trial
    scaled: Trial | None
    alone_s: tuple[float, ...]
    capacity_per_s: float
    tried: tuple[Trial, ...]
    tried_scaled: tuple[Trial, ...]
    requests: int


def find_plan(problem: Problem, on_trial: Callable[[Trial], None] = lambda _: None) -> Plan:
    """Return the cheapest plan. on_trial: told of each fleet as it has been tried.

    Raises Impossible if no fleet of at most `max_replicas` meets the objective.
    """
    costs = problem.load.costs
    alone = tuple(alone_s(each, problem.limits) for each in costs)
    _check_alone(problem.objective, costs, alone)
    limits, holds = problem.limits, True
    if not problem.is_queue_fixed:
        limits, holds = _choose_queue(problem)
    search = _Search(problem, limits, on_trial)
    fixed = search.smallest()
    scaled: tuple[Trial, ...] = ()
    if problem.scaling_load is not None:
        scaled = search.autoscaled(problem.scaling_load, fixed.replicas)
    enough = [trial for trial in scaled if trial.is_enough]
    return Plan(
        limits=limits,
        holds_in_overload=holds,
        fixed=fixed,
        scaled=min(enough, key=lambda trial: trial.mean_replicas, default=None),
        alone_s=alone,
        capacity_per_s=capacity_per_s(costs),
        tried=search.tried,
        tried_scaled=scaled,
        requests=search.requests,
    )


def _check_alone(objective: Objective, costs: Sequence[KindCosts], alone: Sequence[float]) -> None:
    """Refuse what even an idle replica could not do."""
    weights = [each.kind.weight for each in costs]
    for limit in objective.limits:
        bound_s = limit.bound if limit.is_latency else objective.latency_s
        if limit.name in ("refusals", "expiries") or bound_s is None:
            continue
        allowed = 1 - float(limit.name[1:]) / 100 if limit.is_latency else 1 - limit.bound
        slow = [index for index, seconds in enumerate(alone) if seconds > bound_s]
        share = sum(weights[index] for index in slow) / sum(weights)
        if share <= allowed + 1e-12:
            continue
        slowest = max(slow, key=lambda index: alone[index])
        each = costs[slowest]
        first = f"A request of {each.kind} takes {alone[slowest]:.3g} s on an idle replica"
        stepping_s = each.kind.steps * each.step_s[min(each.rows, len(each.step_s) - 1)]
        raise Impossible(
            f"{first} (an image's steps alone {stepping_s:.3g} s), and such requests are "
            f"{share:.0%} of the mix, so {limit} cannot be met by any number of replicas. Fewer "
            "steps, a smaller picture or a faster device would help."
        )


def _choose_queue(problem: Problem) -> tuple[Limits, bool]:
    """Return the longest queue whose last request is still answered in time, and whether one is.

    Tried on one replica that gets more than it can do, since that is when a queue is full.
    """
    latencies = tuple(limit for limit in problem.objective.limits if limit.is_latency)
    if not latencies:
        return problem.limits, True
    trials = Trials(
        overload(problem.load, OVERLOAD),
        replace(problem.objective, limits=latencies),
        problem.routing,
    )

    def holds(images: int) -> bool:
        return trials.run(1, replace(problem.limits, max_queued_images=images)).is_enough

    good, bad = 0, 1
    while bad <= _MOST_QUEUED and holds(bad):
        good, bad = bad, 2 * bad
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    if good:
        return replace(problem.limits, max_queued_images=good), True
    # Not the queue but the full batch is too slow; then the queue should at least fill a batch.
    images = max(each.most_images for each in problem.load.costs)
    return replace(problem.limits, max_queued_images=images), False


class _Search:
    """Tries fleets of different sizes and remembers them."""

    def __init__(self, problem: Problem, limits: Limits, on_trial: Callable[[Trial], None]) -> None:
        self._problem = problem
        self._limits = limits
        self._on_trial = on_trial
        self._trials = Trials(problem.load, problem.objective, problem.routing)
        self._by_size: dict[int, Trial] = {}

    @property
    def tried(self) -> tuple[Trial, ...]:
        """Return the fixed fleets that were tried, the smallest first."""
        return tuple(self._by_size[size] for size in sorted(self._by_size))

    @property
    def requests(self) -> int:
        """Return how many requests each fleet was tried on."""
        return self._trials.requests

    def smallest(self) -> Trial:
        """Return the smallest fleet that is enough, its neighbours tried as well."""
        problem = self._problem
        offered_per_s = problem.load.process.mean_rate_per_s
        needed = offered_per_s * (1 - problem.objective.allowed("refusals", 0.0))
        low = max(1, math.floor(needed / capacity_per_s(problem.load.costs)))
        if low > problem.max_replicas:
            raise Impossible(
                f"{offered_per_s:g} requests per second are more work than {problem.max_replicas} "
                f"replicas can do: at least {low} are needed, however long requests may wait."
            )
        failed, size = low - 1, low
        while not self._try(size).is_enough:
            if size == problem.max_replicas:
                raise Impossible(self._shortfall(size))
            failed, size = size, min(problem.max_replicas, size + max(1, size // 8))
        while size - failed > 1:
            middle = (size + failed) // 2
            failed, size = (failed, middle) if self._try(middle).is_enough else (middle, size)
        for neighbour in (size - 1, size + 1, size + 2):
            if 1 <= neighbour <= problem.max_replicas:
                self._try(neighbour)
        return self._by_size[size]

    def autoscaled(self, load: Load, fixed: int) -> tuple[Trial, ...]:
        """Return what fleets do whose autoscaler aims at more and more work, until one fails."""
        trials = Trials(load, self._problem.objective, self._problem.routing)
        full_s = _full_batch_s(load.costs)
        found: list[Trial] = []

        def is_enough(share: float) -> bool:
            options = self._autoscaler(share * full_s, fixed)
            found.append(trials.run(fixed, self._limits, options))
            self._on_trial(found[-1])
            return found[-1].is_enough

        good, bad = 0.0, 0.0
        for share in _TARGET_SHARES:
            if not is_enough(share):
                bad = share
                break
            good = share
        for _ in range(_TARGET_REFINEMENTS if good and bad else 0):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if is_enough(middle) else (good, middle)
        return tuple(sorted(found, key=lambda trial: trial.target_s or 0.0))

    def _autoscaler(self, target_s: float, fixed: int) -> AutoscalerOptions:
        most = min(self._problem.max_replicas, math.ceil(fixed * _SPARE) + 1)
        return AutoscalerOptions(
            target_s=float(f"{target_s:.3g}"),
            min_replicas=1,
            max_replicas=most,
            start_s=self._problem.pod_start_s,
        )

    def _try(self, size: int) -> Trial:
        if size not in self._by_size:
            self._by_size[size] = self._trials.run(size, self._limits)
            self._on_trial(self._by_size[size])
        return self._by_size[size]

    def _shortfall(self, size: int) -> str:
        trial = self._by_size[size]
        reached = "; ".join(f"{name} reaches {trial.worst[name]:.3g}" for name in trial.missed)
        return (
            f"{size} replicas, the most that were allowed, do not meet the objective: {reached}. "
            f"A replica can do at most {capacity_per_s(self._problem.load.costs):.3g} requests per "
            "second. Allow more replicas, or a longer latency."
        )


def _full_batch_s(costs: Sequence[KindCosts]) -> float:
    """Return the denoiser seconds that the images of a full batch take, by the mean of the mix."""
    total = sum(each.kind.weight for each in costs)
    return sum(
        each.kind.weight / total * each.kind.steps * each.step_s[each.most_images * each.rows]
        for each in costs
    )
