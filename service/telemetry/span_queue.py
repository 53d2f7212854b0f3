"""Finished spans on their way out: bounded, in batches, by a thread that nobody waits for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from service.telemetry.metric_table import TRACE_SPANS
from service.telemetry.otlp_sender import NotSentError

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from service.telemetry.metrics import Metrics
    from service.telemetry.otlp_message import FinishedRequest, MessageBuilder

logger = logging.getLogger(__name__)

_MAX_SPANS = 4096
_BATCH_SPANS = 512
_DELAY_S = 1.0
_SEND_TIMEOUT_S = 5.0
_RETRY_WAITS_S = (1.0, 2.0, 4.0)


class Sender(Protocol):
    """Carries messages to a collector. Used by one thread only."""

    def send(self, message: ExportTraceServiceRequest, timeout_s: float) -> int:
        """Send one message; return how many of its spans were rejected. Raises NotSentError."""

    def close(self) -> None:
        """Free the connection."""


class SpanQueue:
    """Takes requests from any thread and never blocks it. `max_spans`: the most that may wait.

    A collector that does not answer costs spans, which are counted, and nothing else.
    """

    def __init__(
        self, sender: Sender, builder: MessageBuilder, metrics: Metrics, max_spans: int = _MAX_SPANS
    ) -> None:
        self._sender = sender
        self._builder = builder
        self._metrics = metrics
        self._max_spans = max_spans
        self._waiting: deque[FinishedRequest] = deque()
        self._num_spans = 0
        self._changed = threading.Condition()
        self._is_closing = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Start the thread that sends."""
        self._thread.start()

    def put(self, request: FinishedRequest) -> None:
        """Queue the spans of one request; drop them all if there is no room, or none any more."""
        count = request.num_spans
        with self._changed:
            has_room = self._num_spans + count <= self._max_spans
            if has_room and not self._is_closing.is_set():
                self._waiting.append(request)
                self._num_spans += count
                if self._num_spans >= _BATCH_SPANS:
                    self._changed.notify()
                return
        self._count("dropped", count)

    def close(self, timeout_s: float) -> None:
        """Send what waits, but give up after `timeout_s`. Blocking; may be called twice."""
        with self._changed:
            self._is_closing.set()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:
            left, self._num_spans = self._num_spans, 0
            self._waiting.clear()
        self._count("dropped", left)

    def _run(self) -> None:
        try:
            self._send_until_closed()
        finally:
            self._sender.close()

    def _send_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, timeout=_DELAY_S)
                batch, count = self._take()
            if batch:
                self._send(self._builder.build(batch), count)
            elif self._is_closing.is_set():
                return

    def _is_due(self) -> bool:
        return self._is_closing.is_set() or self._num_spans >= _BATCH_SPANS

    def _take(self) -> tuple[list[FinishedRequest], int]:
        """Remove and return what makes a batch: whole requests, at least one if any waits."""
        batch: list[FinishedRequest] = []
        count = 0
        while self._waiting and count < _BATCH_SPANS:
            batch.append(self._waiting.popleft())
            count += batch[-1].num_spans
        self._num_spans -= count
        return batch, count

    def _send(self, message: ExportTraceServiceRequest, count: int) -> None:
        """Try, and try again while that may help and nobody waits for the end."""
        for wait_s in (*_RETRY_WAITS_S, 0.0):
            try:
                rejected = self._sender.send(message, _SEND_TIMEOUT_S)
            except NotSentError as failure:
                self._complain(failure)
                if not failure.is_retryable or self._is_closing.is_set():
                    break
                self._is_closing.wait(wait_s)
            else:
                self._recover()
                self._count("sent", count - rejected)
                self._count("dropped", rejected)
                return
        self._count("dropped", count)

    def _complain(self, failure: NotSentError) -> None:
        if not self._is_failing:  # once an outage, not once a batch
            logger.warning("the collector does not take spans: %s", failure)
        self._is_failing = True

    def _recover(self) -> None:
        if self._is_failing:
            logger.info("the collector takes spans again")
        self._is_failing = False

    def _count(self, outcome: str, amount: int) -> None:
        if amount:
            self._metrics.count(TRACE_SPANS, outcome, amount=amount)
