"""Profiles and costs whose times are what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from service.planning.batch import Job
from service.planning.profile import (
    DeviceFacts,
    ModelDescription,
    Profile,
    ShapeProfile,
    StepTiming,
    Timing,
)
from service.planning.simulate import Ending, Limits, Replica
from service.planning.workload import KindCosts, RequestKind

LIMITS = Limits(
    max_batch_rows=16, max_queued_images=256, request_timeout_s=1000.0, marking_threads=2
)


def timing(seconds: float) -> Timing:
    return Timing(median_s=seconds, min_s=seconds, max_s=seconds, samples=1)


def make_shape(
    width_px: int = 64,
    height_px: int = 64,
    *,
    curve: Sequence[tuple[int, float]] = ((2, 0.02), (4, 0.03), (16, 0.09)),
    decode_s: float = 0.01,
    mark_s: float = 0.02,
    mark_delay_s: float = 0.0,
) -> ShapeProfile:
    return ShapeProfile(
        width_px=width_px,
        height_px=height_px,
        latent_positions=width_px * height_px // 16,
        steps=tuple(StepTiming(rows=rows, step=timing(step_s)) for rows, step_s in curve),
        decode=timing(decode_s),
        mark=timing(mark_s),
        mark_delay_s=mark_delay_s,
    )


def make_profile(*shapes: ShapeProfile, encode_s: float = 0.005, load_s: float = 20.0) -> Profile:
    shapes = shapes or (make_shape(),)
    return Profile(
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        device=DeviceFacts(kind="cpu", name="a test", cpu_cores=2, load_average=0.0),
        model=ModelDescription(
            model_id="toy",
            revision="0" * 64,
            runner="onnx",
            dtype="float32",
            num_threads=None,
            default_steps=20,
            default_is_guided=True,
            native_size_px=(shapes[0].width_px, shapes[0].height_px),
        ),
        software={"numpy": "2"},
        load_s=load_s,
        encode_prompt=timing(encode_s),
        shapes=shapes,
    )


def make_costs(
    *,
    steps: int = 4,
    num_images: int = 1,
    is_guided: bool = True,
    key: int = 0,
    positions: int = 256,
    native_positions: int = 256,
    step_s: Sequence[float] = (0.0, *[0.25] * 16),
    join_s: float = 0.0,
    decode_s: float = 0.0,
    mark_s: float = 0.0,
    mark_delay_s: float = 0.0,
) -> KindCosts:
    kind = RequestKind(
        steps=steps, width_px=64, height_px=64, is_guided=is_guided, num_images=num_images
    )
    rows = 2 if is_guided else 1
    budget = rows * max(1.0, positions / native_positions)
    return KindCosts(
        kind=kind,
        key=key,
        positions=positions,
        rows=rows,
        budget=budget,
        most_images=max(1, int((len(step_s) - 1) // budget)),
        step_s=tuple(step_s),
        join_s=join_s,
        decode_s=decode_s,
        mark_s=mark_s,
        mark_delay_s=mark_delay_s,
    )


class ReplicaBench:
    """One replica that a test feeds; keeps its answers and its denoiser calls."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.answers: dict[int, tuple[Ending, float]] = {}
        self.calls: list[tuple[float, int, set[int]]] = []
        self._limits = limits
        self._count = 0
        self.replica = Replica(limits, self._answer, self._on_steps)

    def play(self, arrivals: Sequence[tuple[float, KindCosts]]) -> None:
        """Feed (arrival, costs) in order and run to the end."""
        self.play_until(float("inf"), arrivals)

    def play_until(self, until_s: float, arrivals: Sequence[tuple[float, KindCosts]]) -> None:
        """Feed (arrival, costs) in order and run up to a moment."""
        for at_s, costs in arrivals:
            self.run_before(at_s)
            job = Job(self._count, costs, at_s, at_s + self._limits.request_timeout_s)
            self._count += 1
            self.replica.put(job, at_s)
        self.run_before(until_s)

    def run_before(self, time_s: float) -> None:
        while self.replica.next_s < time_s:
            self.replica.act()

    def _answer(self, job, ending, at_s):
        assert job.number not in self.answers
        self.answers[job.number] = (ending, at_s)

    def _on_steps(self, steps):
        images = steps.group.images
        jobs = {image.job.number for image in images}
        rows = sum(image.job.costs.rows for image in images)
        for call in range(steps.count):
            self.calls.append((steps.start_s + call * steps.step_s, rows, jobs))
