"""The simulated replica makes the engine's own calls: same batches, same order, same moments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.families.toy import ToyModel, toy_spec
from service.domain.events import Outcome
from service.errors import QueueFull
from service.planning.simulate import Ending, Limits
from tests.factories import EngineBench, make_request
from tests.unit.planning.kit import ReplicaBench, make_costs

# Binary fractions: sums of them are exact, so equal moments are equal numbers.
TICK_S = 1 / 64
JOIN_S = 1 / 128
DECODE_S = 3 / 128
SIZES = toy_spec().sizes_px
POSITIONS = {size: size[0] * size[1] // 16 for size in SIZES}


def step_table(size):
    return tuple((2 + rows) * POSITIONS[size] / 16384 for rows in range(17))


@dataclass(frozen=True)
class Asked:
    at_s: float
    steps: int
    guided: bool
    num_images: int
    size: tuple[int, int]


asked = st.builds(
    Asked,
    at_s=st.integers(0, 200).map(lambda ticks: ticks * TICK_S),
    steps=st.integers(1, 9),
    guided=st.booleans(),
    num_images=st.integers(1, 3),
    size=st.sampled_from(SIZES),
)


class TimedModel(ToyModel):
    """The toy on a virtual clock: each call is told to `spend` before it answers."""

    def __init__(self, spend, on_call):
        super().__init__(
            on_denoise=lambda latents, _: self._denoising(latents, spend, on_call),
            on_decode=lambda _: spend(DECODE_S),
        )
        self._spend = spend
        self._known = {""}

    def encode_prompt(self, text):
        if text not in self._known:
            self._known.add(text)
            self._spend(JOIN_S)
        return super().encode_prompt(text)

    @staticmethod
    def _denoising(latents, spend, on_call):
        rows, _, height, width = latents.shape
        on_call(rows)
        spend(step_table((width * 4, height * 4))[rows])


class TimedEngine(EngineBench):
    """The real engine, fed with arrivals while its virtual clock goes on."""

    def __init__(self, arrivals, limits):
        super().__init__(
            TimedModel(self._spend, self._call),
            max_batch_rows=limits.max_batch_rows,
            max_queued_images=limits.max_queued_images,
        )
        self.clock.now_s = 0.0
        self.answers = {}
        self.calls = []
        self._timeout_s = limits.request_timeout_s
        self._coming = deque(enumerate(arrivals))
        self._submitted = {}

    def play(self):
        while self._coming or not self.loop.is_idle:
            if self.loop.is_idle:
                self._go_to(max(self.clock.now_s, self._coming[0][1].at_s))
            self._tick()
        for number, (job, _) in self._submitted.items():
            (finished,) = self.observer.finished(job.request_id)
            ended_s = job.submitted_at_s + finished.total_s
            # Marking takes no time here, but a deadline holds for it as well.
            is_done = finished.outcome is Outcome.DONE and ended_s <= job.deadline.at_s
            self.answers[number] = (Ending.DONE if is_done else Ending.EXPIRED, ended_s)

    def _tick(self):
        before = {number: len(sink.steps) for number, (_, sink) in self._submitted.items()}
        count = len(self.calls)
        self.loop.tick()
        stepped = {
            number
            for number, (_, sink) in self._submitted.items()
            if len(sink.steps) > before.get(number, 0)
        }
        if len(self.calls) > count:
            self.calls[-1] += (stepped,)

    def _call(self, rows):
        self.calls.append((self.clock.now_s, rows))

    def _spend(self, seconds):
        self._go_to(self.clock.now_s + seconds)

    def _go_to(self, until_s):
        """Let time pass; requests are submitted at the moment they come."""
        while self._coming and self._coming[0][1].at_s <= until_s:
            number, arrival = self._coming.popleft()
            self.clock.now_s = arrival.at_s
            request = make_request(
                prompt=f"picture {number}",
                steps=arrival.steps,
                guidance=3.0 if arrival.guided else 1.0,
                num_images=arrival.num_images,
                size=arrival.size,
            )
            try:
                self._submitted[number] = self.submit(request, timeout_s=self._timeout_s)
            except QueueFull:
                self.answers[number] = (Ending.REFUSED, arrival.at_s)
        self.clock.now_s = until_s


def costs_of(arrival, limits):
    return make_costs(
        steps=arrival.steps,
        num_images=arrival.num_images,
        is_guided=arrival.guided,
        key=SIZES.index(arrival.size),
        positions=POSITIONS[arrival.size],
        native_positions=POSITIONS[toy_spec().default_size_px],
        step_s=step_table(arrival.size)[: limits.max_batch_rows + 1],
        join_s=JOIN_S,
        decode_s=DECODE_S,
    )


def crowd(count, *, every_s=0.0, **settings):
    first = Asked(at_s=0.0, steps=5, guided=True, num_images=1, size=SIZES[0])
    return [replace(first, at_s=number * every_s, **settings) for number in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(asked, min_size=1, max_size=12),
    max_rows=st.integers(2, 16),
    max_queued=st.integers(1, 20),
    timeout_ticks=st.sampled_from([30, 120, 100_000]),
)
@example(arrivals=crowd(12), max_rows=16, max_queued=4, timeout_ticks=100_000)
@example(arrivals=crowd(9, every_s=TICK_S), max_rows=6, max_queued=20, timeout_ticks=30)
@example(
    arrivals=crowd(3, every_s=0.25, steps=9) + crowd(1, size=SIZES[1]),
    max_rows=16,
    max_queued=20,
    timeout_ticks=100_000,
)
def test_a_replica_makes_the_engines_calls_and_gives_its_answers(
    arrivals, max_rows, max_queued, timeout_ticks
):
    arrivals = sorted(arrivals, key=lambda each: each.at_s)
    limits = Limits(max_rows, max_queued, timeout_ticks * TICK_S, marking_threads=1)
    engine = TimedEngine(arrivals, limits)
    engine.play()
    bench = ReplicaBench(limits)
    bench.play([(arrival.at_s, costs_of(arrival, limits)) for arrival in arrivals])
    assert bench.calls == engine.calls
    assert bench.answers == engine.answers
