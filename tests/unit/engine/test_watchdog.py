"""The watchdog tells a call that hangs from one that takes long; queued work is arithmetic."""

from __future__ import annotations

import pytest

from models.families.toy import ToyModel
from service.engine.request_state import BatchKey
from service.engine.watchdog import Stall, Watchdog
from service.engine.work import StepTimes
from tests.factories import EngineBench, FakeClock, make_request

SMALL = BatchKey("toy", (4, 16, 16))
LARGE = BatchKey("toy", (4, 32, 16))
OTHER = BatchKey("other", (4, 16, 16))


@pytest.fixture
def clock():
    return FakeClock()


def watchdog(clock, limit_s=None, times=None):
    return Watchdog(clock, limit_s, times or StepTimes())


def test_a_call_may_take_as_long_as_it_is_allowed_and_no_longer(clock):
    dog = watchdog(clock, limit_s=2.0)
    dog.enter("a step")
    clock.now_s += 2.0
    assert dog.stall() is None
    clock.now_s += 0.5
    stall = dog.stall()
    assert stall is not None
    assert (stall.call, stall.for_s, stall.allowed_s) == ("a step", 2.5, 2.0)


def test_many_slow_calls_are_no_stall(clock):
    dog = watchdog(clock, limit_s=2.0)
    for _ in range(10):
        dog.enter("a step")
        clock.now_s += 1.9
        assert dog.stall() is None


def test_whoever_rests_is_not_stuck(clock):
    dog = watchdog(clock, limit_s=2.0)
    dog.enter("a step")
    dog.rest()
    clock.now_s += 1e6
    assert dog.stall() is None


def test_without_a_limit_a_call_may_take_fifty_steps_and_a_minute_at_least():
    times = StepTimes()
    dog = watchdog(FakeClock(), times=times)
    assert dog.allowed_s == 60
    times.expect(4.0)  # the warm-up, while nothing is measured
    assert dog.allowed_s == 200
    times.note(SMALL, rows=2, step_s=0.1)
    assert dog.allowed_s == 60
    times.note(LARGE, rows=2, step_s=3.0)
    assert dog.allowed_s == 150


def test_step_times_follow_what_is_measured():
    times = StepTimes()
    times.note(SMALL, rows=4, step_s=0.4)
    assert times.row_s(SMALL) == pytest.approx(0.1)
    times.note(SMALL, rows=2, step_s=0.4)
    assert times.row_s(SMALL) == pytest.approx(0.1 + 0.1 * (0.2 - 0.1))


def test_what_has_not_been_drawn_yet_counts_like_its_nearest_kin():
    times = StepTimes()
    assert times.row_s(LARGE) == 0
    times.note(OTHER, rows=1, step_s=1.0)
    assert times.row_s(LARGE) == pytest.approx(2.0)  # twice the positions, at another model's cost
    times.note(SMALL, rows=1, step_s=0.1)
    assert times.row_s(LARGE) == pytest.approx(0.2)


class SlowModel(ToyModel):
    """Takes `row_s` seconds a row, on a clock that only it moves."""

    def __init__(self, row_s: float) -> None:
        super().__init__(on_denoise=self._take_time)
        self.clock: FakeClock | None = None
        self._row_s = row_s

    def _take_time(self, latents, _):
        assert self.clock is not None
        self.clock.now_s += self._row_s * len(latents)


def slow_bench(row_s=0.5, **settings):
    model = SlowModel(row_s)
    bench = EngineBench(model, **settings)
    model.clock = bench.clock
    return bench


def test_queued_work_is_rows_times_steps_left_times_seconds_a_row():
    bench = slow_bench(max_batch_rows=4)
    assert bench.loop.seconds_of_work() == 0
    bench.submit(make_request(steps=4, guidance=3.0))  # 2 rows
    bench.submit(make_request(steps=10, guidance=0.0, num_images=3))  # 1 row each
    assert bench.loop.seconds_of_work() == 0  # nothing is measured yet
    bench.loop.tick()  # 4 rows: the first image and two of the second request
    running = 2 * 3 + 2 * 9
    waiting = 1 * 10
    assert bench.loop.seconds_of_work() == pytest.approx(0.5 * (running + waiting))
    began_s = bench.clock.now_s
    bench.run(100)
    assert bench.clock.now_s - began_s == pytest.approx(0.5 * (running + waiting))
    assert bench.loop.seconds_of_work() == 0


def test_a_slow_engine_that_moves_is_never_stuck():
    bench = slow_bench(row_s=25.0)  # 50 s a step, at 60 s allowed
    bench.submit(make_request(steps=8))
    while not bench.loop.is_idle:
        bench.loop.tick()
        assert bench.loop.stall() is None


def test_a_step_that_hangs_is_named():
    stalls: list[Stall | None] = []

    def look(latents, _):
        bench.clock.now_s += 61
        stalls.append(bench.loop.stall())

    bench = EngineBench(ToyModel(on_denoise=look))
    bench.submit(make_request())
    bench.loop.tick()
    (stall,) = stalls
    assert stall is not None
    assert stall.call == "a step of 2 rows of toy/4x16x16"
    assert bench.loop.stall() is None  # it came back after all


@pytest.mark.parametrize("where", ["on_decode", "encode"])
def test_other_calls_of_the_model_are_watched_as_well(where):
    calls: list[str | None] = []

    def hang(*_):
        bench.clock.now_s += 61
        stall = bench.loop.stall()
        calls.append(None if stall is None else stall.call)

    class Encoding(ToyModel):
        def encode_prompt(self, text):
            hang()
            return super().encode_prompt(text)

    model = Encoding() if where == "encode" else ToyModel(on_decode=hang)
    bench = EngineBench(model)
    bench.submit(make_request(steps=1), timeout_s=1e6)
    bench.run()
    wanted = "decoding an image of" if where == "on_decode" else "preparing an image for"
    assert calls[0] == f"{wanted} toy/4x16x16"
