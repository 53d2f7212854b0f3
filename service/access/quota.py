"""How much one caller may ask: calls per minute, generations at once, engine time waiting.

Counted in this process only. One pod is one process, so a caller who reaches three pods may use
three times as much.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from service.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.access.caller import Caller

_LEAST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """One generation: when it began, and how much engine time it was thought to take."""

    began_at_s: float
    estimate_s: float


class Quota:
    """Counts what every caller uses. Used from the event loop.

    The rate is a moving window, kept by `limits`: at no moment have more calls been let through
    in the `window_s` seconds before it. `clock`: monotonic seconds, for the work accounts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, window_s: int = 60) -> None:
        self._clock = clock
        self._window_s = window_s
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._work: defaultdict[str, list[_Work]] = defaultdict(list)

    def count_call(self, caller: Caller) -> None:
        """Take one call from the caller's rate.

        Raises RateLimited with the time until a call is free again; a refused call is not counted.
        """
        allowed = caller.limits.requests_per_minute
        if allowed is None:
            return
        item = RateLimitItemPerSecond(allowed, self._window_s)
        if not self._limiter.hit(item, caller.name):
            # The library keeps time of day; `reset_time` is when the oldest call leaves the window.
            free_at_s = self._limiter.get_window_stats(item, caller.name).reset_time
            raise RateLimited(
                f"This API key may call {allowed} times per minute.",
                retry_after_s=max(_LEAST_WAIT_S, free_at_s - time.time()),
            )

    @contextmanager
    def hold(self, caller: Caller, estimate_s: float) -> Iterator[None]:
        """Keep one generation on the caller's account while the block runs.

        `estimate_s`: engine time that it is thought to take, 0 if nobody knows yet. A caller who
        has nothing under way is always let through, or one large request could never be served.
        Raises RateLimited.
        """
        under_way = self._work[caller.name]
        self._check_count(caller, under_way)
        self._check_seconds(caller, under_way, estimate_s)
        work = _Work(self._clock(), estimate_s)
        under_way.append(work)
        try:
            yield
        finally:
            under_way.remove(work)
            if not under_way:
                self._work.pop(caller.name, None)

    def _check_count(self, caller: Caller, under_way: list[_Work]) -> None:
        allowed = caller.limits.concurrent_requests
        if allowed is not None and len(under_way) >= allowed:
            raise RateLimited(
                f"This API key may have {allowed} generations under way at once.",
                retry_after_s=max(_LEAST_WAIT_S, min(map(self._left_s, under_way))),
            )

    def _check_seconds(self, caller: Caller, under_way: list[_Work], estimate_s: float) -> None:
        allowed_s = caller.limits.queued_seconds
        if allowed_s is None or not under_way:
            return
        total_s = estimate_s + sum(map(self._left_s, under_way))
        if total_s > allowed_s:
            raise RateLimited(
                f"This API key may have {allowed_s:g} s of work under way.",
                retry_after_s=max(_LEAST_WAIT_S, total_s - allowed_s),
            )

    def _left_s(self, work: _Work) -> float:
        return max(0.0, work.began_at_s + work.estimate_s - self._clock())
