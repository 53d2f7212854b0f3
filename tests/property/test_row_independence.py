"""A row's result is the same to the last bit whoever shares the batch with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import NumpyArrays
from models.guidance import apply_guidance
from models.noise import initial_noise, step_noise
from models.schedules.catalog import compile_solver, scheduler_names
from models.schedules.config import NoiseScheduleConfig
from models.schedules.solvers import Column
from models.stepping import advance

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIG = NoiseScheduleConfig.from_dict(
    {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    }
)
SHAPE = (4, 3, 5)  # not a multiple of any vector width
ARRAYS = NumpyArrays()

# One image: its scheduler, steps in all, steps already taken when it joins, and seed.
images = st.tuples(
    st.sampled_from(scheduler_names(CONFIG)),
    st.integers(1, 12),
    st.integers(0, 11),
    st.integers(0, 2**63 - 1),
)
weights = st.floats(0, 20, width=32)
rescales = st.one_of(st.just(0.0), st.floats(0, 1, width=32))


def column(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None, None, None]


def step(batch: list[tuple[str, int, int, int]]) -> tuple[Any, Any]:
    """Advance a batch by one step, leaving out what nobody in it needs."""
    rows = np.stack(
        [
            compile_solver(name, num_steps, CONFIG).coefficients[at % num_steps]
            for name, num_steps, at, _ in batch
        ]
    )
    x = np.stack([initial_noise(seed, SHAPE) for *_, seed in batch])
    x[:, 0, 0] = -0.0
    out = np.tanh(x)
    history = noise = None
    if rows[:, [Column.C, Column.P, Column.Q]].any():
        history = np.stack([initial_noise(seed // 2, SHAPE) for *_, seed in batch])
    if rows[:, Column.D].any():
        noise = np.stack([step_noise(seed, at, SHAPE) for *_, at, seed in batch])
    columns = [column(rows[:, i]) for i in range(Column.A, len(Column))]
    return advance(x, out, history, noise, columns)


@settings(max_examples=150, deadline=None)
@given(st.lists(images, min_size=1, max_size=9), st.data())
def test_advance_gives_each_row_the_bits_it_would_have_alone(batch, data):
    chosen = data.draw(st.integers(0, len(batch) - 1))
    name, *_ = batch[chosen]

    x_mixed, history_mixed = step(batch)
    x_alone, history_alone = step([batch[chosen]])

    assert x_mixed[chosen].tobytes() == x_alone[0].tobytes()
    if name.startswith("dpmpp"):
        assert history_mixed[chosen].tobytes() == history_alone[0].tobytes()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**63 - 1), weights, rescales), min_size=1, max_size=9),
    st.data(),
)
def test_guidance_gives_each_row_the_bits_it_would_have_alone(batch, data):
    def guide(rows: list[tuple[int, float, float]]) -> Any:
        cond = np.stack([initial_noise(seed, SHAPE) for seed, _, _ in rows])
        uncond = np.stack([step_noise(seed, 0, SHAPE) for seed, _, _ in rows])
        cond[:, 1, 1], uncond[:, 1, 1] = -0.0, -0.0
        scale = column(np.array([scale for _, scale, _ in rows]))
        rescale = column(np.array([rescale for _, _, rescale in rows]))
        return apply_guidance(
            cond, uncond, scale, rescale if rescale.any() else None, ARRAYS.row_std
        )

    chosen = data.draw(st.integers(0, len(batch) - 1))

    assert guide(batch)[chosen].tobytes() == guide([batch[chosen]])[0].tobytes()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 17), st.integers(0, 16), st.integers(0, 2**63 - 1))
def test_row_std_does_not_see_the_other_rows(num_rows, chosen, seed):
    values = np.stack([initial_noise(seed // (i + 1), SHAPE) for i in range(num_rows)])
    row = values[chosen % num_rows]

    # Also with another memory layout: a slice of something larger.
    strided = np.zeros((*values.shape[:-1], values.shape[-1] * 2), np.float32)
    strided[..., ::2] = values

    alone = ARRAYS.row_std(row[None].copy())
    assert ARRAYS.row_std(values)[chosen % num_rows].tobytes() == alone.tobytes()
    assert ARRAYS.row_std(strided[..., ::2])[chosen % num_rows].tobytes() == alone.tobytes()
