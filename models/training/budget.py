"""When to stop early: the time is up, or someone asked for it."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Budget:
    """Time left for this process, and the wish to stop; a context that listens for Ctrl-C.

    minutes: from now; None is no limit. Inside the context the first Ctrl-C or SIGTERM only makes
    `is_spent` true, so that a step ends and a checkpoint is written; the second ends the process
    as usual. clock: seconds, for tests. signals: those to listen to.
    """

    def __init__(
        self,
        minutes: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        signals: Sequence[signal.Signals] = _SIGNALS,
    ) -> None:
        self._clock = clock
        self._signals = signals
        self._deadline_s = None if minutes is None else clock() + minutes * 60
        self._former: dict[signal.Signals, signal._HANDLER] = {}
        self.is_stop_requested = False

    @property
    def is_spent(self) -> bool:
        """Return whether to stop before the next step."""
        is_late = self._deadline_s is not None and self._clock() >= self._deadline_s
        return is_late or self.is_stop_requested

    @property
    def minutes_left(self) -> float | None:
        """Return what is left, not below 0; None is no limit."""
        if self._deadline_s is None:
            return None
        return max(0.0, self._deadline_s - self._clock()) / 60

    def now_s(self) -> float:
        """Return the clock's seconds."""
        return self._clock()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {name: signal.signal(name, self._request_stop) for name in self._signals}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stop_requested = True
        self._restore()
        print("\nStopping after this step; once more to stop at once.", flush=True)

    def _restore(self) -> None:
        for name, handler in self._former.items():
            signal.signal(name, handler)
        self._former = {}
