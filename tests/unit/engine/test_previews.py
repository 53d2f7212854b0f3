"""Previews show the denoised estimate on the way, and change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.families.toy import ToyModel, toy_spec
from service.engine.previews import preview_steps
from tests.factories import EngineBench, RecordingSink, make_request, make_source


@pytest.mark.parametrize(
    ("num_steps", "num_previews", "steps"),
    [
        (20, 0, ()),
        (20, 1, (10,)),
        (20, 2, (7, 13)),
        (20, 3, (5, 10, 15)),
        (4, 3, (1, 2, 3)),
        (2, 3, (1,)),
        (1, 3, ()),
        (1, 1, ()),
    ],
)
def test_previews_are_spread_over_the_steps_and_fewer_when_steps_are_few(
    num_steps, num_previews, steps
):
    assert preview_steps(num_steps, num_previews) == steps


@pytest.mark.parametrize("scheduler", toy_spec().schedulers)
@pytest.mark.parametrize("masked", [None, False, True])
def test_a_picture_has_the_same_bits_with_and_without_previews(scheduler, masked):
    source = None if masked is None else make_source(strength=0.8, masked=masked)
    request = make_request(steps=8, scheduler=scheduler, source=source, num_images=2)
    bench = EngineBench()
    _, watched = bench.submit(replace(request, num_previews=3))
    bench.run()
    assert len(watched.previews) == 6
    assert watched.digests == bench.digests_alone(request)


@pytest.mark.parametrize("scheduler", toy_spec().schedulers)
def test_previews_come_closer_to_the_picture(scheduler):
    bench = EngineBench()
    _, sink = bench.submit(
        make_request(steps=40, scheduler=scheduler, guidance=1.0, num_previews=3)
    )
    bench.run()
    final = sink.images[0].pixels.astype(int)
    distances = [np.abs(image.pixels.astype(int) - final).mean() for _, _, image in sink.previews]
    assert [index for _, index, _ in sink.previews] == [0, 1, 2]
    assert distances[0] > distances[2]
    assert distances[0] < 48  # an estimate, not noise, from the first on


def test_a_preview_of_a_masked_edit_keeps_what_the_mask_keeps():
    source = make_source(strength=1.0, masked=True)
    bench = EngineBench()
    _, sink = bench.submit(make_request(steps=8, source=source, num_previews=1))
    bench.run()
    ((_, _, preview),) = sink.previews
    kept = source.mask == 0
    assert (preview.pixels[kept] == source.pixels[kept]).all()


def test_previews_come_before_their_picture_and_steps_are_counted():
    order: list[tuple[str, int] | tuple[str, int, int]] = []
    bench = EngineBench()
    job, _ = bench.submit(make_request(steps=4, num_images=2, num_previews=3))

    class Watcher(RecordingSink):
        def progressed(self, steps_done, steps_total):
            order.append(("steps", steps_done, steps_total))

        def preview(self, image_index, partial_index, image):
            order.append(("preview", image_index, partial_index))

        def finished(self, image_index, image):
            order.append(("finished", image_index))
            super().finished(image_index, image)

    job.sink = Watcher()
    bench.run()
    for image in range(2):
        mine = [event for event in order if event[0] != "steps" and event[1] == image]
        previews = [("preview", image, index) for index in range(3)]
        assert mine == [*previews, ("finished", image)]
    assert [event for event in order if event[0] == "steps"][-1] == ("steps", 8, 8)


def test_a_preview_that_cannot_be_decoded_is_left_out_and_the_picture_comes():
    calls = []

    def fail_first(latents):
        calls.append(latents)
        if len(calls) == 1:
            raise MemoryError("no room for a preview")

    bench = EngineBench(ToyModel(on_decode=fail_first))
    request = make_request(steps=6, num_previews=2)
    _, sink = bench.submit(request)
    bench.run()
    assert [index for _, index, _ in sink.previews] == [1]
    assert sink.digests == EngineBench().digests_alone(request)


def test_a_cancelled_request_leaves_no_preview_behind():
    bench = EngineBench()
    job, sink = bench.submit(make_request(steps=4, num_images=4, num_previews=3))
    bench.loop.tick()
    job.cancel_requested = True
    bench.loop.tick()
    assert bench.loop.is_idle
    assert len(sink.results) == 1
