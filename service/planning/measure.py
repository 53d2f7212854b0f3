"""Measures a loaded model, step by step as the engine takes them, for a profile."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.domain.result import DecodedImage
from service.planning.profile import ShapeProfile, StepTiming, Timing
from service.planning.stepping import SteppingBatch
from service.planning.workload import largest_call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.interface import DiffusionModel

_NEW_TEXTS = "a picture that nobody has asked for, number "


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """`sizes_px`: to measure. `max_rows`: row budget to cover; `is_pinned`: by padded calls too.

    `rounds`: samples of each figure, taken in turns, so that a busy neighbour slows all of them;
    one more before does not count. `burst`: steps of a sample.
    """

    sizes_px: tuple[tuple[int, int], ...]
    max_rows: int
    rounds: int = 7
    burst: int = 3
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What depends on the device and the model."""

    encode_prompt: Timing
    shapes: tuple[ShapeProfile, ...]


def measure(
    model: DiffusionModel,
    mark: Callable[[DecodedImage], object],
    plan: MeasurePlan,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Return the times of a model. Blocking; the device should have nothing else to do.

    mark: what the service does with a picture before it leaves; called in a second thread.
    on_progress: told what begins.
    """
    points = _Points(model, plan)
    samples: dict[str, list[float]] = {}
    for number in range(plan.rounds + 1):
        on_progress(f"round {number + 1} of {plan.rounds + 1}: steps, decoding, text")
        for name, take in points.takes.items():
            seconds = take()
            if number:  # the first one warms up
                samples.setdefault(name, []).append(seconds)
    shapes = []
    for size in plan.sizes_px:
        on_progress(f"marking at {size[0]}x{size[1]}")
        shapes.append(_shape(model, mark, plan, size, samples))
    return Measured(_timing(samples["encode"]), tuple(shapes))


class _Points:
    """Everything that is sampled in turns, by name."""

    def __init__(self, model: DiffusionModel, plan: MeasurePlan) -> None:
        self._model = model
        self._texts = 0
        self.takes: dict[str, Callable[[], float]] = {"encode": self._encode}
        for size in plan.sizes_px:
            self.takes[f"decode {size}"] = self._decoding(size)
            for rows in _row_counts(model, plan, size):
                batch = SteppingBatch(model, size, rows)
                self.takes[f"step {size} {rows}"] = _bursts(batch, plan.burst)

    def _encode(self) -> float:
        self._texts += 1
        began_s = time.perf_counter()
        embeds = self._model.encode_prompt(f"{_NEW_TEXTS}{self._texts}")
        self._model.arrays.to_numpy(embeds)
        return time.perf_counter() - began_s

    def _decoding(self, size: tuple[int, int]) -> Callable[[], float]:
        latents = self._model.arrays.zeros((1, *self._model.spec.latent.shape(*size)))

        def decode() -> float:
            began_s = time.perf_counter()
            self._model.decode(latents)
            return time.perf_counter() - began_s

        return decode


def _bursts(batch: SteppingBatch, burst: int) -> Callable[[], float]:
    return lambda: batch.take(burst) / burst


def _row_counts(model: DiffusionModel, plan: MeasurePlan, size: tuple[int, int]) -> tuple[int, ...]:
    """Return the batch sizes to measure: 1, 2, 3, 4, 6, 8, 12 … and the largest there can be."""
    _, height, width = model.spec.latent.shape(*size)
    _, native_height, native_width = model.spec.latent.shape(*model.spec.default_size_px)
    most = largest_call(plan.max_rows, height * width, native_height * native_width)
    if plan.is_pinned:
        most = max(most, plan.max_rows)
    counts = {1, most}
    power = 2
    while power < most:
        counts |= {power, power * 3 // 2}
        power *= 2
    return tuple(sorted(rows for rows in counts if rows <= most))


def _shape(
    model: DiffusionModel,
    mark: Callable[[DecodedImage], object],
    plan: MeasurePlan,
    size: tuple[int, int],
    samples: dict[str, list[float]],
) -> ShapeProfile:
    rows = _row_counts(model, plan, size)
    steps = tuple(
        StepTiming(rows=each, step=_timing(samples[f"step {size} {each}"])) for each in rows
    )
    marks_s, delay_s = _measure_marking(
        SteppingBatch(model, size, rows[-1]), lambda: mark(_picture(size)), plan.rounds
    )
    _, height, width = model.spec.latent.shape(*size)
    return ShapeProfile(
        width_px=size[0],
        height_px=size[1],
        latent_positions=height * width,
        steps=steps,
        decode=_timing(samples[f"decode {size}"]),
        mark=_timing(marks_s),
        mark_delay_s=delay_s,
    )


def _measure_marking(
    batch: SteppingBatch, mark: Callable[[], object], rounds: int
) -> tuple[list[float], float]:
    """Return the seconds of marks taken while a batch steps, and how much each delays the steps.

    Steps alone and steps beside marking take turns, since both see the same neighbours.
    """
    mark()  # warm-up
    marks_s: list[float] = []
    alone_s: list[float] = []
    beside_s: list[float] = []
    while len(marks_s) < rounds or len(beside_s) < rounds:
        alone_s.append(batch.take(1))
        beside_s += _steps_beside(batch, mark, marks_s)
    slower_s = statistics.median(beside_s) - statistics.median(alone_s)
    return marks_s, max(0.0, slower_s * len(beside_s) / len(marks_s))


def _steps_beside(
    batch: SteppingBatch, mark: Callable[[], object], marks_s: list[float]
) -> list[float]:
    """Step until a picture has been marked, which goes on as long as the last step."""
    is_over = threading.Event()
    is_marked = threading.Event()

    def keep_marking() -> None:
        while not is_over.is_set():
            began_s = time.perf_counter()
            mark()
            marks_s.append(time.perf_counter() - began_s)
            is_marked.set()

    thread = threading.Thread(target=keep_marking, name="marking")
    thread.start()
    steps_s: list[float] = []
    try:
        while not is_marked.is_set() or not steps_s:
            steps_s.append(batch.take(1))
            if not thread.is_alive():
                raise RuntimeError("The picture could not be marked.")
    finally:
        is_over.set()
        thread.join()
    return steps_s


def _picture(size: tuple[int, int]) -> DecodedImage:
    """Return a smooth picture with a little grain, as generated ones are."""
    width_px, height_px = size
    rng = np.random.default_rng(0)
    across = np.linspace(40, 200, width_px)[None, :, None]
    down = np.linspace(0, 40, height_px)[:, None, None]
    grain = rng.normal(0.0, 3.0, (height_px, width_px, 3))
    pixels = np.clip(across + down + grain, 0, 255).astype(np.uint8)
    return DecodedImage(pixels, "0" * 64, seed=0)


def _timing(samples: Sequence[float]) -> Timing:
    return Timing(
        median_s=statistics.median(samples),
        min_s=min(samples),
        max_s=max(samples),
        samples=len(samples),
    )
