"""Spans wait within bounds, leave in batches, and are counted when they do not."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import grpc
import pytest

from service.telemetry.metrics import Metrics
from service.telemetry.otlp_message import FinishedRequest, MessageBuilder
from service.telemetry.otlp_sender import GrpcSender, HttpSender, NotSentError
from service.telemetry.span_queue import SpanQueue
from service.telemetry.spans import Span
from service.telemetry.trace_context import continue_trace
from tests.otlp_kit import COLLECTORS


class FakeSender:
    """Takes everything, unless told what to raise first. `gate`: holds every message."""

    def __init__(self, *failures: NotSentError, rejected: int = 0) -> None:
        self.failures = list(failures)
        self.rejected = rejected
        self.messages: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_sending = threading.Event()
        self.is_closed = False

    def send(self, message, timeout_s):
        self.is_sending.set()
        assert self.gate.wait(timeout_s)
        if self.failures:
            raise self.failures.pop(0)
        (of_resource,) = message.resource_spans
        self.messages.append(len(of_resource.scope_spans[0].spans))
        return self.rejected

    def close(self):
        self.is_closed = True


def finished(num_children: int = 1) -> FinishedRequest:
    children = tuple(Span("child", 1.0, 2.0) for _ in range(num_children))
    return FinishedRequest(continue_trace(None, 1.0), Span("root", 0.0, 3.0, children=children), 0)


class Bench:
    def __init__(self, sender: FakeSender, max_spans: int = 4096) -> None:
        self.metrics = Metrics("test")
        builder = MessageBuilder({"service.name": "mintmark"}, "1")
        self.queue = SpanQueue(sender, builder, self.metrics, max_spans)

    def count(self, outcome: str) -> float:
        start = f'mintmark_trace_spans_total{{outcome="{outcome}"}} '
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_what_waits_is_sent_when_the_queue_closes():
    sender = FakeSender()
    bench = Bench(sender)
    bench.queue.start()
    for _ in range(3):
        bench.queue.put(finished())
    bench.queue.close(2.0)
    assert sum(sender.messages) == bench.count("sent") == 6
    assert bench.count("dropped") == 0
    assert sender.is_closed


def test_a_full_batch_does_not_wait_for_its_time():
    sender = FakeSender()
    bench = Bench(sender)
    bench.queue.start()
    for _ in range(4):
        bench.queue.put(finished(299))
    assert sender.is_sending.wait(0.9)  # less than the pause between batches
    bench.queue.close(2.0)
    assert sender.messages == [600, 600]  # whole requests


def test_a_queue_is_bounded_and_never_blocks():
    sender = FakeSender()
    sender.gate.clear()
    bench = Bench(sender, max_spans=600)
    bench.queue.start()
    bench.queue.put(finished(599))
    assert sender.is_sending.wait(5)  # and stuck
    began_s = time.monotonic()
    for _ in range(400):
        bench.queue.put(finished())
    assert time.monotonic() - began_s < 0.5
    assert bench.count("dropped") == 200  # 800 came, 600 wait
    sender.gate.set()
    bench.queue.close(2.0)
    assert bench.count("sent") == 1200


def test_closing_is_bounded_and_counts_what_is_lost():
    sender = FakeSender()
    sender.gate.clear()
    bench = Bench(sender)
    bench.queue.start()
    bench.queue.put(finished(599))
    assert sender.is_sending.wait(5)
    bench.queue.put(finished())
    began_s = time.monotonic()
    bench.queue.close(0.1)
    assert time.monotonic() - began_s < 1
    assert bench.count("dropped") == 2
    bench.queue.put(finished())  # after the end
    assert bench.count("dropped") == 4
    sender.gate.set()


def test_a_collector_that_stumbles_is_asked_again(caplog):
    sender = FakeSender(NotSentError("UNAVAILABLE", is_retryable=True))
    bench = Bench(sender)
    bench.queue.start()
    bench.queue.put(finished(599))
    with caplog.at_level(logging.INFO, "service.telemetry"):
        while not caplog.records:  # it has said that it could not, and pauses
            time.sleep(0.01)
        bench.queue.close(2.0)  # cuts the pause before the next try short
    assert (bench.count("sent"), bench.count("dropped")) == (600, 0)
    told = [record.message for record in caplog.records if record.name.endswith("span_queue")]
    assert "the collector takes spans again" in told


def test_spans_that_nobody_wants_are_dropped_at_once_and_told_once(caplog):
    sender = FakeSender(*(NotSentError("HTTP 401", is_retryable=False) for _ in range(2)))
    bench = Bench(sender)
    for _ in range(2):
        bench.queue.put(finished(599))
    bench.queue.start()
    bench.queue.close(2.0)
    assert bench.count("dropped") == 1200
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["the collector does not take spans: HTTP 401"]


def test_rejected_spans_are_not_counted_as_sent():
    bench = Bench(FakeSender(rejected=2))
    bench.queue.start()
    bench.queue.put(finished(5))
    bench.queue.close(2.0)
    assert (bench.count("sent"), bench.count("dropped")) == (4, 2)


SENDERS: dict[str, Any] = {"grpc": GrpcSender, "http/protobuf": HttpSender}


@pytest.mark.parametrize(
    ("protocol", "answer", "reason", "is_retryable"),
    [
        ("grpc", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", True),
        ("grpc", grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", False),
        ("http/protobuf", 503, "HTTP 503", True),
        ("http/protobuf", 429, "HTTP 429", True),
        ("http/protobuf", 401, "HTTP 401", False),
        ("http/protobuf", 307, "HTTP 307", False),
    ],
)
def test_a_refusal_says_whether_another_try_may_help(protocol, answer, reason, is_retryable):
    message = MessageBuilder({}, "1").build([finished()])
    with COLLECTORS[protocol]() as collector:
        collector.answers, collector.rejected_spans = [answer], 1
        sender = SENDERS[protocol](collector.endpoint, [])
        with pytest.raises(NotSentError, match=reason) as refused:
            sender.send(message, 5.0)
        assert refused.value.is_retryable == is_retryable
        assert sender.send(message, 5.0) == 1  # the next is taken, but for one span
        sender.close()
    assert len(collector.spans) == 2


@pytest.mark.parametrize("protocol", SENDERS)
def test_a_collector_that_is_not_there_or_does_not_answer_is_a_failure_to_retry(protocol):
    message = MessageBuilder({}, "1").build([finished()])
    with COLLECTORS[protocol]() as collector:
        sender = SENDERS[protocol](collector.endpoint, [])
        collector.gate.clear()
        with pytest.raises(NotSentError, match=r"DEADLINE_EXCEEDED|ReadTimeout") as refused:
            sender.send(message, 0.2)
        assert refused.value.is_retryable
    with pytest.raises(NotSentError, match=r"UNAVAILABLE|ConnectError|DEADLINE") as refused:
        sender.send(message, 5.0)
    assert refused.value.is_retryable
    sender.close()
