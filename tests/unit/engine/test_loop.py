"""The engine admits, steps, decodes and ends requests; turned by hand, without threads."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import NumpyArrays
from models.errors import ModelOutOfMemory
from models.families.toy import ToyModel
from service.domain.events import Admitted, Outcome, StepDone
from service.errors import (
    Cancelled,
    DeadlineExceeded,
    DeviceOutOfMemory,
    Draining,
    InternalError,
    QueueFull,
)
from tests.factories import EngineBench, make_request


def test_a_request_ends_with_its_images_in_order():
    bench = EngineBench()
    _, sink = bench.submit(make_request(num_images=3, seed=10))
    bench.run()
    assert [image.seed for image in sink.images] == [10, 11, 12]
    assert sink.images[0].pixels.shape == (64, 64, 3)


def test_image_i_of_a_request_equals_a_request_of_its_own_with_seed_plus_i():
    bench = EngineBench()
    _, sink = bench.submit(make_request(num_images=3, seed=10))
    bench.run()
    assert sink.digests[2:] == bench.digests_alone(make_request(seed=12))


def test_a_newcomer_joins_a_running_batch_at_the_next_step():
    bench = EngineBench()
    bench.submit(make_request(steps=10))
    bench.loop.tick()
    bench.submit(make_request(steps=2, seed=8))
    bench.loop.tick()
    steps = [event for event in bench.observer.events if isinstance(event, StepDone)]
    assert [step.images for step in steps] == [1, 2]


def test_a_short_request_leaves_before_a_long_one_it_runs_beside():
    bench = EngineBench()
    _, long_sink = bench.submit(make_request(steps=20))
    _, short_sink = bench.submit(make_request(steps=2))
    for _ in range(4):
        bench.loop.tick()
    assert short_sink.results
    assert not long_sink.results


def test_guided_images_take_two_rows_and_others_one():
    bench = EngineBench()
    bench.submit(make_request(guidance=5.0))
    bench.submit(make_request(guidance=1.0))
    bench.loop.tick()
    (step,) = [event for event in bench.observer.events if isinstance(event, StepDone)]
    assert (step.images, step.rows) == (2, 3)


def test_the_row_budget_is_never_exceeded():
    bench = EngineBench(max_batch_rows=6)
    for seed in range(10):
        bench.submit(make_request(seed=seed, num_images=2))
    bench.run()
    rows = [event.rows for event in bench.observer.events if isinstance(event, StepDone)]
    assert max(rows) == 6


def test_an_image_larger_than_the_budget_still_runs_alone():
    bench = EngineBench(max_batch_rows=2)
    _, sink = bench.submit(make_request(size=(96, 64)))
    bench.run()
    assert len(sink.digests) == 1


def test_sizes_take_turns():
    bench = EngineBench()
    bench.submit(make_request(steps=6))
    bench.submit(make_request(steps=6, size=(96, 64)))
    bench.run()
    keys = [event.batch_key for event in bench.observer.events if isinstance(event, StepDone)]
    assert keys[:4].count(keys[0]) == 2


def test_a_cancelled_request_frees_its_slot_before_the_next_step():
    bench = EngineBench()
    job, sink = bench.submit(make_request(steps=20))
    bench.loop.tick()
    job.cancel_requested = True
    bench.loop.tick()
    assert isinstance(sink.error, Cancelled)
    assert job.steps_done == 1
    assert bench.loop.running_images == 0


def test_a_cancelled_request_leaves_the_queue_as_well():
    bench = EngineBench(max_batch_rows=2)
    bench.submit(make_request(steps=5))
    job, sink = bench.submit(make_request(num_images=4))
    bench.loop.tick()
    job.cancel_requested = True
    bench.loop.tick()
    assert isinstance(sink.error, Cancelled)
    assert bench.queue.depth == 0


def test_a_request_half_admitted_can_be_cancelled_whole():
    bench = EngineBench(max_batch_rows=4)
    job, sink = bench.submit(make_request(num_images=4))
    bench.loop.tick()
    assert bench.queue.depth == 2
    job.cancel_requested = True
    bench.loop.tick()
    assert bench.loop.is_idle
    assert len(sink.results) == 1


@pytest.mark.parametrize("ticks_before", [0, 1, 3])
def test_a_request_past_its_deadline_is_ended(ticks_before):
    bench = EngineBench()
    job, sink = bench.submit(make_request(steps=20), timeout_s=5.0)
    for _ in range(ticks_before):
        bench.loop.tick()
    bench.clock.now_s += 5.0
    bench.loop.tick()
    assert isinstance(sink.error, DeadlineExceeded)
    assert job.steps_done == ticks_before
    assert [event.outcome for event in bench.observer.finished(job.request_id)] == [Outcome.EXPIRED]


def test_neighbours_of_a_cancelled_request_keep_their_bits():
    bench = EngineBench()
    job, _ = bench.submit(make_request(seed=1, steps=8))
    _, sink = bench.submit(make_request(seed=2, steps=8, scheduler="euler_ancestral"))
    bench.loop.tick()
    job.cancel_requested = True
    bench.run()
    alone = make_request(seed=2, steps=8, scheduler="euler_ancestral")
    assert sink.digests == bench.digests_alone(alone)


def test_a_full_queue_refuses_and_keeps_what_it_has():
    bench = EngineBench(max_queued_images=2)
    _, sink = bench.submit(make_request(num_images=2))
    with pytest.raises(QueueFull) as refusal:
        bench.submit()
    assert refusal.value.retry_after_s == 1.0
    bench.run()
    assert len(sink.digests) == 2


def test_queue_seconds_end_when_the_first_image_joins():
    bench = EngineBench(max_batch_rows=2)
    bench.submit(make_request(steps=3))
    job, _ = bench.submit(make_request(steps=3))
    bench.loop.tick()
    bench.clock.now_s += 2.0
    bench.run()
    waits = {e.request_id: e.queued_s for e in bench.observer.events if isinstance(e, Admitted)}
    assert waits[job.request_id] == 2.0


class Poison(Exception):
    """What the toy raises for a poisoned row."""


def poisoned_model(error: Exception) -> ToyModel:
    """Fail every call that contains a row whose latents came from the poisoned seed."""
    from models.noise import initial_noise

    poison = initial_noise(666, (4, 16, 16))[0, 0, 0]

    def on_denoise(latents: np.ndarray, timesteps: np.ndarray) -> None:
        if np.isclose(latents[:, 0, 0, 0], poison).any():
            raise error

    return ToyModel(on_denoise=on_denoise)


def test_a_failing_request_does_not_take_its_neighbours_along():
    bench = EngineBench(poisoned_model(Poison()))
    _, bad = bench.submit(make_request(seed=666))
    _, good = bench.submit(make_request(seed=1))
    bench.run()
    assert isinstance(bad.error, InternalError)
    assert good.digests == bench.digests_alone(make_request(seed=1))


@pytest.mark.parametrize("error", [ModelOutOfMemory("no room"), MemoryError("no room")])
def test_a_request_that_cannot_be_prepared_takes_no_slot_with_it(error):
    class FullArrays(NumpyArrays):
        failures_left = 3

        def from_numpy(self, values):
            if self.failures_left:
                self.failures_left -= 1
                raise error
            return super().from_numpy(values)

    model = ToyModel()
    model.arrays = FullArrays()
    bench = EngineBench(model, max_batch_rows=2)  # two slots, three failures
    for _ in range(3):
        _, bad = bench.submit(make_request(guidance=1.0))
        bench.run()
        assert isinstance(bad.error, DeviceOutOfMemory)
    sinks = [bench.submit(make_request(guidance=1.0, seed=seed))[1] for seed in range(2)]
    bench.run()
    assert all(len(sink.digests) == 1 for sink in sinks)


def test_out_of_memory_is_told_apart_and_survived():
    bench = EngineBench(poisoned_model(ModelOutOfMemory("8 GiB wanted")))
    _, bad = bench.submit(make_request(seed=666))
    bench.run()
    assert isinstance(bad.error, DeviceOutOfMemory)
    _, good = bench.submit(make_request(seed=1))
    bench.run()
    assert len(good.digests) == 1


def test_an_internal_error_shows_no_details():
    bench = EngineBench(poisoned_model(Poison("secret path")))
    _, bad = bench.submit(make_request(seed=666))
    bench.run()
    assert "secret" not in bad.error.message


def test_a_failing_decoder_ends_the_request_and_frees_all_its_slots():
    def on_decode(latents: np.ndarray) -> None:
        raise Poison

    bench = EngineBench(ToyModel(on_decode=on_decode))
    _, sink = bench.submit(make_request(num_images=3))
    bench.run()
    assert isinstance(sink.error, InternalError)
    assert bench.loop.running_images == 0


def test_latents_that_are_not_finite_become_an_error_and_not_a_picture():
    class BrokenModel(ToyModel):
        def denoise(self, latents, timesteps, prompt_embeds, inpainting=None):
            return np.full_like(latents, np.nan)

    bench = EngineBench(BrokenModel())
    _, sink = bench.submit()
    bench.run()
    assert isinstance(sink.error, InternalError)


def test_stopping_answers_everyone():
    bench = EngineBench(max_batch_rows=2)
    sinks = [bench.submit(make_request(seed=seed))[1] for seed in range(3)]
    bench.loop.tick()
    bench.loop.stop(1.0)
    assert all(isinstance(sink.error, Draining) for sink in sinks)


def test_progress_counts_steps_over_all_images():
    bench = EngineBench(max_batch_rows=4)
    job, _ = bench.submit(make_request(num_images=3, steps=4))
    bench.loop.tick()
    progress = job.progress(bench.queue.images_ahead_of(job))
    assert (progress.steps_done, progress.steps_total) == (2, 12)
