"""Many replicas behind a router, with or without an autoscaler, under one list of arrivals."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from service.planning.autoscaler import Autoscaler
from service.planning.batch import Job
from service.planning.outcome import Outcome
from service.planning.routing import Routing, build_router
from service.planning.simulate import NEVER_S, Ending, Limits, Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from service.planning.arrivals import ArrivalProcess
    from service.planning.autoscaler import AutoscalerOptions
    from service.planning.workload import KindCosts


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Requests: `arrivals_s` (requests,) ascending, and the kind of each, over `length_s`."""

    arrivals_s: NDArray[np.float64]
    kinds: Sequence[KindCosts]
    length_s: float

    @classmethod
    def draw(
        cls, process: ArrivalProcess, costs: Sequence[KindCosts], length_s: float, seed: int
    ) -> Demand:
        """Draw arrivals and kinds; the same seed gives the same demand to every fleet."""
        rng = np.random.default_rng(seed)
        arrivals_s = process.times(length_s, rng)
        weights = np.array([each.kind.weight for each in costs])
        drawn = rng.choice(len(costs), len(arrivals_s), p=weights / weights.sum())
        return cls(arrivals_s, [costs[index] for index in drawn], length_s)


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """`replicas`: at the start, ready. `autoscaler`: None keeps their number."""

    replicas: int
    limits: Limits
    routing: Routing = Routing.ROUND_ROBIN
    autoscaler: AutoscalerOptions | None = None


@dataclass(slots=True, eq=False)
class _Member:
    """One replica and its life. `is_leaving`: it gets no new requests and ends when it is idle."""

    replica: Replica
    began_s: float
    is_ready: bool
    open_requests: int = 0
    is_leaving: bool = False
    ended_s: float | None = None


@dataclass(slots=True)
class _Events:
    """What happens when, in the order of time, then of scheduling."""

    heap: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    orders: itertools.count[int] = field(default_factory=itertools.count)

    def at(self, time_s: float, action: Callable[[float], None]) -> None:
        """Have `action` called with the time."""
        heapq.heappush(self.heap, (time_s, next(self.orders), action))

    def run_before(self, time_s: float) -> None:
        """Call everything that is due before `time_s`."""
        heap = self.heap
        while heap and heap[0][0] < time_s:
            due_s, _, action = heapq.heappop(heap)
            action(due_s)


class Fleet:
    """Runs one demand to its end. Use it once."""

    def __init__(self, demand: Demand, options: FleetOptions, seed: int = 0) -> None:
        self._demand = demand
        self._options = options
        self._router = build_router(options.routing, np.random.default_rng(seed))
        self._events = _Events()
        self._members: list[_Member] = []
        count = len(demand.arrivals_s)
        self._latencies_s = [0.0] * count
        self._endings = [-1] * count
        self._held = self._most = 0
        for _ in range(options.replicas):
            self._start(0.0, ready_s=0.0)
        self._router.set_ready(self._ready())

    def run(self) -> Outcome:
        """Play all arrivals and let what runs come to its end."""
        demand, scaling = self._demand, self._options.autoscaler
        if scaling is not None:
            scaler = Autoscaler(scaling)
            self._events.at(scaling.sync_s, lambda now_s: self._scale(scaler, now_s))
        timeout_s = self._options.limits.request_timeout_s
        arrivals = zip(demand.arrivals_s.tolist(), demand.kinds, strict=True)
        for number, (arrived_s, costs) in enumerate(arrivals):
            self._events.run_before(arrived_s)
            self._arrive(Job(number, costs, arrived_s, arrived_s + timeout_s))
        self._events.run_before(NEVER_S)
        return self._outcome()

    def _arrive(self, job: Job) -> None:
        index = self._router.pick()
        member = self._members[index]
        replica, before_s = member.replica, member.replica.next_s
        if replica.put(job, job.arrived_s):
            member.open_requests += 1
            self._router.changed(index, member.open_requests)
        if replica.next_s != before_s:
            self._wake(replica)

    def _wake(self, replica: Replica) -> None:
        """Have the replica act when its time comes; an earlier plan then finds another time."""
        planned_s = replica.next_s
        if planned_s == NEVER_S:
            return

        def act(now_s: float) -> None:
            if replica.next_s == now_s:
                replica.act()
                self._wake(replica)

        self._events.at(planned_s, act)

    def _start(self, now_s: float, ready_s: float) -> None:
        index = len(self._members)

        def answer(job: Job, ending: Ending, at_s: float) -> None:
            self._latencies_s[job.number] = at_s - job.arrived_s
            self._endings[job.number] = ending
            if ending is not Ending.REFUSED:
                self._events.at(at_s, lambda _: self._close_one(index, at_s))

        member = _Member(Replica(self._options.limits, answer), now_s, is_ready=ready_s <= now_s)
        self._members.append(member)
        self._held += 1
        self._most = max(self._most, self._held)
        if not member.is_ready:
            self._events.at(ready_s, lambda _: self._become_ready(member))

    def _become_ready(self, member: _Member) -> None:
        if not member.is_leaving:
            member.is_ready = True
            self._router.set_ready(self._ready())

    def _close_one(self, index: int, now_s: float) -> None:
        member = self._members[index]
        member.open_requests -= 1
        self._router.changed(index, member.open_requests)
        if member.is_leaving and not member.open_requests:
            self._end(member, now_s)

    def _end(self, member: _Member, now_s: float) -> None:
        member.ended_s = now_s
        self._held -= 1

    def _scale(self, scaler: Autoscaler, now_s: float) -> None:
        options = self._options.autoscaler
        assert options is not None
        ready = [self._members[index] for index in self._ready()]
        held = [each for each in self._members if not each.is_leaving]
        work_s = sum(member.replica.seconds_of_work(now_s) for member in ready)
        wanted = scaler.decide(now_s, work_s, len(held))
        for _ in range(wanted - len(held)):
            self._start(now_s, now_s + options.start_s)
        # As a ReplicaSet does: first those that are not ready, then the youngest.
        by_rank = sorted(held, key=lambda each: (each.is_ready, -each.began_s))
        for member in by_rank[: max(0, len(held) - wanted)]:
            member.is_leaving = True
            if not member.open_requests:
                self._end(member, now_s)
        self._router.set_ready(self._ready())
        if now_s + options.sync_s <= self._demand.length_s:
            self._events.at(now_s + options.sync_s, lambda at_s: self._scale(scaler, at_s))

    def _ready(self) -> list[int]:
        return [
            index
            for index, member in enumerate(self._members)
            if member.is_ready and not member.is_leaving
        ]

    def _outcome(self) -> Outcome:
        demand = self._demand
        held_s = tuple(
            (member.began_s, demand.length_s if member.ended_s is None else member.ended_s)
            for member in self._members
        )
        return Outcome(
            arrivals_s=demand.arrivals_s,
            latencies_s=np.array(self._latencies_s, np.float64),
            endings=np.array(self._endings, np.int8),
            images=np.array([each.kind.num_images for each in demand.kinds], np.int64),
            held_s=held_s,
            most_replicas=self._most,
            length_s=demand.length_s,
        )
