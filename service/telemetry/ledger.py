"""A ledger whose writes are timed, also while they are under way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from service.telemetry.metric_table import LEDGER_LAG_SECONDS, LEDGER_WRITE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.telemetry.metrics import Metrics

Record_contra = TypeVar("Record_contra", contravariant=True)


class Recorder(Protocol[Record_contra]):
    """What is timed of a ledger; `service.provenance.ledger.Ledger` is one."""

    def record(self, output: Record_contra) -> None:
        """Append one output; once returned, it is kept. Blocking, thread-safe."""


class TimedRecorder(Generic[Record_contra]):
    """Passes every record on and times it. `clock`: monotonic seconds.

    A record is written before its picture is handed out, so what is not written yet is what is
    being written now: a database that hangs shows as a lag that grows.
    """

    def __init__(
        self,
        inner: Recorder[Record_contra],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._begun_s: dict[int, float] = {}  # by thread: each writes one at a time
        metrics.follow(LEDGER_LAG_SECONDS, self._lag_s)

    def record(self, output: Record_contra) -> None:
        """Append one output; raises what the inner ledger raises. Blocking, thread-safe."""
        thread, began_s = threading.get_ident(), self._clock()
        with self._lock:
            self._begun_s[thread] = began_s
        try:
            self._inner.record(output)
        finally:
            with self._lock:
                del self._begun_s[thread]
            self._metrics.observe(LEDGER_WRITE_SECONDS, self._clock() - began_s)

    def _lag_s(self) -> float:
        with self._lock:
            oldest_s = min(self._begun_s.values(), default=None)
        return 0.0 if oldest_s is None else max(0.0, self._clock() - oldest_s)
