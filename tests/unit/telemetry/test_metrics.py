"""Metrics count what they are told, in memory or, as under BentoML's parent, in files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import pytest

from service.domain.events import (
    Admitted,
    Decoded,
    Encoded,
    Finished,
    Outcome,
    Queued,
    StepDone,
    Woke,
    Worked,
)
from service.domain.identity import Deadline, RequestId
from service.domain.stream import Accepted, Completed, FinishedImage, PartialImage, StepsTaken
from service.errors import Cancelled, QueueFull, SignerNotReady, SigningFailed
from service.telemetry.generation import CountedGeneration
from service.telemetry.metric_table import (
    BATCH_ROWS,
    ENERGY_JOULES,
    QUEUE_DEPTH,
    READY,
    REQUESTS,
    SIGNER_EXPIRY_SECONDS,
)
from service.telemetry.metrics import Metrics
from service.telemetry.observer import MetricsObserver, Observers
from tests.factories import FakeClock, make_request
from tests.fakes import FakeGeneration

ROOT = Path(__file__).parents[3]
REQUEST_ID = RequestId("req_1")
DEADLINE = Deadline(1e9)


def values(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def test_two_instances_share_nothing():
    first, second = Metrics("a"), Metrics("b")
    first.count(REQUESTS, "toy", "done", amount=2)
    series = 'mintmark_requests_total{model="toy",outcome="done"}'
    assert values(first)[series] == 2
    assert series not in values(second)


def test_a_followed_gauge_is_read_at_every_scrape():
    metrics = Metrics("a")
    readings = iter([1.0, 0.0])
    metrics.follow(READY, lambda: next(readings))
    assert values(metrics)["mintmark_ready"] == 1
    assert values(metrics)["mintmark_ready"] == 0


def test_the_signer_says_nothing_before_its_certificate_has_been_read():
    metrics = Metrics("a")
    assert "mintmark_signer_expiry_seconds" not in metrics.exposition().decode()
    metrics.follow(SIGNER_EXPIRY_SECONDS, lambda: -5.0)
    assert values(metrics)["mintmark_signer_expiry_seconds"] == -5


def test_no_series_says_when_another_was_created():
    metrics = Metrics("a")
    metrics.observe(BATCH_ROWS, 3, "toy", "64x64")
    assert not [name for name in values(metrics) if "_created" in name]


def test_the_process_and_the_build_are_described():
    found = values(Metrics("1.2.3"))
    assert found["process_resident_memory_bytes"] > 0
    assert any('version="1.2.3"' in name for name in found)


COUNTING = """
from service.telemetry.metrics import Metrics
from service.telemetry.metric_table import *
metrics = Metrics("1")
for _ in range(3):
    metrics.count(REQUESTS, "toy", "done")
metrics.observe(STEP_SECONDS, 0.3, "toy", "64x64")
metrics.set(QUEUE_DEPTH, 3)
metrics.add(HTTP_IN_FLIGHT, 2)
metrics.add(HTTP_IN_FLIGHT, -1)
metrics.follow(SIGNER_EXPIRY_SECONDS, lambda: 5.0)
print("\\n".join(l for l in metrics.exposition().decode().splitlines() if "process_" not in l))
"""


def test_values_are_the_same_in_the_multiprocess_mode_of_the_library(tmp_path):
    def count(**extra: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
        run = subprocess.run(
            [sys.executable, "-c", COUNTING],
            cwd=ROOT,
            env=environment | extra,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    plain = count()
    assert 'mintmark_requests_total{model="toy",outcome="done"} 3.0' in plain
    assert count(PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) == plain


def step(rows=6, size_px=(64, 64)):
    return StepDone(
        batch_key="toy/4x16x16",
        rows=rows,
        images=3,
        step_s=0.03,
        model_id="toy",
        size_px=size_px,
        shares=((REQUEST_ID, rows),),
    )


def test_engine_events_become_metrics():
    metrics = Metrics("a")
    observer = Observers([MetricsObserver(metrics)])
    observer.on_event(Queued(REQUEST_ID))
    observer.on_event(Woke())
    observer.on_event(Encoded("picture", encode_s=0.04))
    observer.on_event(Admitted(REQUEST_ID, queued_s=0.2))
    observer.on_event(step())
    observer.on_event(Worked(busy_s=0.05))
    observer.on_event(Worked(busy_s=0.25))
    observer.on_event(Decoded(images=1, decode_s=0.01, request_id=REQUEST_ID))
    found = values(metrics)
    assert found["mintmark_queue_seconds_sum"] == 0.2
    assert found['mintmark_encode_seconds_sum{what="picture"}'] == 0.04
    assert found["mintmark_engine_busy_seconds_total"] == 0.3
    assert found["mintmark_decode_seconds_sum"] == 0.01


def test_steps_are_counted_by_the_size_of_their_pictures():
    metrics = Metrics("a")
    observer = MetricsObserver(metrics)
    observer.on_event(step())
    observer.on_event(step(rows=2))
    observer.on_event(step(rows=1, size_px=(96, 64)))
    found = values(metrics)
    assert found['mintmark_step_seconds_count{model="toy",size="64x64"}'] == 2
    assert found['mintmark_step_seconds_count{model="toy",size="96x64"}'] == 1
    assert found['mintmark_batch_rows_sum{model="toy",size="64x64"}'] == 8
    assert found['mintmark_batch_rows_bucket{le="4.0",model="toy",size="64x64"}'] == 1
    assert found['mintmark_batch_rows_bucket{le="6.0",model="toy",size="64x64"}'] == 2


def test_ends_are_counted_with_where_a_deadline_passed_and_how_long_a_cancel_took():
    metrics = Metrics("a")
    observer = MetricsObserver(metrics)
    expired, cancelled = Outcome.EXPIRED, Outcome.CANCELLED
    observer.on_event(Finished(REQUEST_ID, expired, total_s=1.0, has_started=True))
    observer.on_event(Finished(REQUEST_ID, expired, total_s=1.0, has_started=False))
    observer.on_event(Finished(REQUEST_ID, expired, total_s=1.0, has_started=False))
    observer.on_event(Finished(REQUEST_ID, cancelled, 1.0, has_started=True, cancel_s=0.02))
    observer.on_event(Finished(REQUEST_ID, Outcome.DONE, total_s=1.0, has_started=True))
    observer.on_marking_stage("sign", 0.002)
    found = values(metrics)
    assert found['mintmark_engine_requests_total{outcome="expired"}'] == 3
    assert found['mintmark_deadline_misses_total{where="running"}'] == 1
    assert found['mintmark_deadline_misses_total{where="queued"}'] == 2
    assert found["mintmark_cancel_seconds_sum"] == 0.02
    assert found["mintmark_cancel_seconds_count"] == 1
    assert found['mintmark_marking_seconds_count{stage="sign"}'] == 1


def test_threads_that_count_the_same_new_series_lose_nothing():
    metrics = Metrics("a")

    def count():
        for source in range(50):
            metrics.count(ENERGY_JOULES, str(source), amount=1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = values(metrics)
    assert {found[f'mintmark_energy_joules_total{{source="{n}"}}'] for n in range(50)} == {8}


async def test_pictures_and_pixels_are_counted_by_model_and_format():
    metrics, clock = Metrics("a"), FakeClock()
    generate = CountedGeneration(FakeGeneration(), metrics, clock)
    request = make_request(num_images=3, size=(96, 64))
    await generate(request, request_id=REQUEST_ID, deadline=DEADLINE)
    found = values(metrics)
    assert found['mintmark_requests_total{model="toy",outcome="done"}'] == 1
    assert found['mintmark_images_total{format="png",model="toy"}'] == 3
    assert found['mintmark_pixels_total{model="toy"}'] == 3 * 96 * 64
    assert found['mintmark_request_seconds_count{model="toy"}'] == 1


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (QueueFull("Full."), True),
        (SignerNotReady("Expired."), True),
        (SigningFailed("No."), False),
        (Cancelled("Gone."), False),
    ],
)
async def test_failures_are_counted_by_their_code(error, is_refusal):
    metrics = Metrics("a")
    generate = CountedGeneration(FakeGeneration(error=error), metrics)
    with pytest.raises(type(error)):
        await generate(make_request(), request_id=REQUEST_ID, deadline=DEADLINE)
    found = values(metrics)
    assert found[f'mintmark_requests_total{{model="toy",outcome="{error.code}"}}'] == 1
    refusal = f'mintmark_admission_refusals_total{{reason="{error.code}"}}'
    assert (refusal in found) == is_refusal
    assert 'mintmark_images_total{format="png",model="toy"}' not in found


async def read(stream, until=None):
    seen = []
    async with aclosing(stream) as events:
        async for event in events:
            seen.append(type(event))
            if type(event) is until:
                break
    return seen


def streamed(inner, metrics, **wanted):
    generate = CountedGeneration(inner, metrics)
    return generate.stream(make_request(**wanted), request_id=REQUEST_ID, deadline=DEADLINE)


@pytest.mark.parametrize("until", [None, Completed])
async def test_a_stream_is_passed_on_and_counted_as_its_pictures_leave(until):
    metrics = Metrics("a")
    seen = await read(streamed(FakeGeneration(), metrics, num_images=2, num_previews=1), until)
    of_one_image = [StepsTaken, PartialImage, FinishedImage]
    assert seen == [Accepted, *of_one_image, *of_one_image, Completed]
    found = values(metrics)
    assert found['mintmark_requests_total{model="toy",outcome="done"}'] == 1
    assert found['mintmark_images_total{format="png",model="toy"}'] == 2  # and no preview
    assert found['mintmark_request_seconds_count{model="toy"}'] == 1


async def test_a_stream_that_is_left_counts_as_cancelled_with_the_pictures_it_gave():
    metrics, inner = Metrics("a"), FakeGeneration()
    await read(streamed(inner, metrics, num_images=3), until=FinishedImage)
    found = values(metrics)
    assert found['mintmark_requests_total{model="toy",outcome="cancelled"}'] == 1
    assert found['mintmark_images_total{format="png",model="toy"}'] == 1
    assert inner.cancelled == [REQUEST_ID]


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_stream_that_fails_is_counted_by_its_code(is_late):
    metrics, inner = Metrics("a"), FakeGeneration()
    if is_late:
        inner.late_error = SigningFailed("No.")
    else:
        inner.error = QueueFull("Full.")
    with pytest.raises((SigningFailed, QueueFull)) as failure:
        await read(streamed(inner, metrics))
    found = values(metrics)
    outcome = failure.value.code
    assert found[f'mintmark_requests_total{{model="toy",outcome="{outcome}"}}'] == 1
    assert ('mintmark_admission_refusals_total{reason="queue_full"}' in found) is not is_late


async def test_counting_hides_nothing_of_the_use_case():
    inner = FakeGeneration()
    generate = CountedGeneration(inner, Metrics("a"))
    await generate(make_request(), request_id=REQUEST_ID, deadline=DEADLINE)
    assert generate.progress(REQUEST_ID) == inner.progress(REQUEST_ID)
    assert generate.progress(RequestId("other")) is None
    assert generate.cancel(REQUEST_ID) is True


def test_a_gauge_is_not_a_counter():
    with pytest.raises(AssertionError):
        Metrics("a").count(QUEUE_DEPTH)
