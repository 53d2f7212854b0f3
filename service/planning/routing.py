"""Which replica a request goes to: what stands before a fleet."""

from __future__ import annotations

import heapq
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

_DRAWS_AHEAD = 4096


class Routing(StrEnum):
    """How requests are spread over the ready replicas.

    ROUND_ROBIN: one gRPC client with `round_robin` over all of them. RANDOM: a Service by
    iptables, or very many clients. LEAST_CONNECTIONS: a proxy that counts open requests.
    """

    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    LEAST_CONNECTIONS = "least-connections"


class Router(Protocol):
    """Picks replicas by their index among all that ever were. At least one is ready."""

    def set_ready(self, ready: Sequence[int]) -> None:
        """Choose among these from now on; not empty."""

    def pick(self) -> int:
        """Return where the next request goes."""

    def changed(self, replica: int, open_requests: int) -> None:
        """Take note of how many requests of a replica are unanswered."""


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._ready: Sequence[int] = ()
        self._next = 0

    def set_ready(self, ready: Sequence[int]) -> None:
        """Go on at the same place of the new list."""
        self._ready = tuple(ready)

    def pick(self) -> int:
        """Return the next one."""
        self._next = (self._next + 1) % len(self._ready)
        return self._ready[self._next]

    def changed(self, replica: int, open_requests: int) -> None:
        """Need not know."""


class RandomChoice:
    """Each with the same probability."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._ready: Sequence[int] = ()
        self._draws: list[float] = []

    def set_ready(self, ready: Sequence[int]) -> None:
        """Draw from the new list."""
        self._ready = tuple(ready)

    def pick(self) -> int:
        """Return any."""
        if not self._draws:
            self._draws = self._rng.random(_DRAWS_AHEAD).tolist()
        return self._ready[int(self._draws.pop() * len(self._ready))]

    def changed(self, replica: int, open_requests: int) -> None:
        """Need not know."""


class LeastConnections:
    """The one with the fewest unanswered requests; among equals, any."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._draws: list[float] = []
        self._open: dict[int, int] = {}
        self._ready: set[int] = set()
        self._heap: list[tuple[int, float, int]] = []  # with entries that no longer hold

    def set_ready(self, ready: Sequence[int]) -> None:
        """Choose among the new list."""
        self._ready = set(ready)
        self._heap = []
        for replica in ready:
            self._push(replica, self._open.get(replica, 0))

    def pick(self) -> int:
        """Return the least busy."""
        while True:
            count, _, replica = self._heap[0]
            if self._open.get(replica, 0) == count:
                return replica
            heapq.heappop(self._heap)

    def changed(self, replica: int, open_requests: int) -> None:
        """Remember the count."""
        self._open[replica] = open_requests
        if replica in self._ready:
            self._push(replica, open_requests)

    def _push(self, replica: int, count: int) -> None:
        if not self._draws:
            self._draws = self._rng.random(_DRAWS_AHEAD).tolist()
        heapq.heappush(self._heap, (count, self._draws.pop(), replica))


def build_router(routing: Routing, rng: np.random.Generator) -> Router:
    """Return a router of the kind."""
    match routing:
        case Routing.ROUND_ROBIN:
            return RoundRobin()
        case Routing.RANDOM:
            return RandomChoice(rng)
        case Routing.LEAST_CONNECTIONS:
            return LeastConnections(rng)
