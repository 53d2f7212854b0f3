"""How many replicas a Kubernetes autoscaler wants, from the seconds of work that are queued."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalerOptions:
    """A HorizontalPodAutoscaler with the behaviour that the chart gives it.

    `target_s`: seconds of queued work per replica. `start_s`: from the decision to a ready replica.
    `sync_s`: between two decisions. `tolerance`: how far the ratio may be from 1 without a change;
    both are Kubernetes' defaults. It grows to twice as many within `up_period_s` at most, and
    shrinks by one per `down_period_s`, to the most that was wanted within `down_window_s`.
    """

    target_s: float
    min_replicas: int
    max_replicas: int
    start_s: float
    sync_s: float = 15.0
    tolerance: float = 0.1
    up_period_s: float = 30.0
    down_period_s: float = 60.0
    down_window_s: float = 300.0


class Autoscaler:
    """Decides as the controller does; keeps what it wanted and what it changed."""

    def __init__(self, options: AutoscalerOptions) -> None:
        self._options = options
        self._wanted: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, work_s: float, replicas: int) -> int:
        """Return how many replicas there should be; they are then taken to be there.

        work_s: queued work of all ready replicas together; those that start count as idle, as the
        controller counts them. replicas: those there are, starting ones included. Calls come in the
        order of time.
        """
        options = self._options
        ratio = work_s / (options.target_s * replicas)
        wanted = replicas
        if abs(ratio - 1.0) > options.tolerance:
            wanted = math.ceil(work_s / options.target_s)
        wanted = min(max(wanted, options.min_replicas), options.max_replicas)
        while self._wanted and self._wanted[0][0] < now_s - options.down_window_s:
            self._wanted.popleft()
        self._wanted.append((now_s, wanted))
        if wanted > replicas:
            base = replicas - self._changed_since(now_s - options.up_period_s, up=True)
            decided = max(replicas, min(wanted, 2 * base))
        else:
            stable = min(replicas, max(count for _, count in self._wanted))
            base = replicas - self._changed_since(now_s - options.down_period_s, up=False)
            decided = min(replicas, max(stable, base - 1))
        if decided != replicas:
            self._changes.append((now_s, decided - replicas))
        return decided

    def _changed_since(self, since_s: float, *, up: bool) -> int:
        """Return by how many it grew, or shrank (then at most 0), after a moment."""
        return sum(by for at_s, by in self._changes if at_s > since_s and (by > 0) == up)
