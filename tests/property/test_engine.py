"""Promises of the engine that must hold for every mix of requests."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from models.families.toy import toy_spec
from service.domain.events import StepDone
from service.domain.request import GenerationRequest
from tests.factories import EngineBench, make_request, make_source


def build_request(size, edit, **settings):
    """Build a request, with a source of its size if it is an edit."""
    source = None if edit is None else make_source(size=size, strength=edit[0], masked=edit[1])
    # Weak edits of few steps take none and are refused before they reach the engine.
    if edit is not None:
        settings["steps"] = max(settings["steps"], 5)
    return make_request(size=size, source=source, **settings)


requests = st.builds(
    build_request,
    seed=st.integers(0, 2**40),
    steps=st.integers(1, 9),
    guidance=st.sampled_from([0.0, 1.0, 2.5, 7.0]),
    rescale=st.sampled_from([0.0, 0.5]),
    scheduler=st.sampled_from(toy_spec().schedulers),
    num_images=st.integers(1, 3),
    prompt=st.sampled_from(["a red apple", "a blue car", "x"]),
    size=st.sampled_from(toy_spec().sizes_px),
    edit=st.none() | st.tuples(st.sampled_from([0.2, 0.5, 0.8, 1.0]), st.booleans()),
    num_previews=st.integers(0, 3),
)


@dataclass(frozen=True)
class Arrival:
    request: GenerationRequest
    at_tick: int
    cancel_at_tick: int | None


arrivals = st.lists(
    st.builds(
        Arrival,
        request=requests,
        at_tick=st.integers(0, 12),
        cancel_at_tick=st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(arrivals=arrivals, max_rows=st.integers(2, 16))
def test_every_request_ends_exactly_once_and_nothing_is_left(arrivals, max_rows):
    bench = EngineBench(max_batch_rows=max_rows)
    submitted = _play(bench, arrivals)
    assert bench.loop.is_idle
    for _, job, sink in submitted:
        assert len(sink.results) == 1
        assert len(bench.observer.finished(job.request_id)) == 1


@settings(max_examples=60, deadline=None)
@given(arrivals=arrivals, max_rows=st.integers(4, 16))
def test_no_step_exceeds_the_row_budget(arrivals, max_rows):
    bench = EngineBench(max_batch_rows=max_rows)
    _play(bench, arrivals)
    assert all(e.rows <= max_rows for e in bench.observer.events if isinstance(e, StepDone))


@settings(max_examples=40, deadline=None)
@given(arrivals=arrivals, max_rows=st.integers(2, 16), pinned=st.booleans())
def test_a_result_does_not_depend_on_its_batch_mates(arrivals, max_rows, pinned):
    bench = EngineBench(max_batch_rows=max_rows, pin_batch_rows=pinned)
    for arrival, _, sink in _play(bench, arrivals):
        if arrival.cancel_at_tick is None:
            assert sink.digests == bench.digests_alone(arrival.request)


@settings(max_examples=40, deadline=None)
@given(arrivals=arrivals, max_rows=st.integers(2, 16))
def test_previews_neither_change_a_picture_nor_depend_on_its_batch_mates(arrivals, max_rows):
    bench = EngineBench(max_batch_rows=max_rows)
    for arrival, job, sink in _play(bench, arrivals):
        if arrival.cancel_at_tick is not None:
            continue
        quiet = replace(arrival.request, num_previews=0)
        assert sink.digests == bench.digests_alone(quiet)
        alone = EngineBench(bench.model)
        _, watched = alone.submit(arrival.request)
        alone.run()
        assert len(sink.previews) == len(job.preview_steps) * arrival.request.num_images
        assert _previews(sink) == _previews(watched)


def _previews(sink):
    return {(image, index): shown.pixels_sha256 for image, index, shown in sink.previews}


def _play(bench, arrivals):
    """Run the arrivals to the end and return (arrival, job, sink) of each."""
    submitted = []
    for tick in range(2000):
        submitted += [(a, *bench.submit(a.request)) for a in arrivals if a.at_tick == tick]
        for arrival, job, _ in submitted:
            if arrival.cancel_at_tick is not None and tick >= arrival.cancel_at_tick:
                job.cancel_requested = True
        bench.loop.tick()
        if len(submitted) == len(arrivals) and bench.loop.is_idle:
            return submitted
    raise AssertionError("the engine did not become idle")
