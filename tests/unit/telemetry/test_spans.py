"""Spans are made from what was noted, however far a request came."""

from __future__ import annotations

import asyncio

import pytest

from service.domain.times import ImageTimes, RequestTimes
from service.errors import LedgerFailed, QueueFull
from service.telemetry.request_record import (
    GenerationNotes,
    MarkingNotes,
    RequestRecord,
    current_record,
    note_engine,
    note_error,
    noted_marking,
    noting_stages,
)
from service.telemetry.spans import ServerFacts, Span, durations_ms, server_span
from tests.factories import EngineBench, FakeClock, make_request


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def record(clock):
    made = RequestRecord(clock)
    made.generation = GenerationNotes(make_request(num_images=2, steps=4), started_s=101.0)
    return made


def times_of(record, submitted_at_s=102.0):
    record.generation.times = RequestTimes(submitted_at_s, 2, 4, "4x16x16")
    return record.generation.times.images


def stops(record, clock, at_s):
    clock.now_s = at_s
    return server_span(record, ServerFacts("x", {})).children


def brief(span: Span):
    return (span.name, span.start_s, span.end_s, span.error)


def ended(record, at_s, error):
    record.generation.ended_s = at_s
    record.fail(error)


def test_steps_are_summed_up_without_keeping_them():
    times = ImageTimes()
    for ended_s, rows in ((1.0, 4), (2.0, 2), (3.0, 6)):
        times.note_step(ended_s, rows)
    assert (times.steps, times.stepped_s) == (3, 3.0)
    assert (times.rows_min, times.rows_max, times.rows_sum) == (2, 6, 12)


def test_the_engine_notes_every_image_of_every_request():
    bench = EngineBench()
    job, _ = bench.submit(make_request(num_images=2, steps=3, guidance=3.0))
    bench.run()
    assert job.times.admitted_at_s == job.admitted_at_s
    for image in job.times.images:
        assert image.steps == 3
        assert image.encode_started_s is not None
        assert image.decoded_s is not None
        assert (image.rows_min, image.rows_max) == (4, 4)


def test_a_request_refused_by_the_queue_ends_in_admission(record, clock):
    ended(record, 103.0, QueueFull.code)
    assert [brief(span) for span in stops(record, clock, 104.0)] == [
        ("intake", 100.0, 101.0, None),
        ("admission", 101.0, 103.0, "queue_full"),
    ]


def test_a_request_that_expired_in_the_queue_ends_there(record, clock):
    times_of(record)
    ended(record, 107.0, "deadline_exceeded")
    assert brief(stops(record, clock, 108.0)[-1]) == ("queue", 102.0, 107.0, "deadline_exceeded")


def test_images_are_where_they_were_when_the_request_ended(record, clock):
    first, second = times_of(record)
    first.encode_started_s, first.encoded_s = 103.0, 104.0
    for step in range(4):
        first.note_step(105.0 + step, 4)
    first.decode_started_s = 109.0
    second.encode_started_s, second.encoded_s = 104.0, 105.0
    second.note_step(106.0, 4)
    ended(record, 110.0, "internal_error")
    spans = [brief(span) for span in stops(record, clock, 111.0)]
    assert spans[2:] == [
        ("queue", 102.0, 103.0, None),
        ("encode_prompt", 103.0, 104.0, None),
        ("denoise", 104.0, 108.0, None),
        ("decode", 109.0, 110.0, "internal_error"),
        ("encode_prompt", 104.0, 105.0, None),
        ("denoise", 105.0, 110.0, "internal_error"),
    ]


def test_an_image_that_could_not_be_prepared_ends_in_its_encoding(record, clock):
    first, _ = times_of(record)
    first.encode_started_s = 103.0
    ended(record, 104.0, "internal_error")
    last = stops(record, clock, 105.0)[-1]
    assert brief(last) == ("encode_prompt", 103.0, 104.0, "internal_error")


def test_a_picture_that_could_not_be_stored_is_an_error_of_the_answer(record, clock):
    times_of(record)
    record.generation.ended_s, record.generation.is_done = 110.0, True
    record.fail("storage_failed")
    assert brief(stops(record, clock, 112.0)[-1]) == ("answer", 110.0, 112.0, "storage_failed")


def test_stages_that_take_turns_are_laid_end_to_end(record, clock):
    notes = MarkingNotes(0, is_preview=False, started_s=110.0, ended_s=120.0)
    # Two rounds of both, told together at 116; then one after the other.
    notes.stages = [("watermark", 4.0, 116.0), ("encode", 2.0, 116.0), ("sign", 3.0, 119.0)]
    record.generation.markings.append(notes)
    mark = stops(record, clock, 121.0)[-1]
    assert [brief(span) for span in mark.children] == [
        ("watermark", 110.0, 114.0, None),
        ("encode", 114.0, 116.0, None),
        ("sign", 116.0, 119.0, None),
    ]


def test_the_first_error_counts(record):
    record.fail("queue_full")
    record.fail("internal_error")
    assert record.error == "queue_full"


def test_durations_span_all_pictures(record, clock):
    first, second = times_of(record)
    first.encode_started_s, first.encoded_s = 103.0, 103.5
    second.encode_started_s, second.encoded_s = 103.5, 104.25
    ended(record, 105.0, "cancelled")
    clock.now_s = 106.0
    assert durations_ms(record)["encode_prompt_ms"] == 1250.0
    assert "answer_ms" not in durations_ms(record)
    assert durations_ms(RequestRecord(clock)) == {}


async def test_what_is_noted_lands_in_the_record_of_the_task(record, clock):
    told = []

    async def mark():
        with noted_marking(1, is_preview=True):
            clock.now_s += 2.0
            observe = noting_stages(lambda stage, seconds: told.append(stage))
            await asyncio.to_thread(observe, "sign", 1.5)
            raise LedgerFailed("no")

    token = current_record.set(record)
    times = RequestTimes(102.0, 2, 4, "4x16x16")
    note_engine(times)
    with pytest.raises(LedgerFailed):
        await asyncio.create_task(mark())
    note_error("ledger_failed")
    current_record.reset(token)
    note_error("nobody's")
    (notes,) = record.generation.markings
    assert told == ["sign"]
    assert notes.stages == [("sign", 1.5, 102.0)]
    assert (notes.started_s, notes.ended_s, notes.error) == (100.0, 102.0, "ledger_failed")
    assert record.generation.times is times
    assert record.error == "ledger_failed"


async def test_without_a_record_nothing_is_noted_and_nothing_breaks():
    told = []
    note_engine(RequestTimes(0.0, 1, 1, "x"))
    with noted_marking(0, is_preview=False):
        noting_stages(lambda stage, seconds: told.append(stage))("sign", 1.0)
    assert told == ["sign"]
