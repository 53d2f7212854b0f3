"""Tells an engine that takes long from one that will not come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.work import StepTimes

# A slow machine, a first call that compiles, a disk that pages: none of these takes a minute.
_LEAST_ALLOWED_S = 60.0
_ALLOWED_STEPS = 50.0


@dataclass(frozen=True, slots=True)
class Stall:
    """The engine has been in one call for `for_s`, which may take `allowed_s`."""

    call: str
    for_s: float
    allowed_s: float


class Watchdog:
    """Knows which call the engine thread is in, and since when.

    Each call of the model counts by itself, so that a turn of many slow calls is no stall.
    Told by the engine thread, asked from any other. `limit_s`: how long one call may take; None
    derives it from `times`: 50 of the slowest shape's steps, and a minute at least.
    """

    def __init__(self, clock: Callable[[], float], limit_s: float | None, times: StepTimes) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._times = times
        self._current: tuple[str, float] | None = None  # the call and when it began

    @property
    def allowed_s(self) -> float:
        """Return how long one call may take."""
        if self._limit_s is not None:
            return self._limit_s
        return max(_LEAST_ALLOWED_S, _ALLOWED_STEPS * self._times.slowest_s)

    def enter(self, call: str) -> None:
        """Take note that the engine begins a call that may take long, and has ended the last."""
        self._current = (call, self._clock())

    def rest(self) -> None:
        """Take note that the engine is in no such call."""
        self._current = None

    def stall(self) -> Stall | None:
        """Return what the engine is stuck in, or None if it is not."""
        current = self._current
        if current is None:
            return None
        call, began_s = current
        for_s, allowed_s = self._clock() - began_s, self.allowed_s
        return Stall(call, for_s, allowed_s) if for_s > allowed_s else None
