"""Host time of one solver step for a batch: fused table update against one object per request.

Run: python -m loadtests.bench_step_overhead [--requests 8] [--rounds 9]
Both sides advance the same requests (DPM-Solver++(2M), v-prediction, latents 4x16x16) by one step
from the same network output; neither includes the network. Rounds alternate between the sides, so
a busy neighbour slows both. CPU time of this process, single-threaded; medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models.arrays import NumpyArrays
from models.schedules.catalog import compile_solver
from models.schedules.config import NoiseScheduleConfig
from models.schedules.solvers import Column
from models.stepping import advance

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (4, 16, 16)
NUM_INFERENCE_STEPS = 20
SCHEDULER_JSON = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}


def table_side(num_requests: int) -> Callable[[], None]:
    """Return a run of all steps of all requests: gather coefficients, one fused update a step."""
    arrays = NumpyArrays()
    config = NoiseScheduleConfig.from_dict(SCHEDULER_JSON)
    tables = [compile_solver("dpmpp_2m", NUM_INFERENCE_STEPS, config)] * num_requests
    start, out = draws(num_requests)

    def run() -> None:
        x: Any = start
        history: Any = arrays.zeros(start.shape)
        for step in range(NUM_INFERENCE_STEPS):
            rows = np.stack([table.coefficients[step] for table in tables]).astype(np.float32)
            columns = [arrays.from_numpy(rows[:, i, None, None, None]) for i in Column]
            columns[Column.S] * x  # the network's input, which diffusers scales too
            x, history = advance(x, out, history, None, columns[Column.A :])

    return run


def object_side(num_requests: int) -> Callable[[], None]:
    """Return the same run with one diffusers scheduler per request."""
    import torch
    from diffusers import DPMSolverMultistepScheduler

    torch.set_num_threads(1)
    stock: Any = DPMSolverMultistepScheduler
    schedulers = [stock.from_config(SCHEDULER_JSON) for _ in range(num_requests)]
    start, out = (torch.from_numpy(values) for values in draws(num_requests))

    def run() -> None:
        x = list(start[:, None])
        for scheduler in schedulers:  # back to the first step; also clears the history
            scheduler.set_timesteps(NUM_INFERENCE_STEPS)
        for step in range(NUM_INFERENCE_STEPS):
            for i, scheduler in enumerate(schedulers):
                t = scheduler.timesteps[step]
                scheduler.scale_model_input(x[i], t)
                x[i] = scheduler.step(out[i : i + 1], t, x[i], return_dict=False)[0]

    return run


def draws(num_requests: int) -> tuple[Any, Any]:
    """Return starting samples and network outputs, (requests, 4, 16, 16) each."""
    rng = np.random.default_rng(0)
    x, out = rng.standard_normal((2, num_requests, *SHAPE), np.float32)
    return x, out


def cpu_ms_per_step(run: Callable[[], None]) -> float:
    """Return the CPU time of one step of the whole batch, in milliseconds."""
    start_s = time.process_time()
    run()
    return (time.process_time() - start_s) * 1000 / NUM_INFERENCE_STEPS


def main() -> None:
    """Measure both sides in turn and print medians, ranges and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    sides = {
        "solver tables": table_side(options.requests),
        "diffusers objects": object_side(options.requests),
    }
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()  # imports, caches
    for _ in range(options.rounds):
        for name, run in sides.items():
            samples[name].append(cpu_ms_per_step(run))
    print(f"{options.requests} requests, CPU ms per step, median of {options.rounds} rounds")
    for name, values in samples.items():
        median = statistics.median(values)
        print(f"  {name:18} {median:.3f}  ({min(values):.3f} to {max(values):.3f})")
    ours, theirs = (statistics.median(values) for values in samples.values())
    print(f"  ratio              {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
