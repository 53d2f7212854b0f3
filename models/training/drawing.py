"""Draws many pictures with a loaded model the way the service does, in plain batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.guidance import apply_guidance
from models.noise import initial_noise, step_noise
from models.schedules.solvers import Column
from models.stepping import advance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from models.interface import Array, DiffusionModel
    from models.spec import SamplingDefaults


@dataclass(frozen=True, slots=True)
class Order:
    """One picture to draw. seed: 0 .. 2**63-1."""

    prompt: str
    seed: int


def draw_pictures(
    model: DiffusionModel,
    orders: Sequence[Order],
    size_px: tuple[int, int],
    sampling: SamplingDefaults,
    batch_size: int,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of `orders` in order, (up to batch_size, height, width, 3) at a time.

    Equal to what the service draws for the same prompt, seed and settings with an empty negative
    prompt, as far as the runner keeps rows independent. size_px: (width, height).
    Raises FloatingPointError when latents are not finite.
    """
    for start in range(0, len(orders), batch_size):
        yield _draw_batch(model, orders[start : start + batch_size], size_px, sampling)


def _draw_batch(
    model: DiffusionModel,
    orders: Sequence[Order],
    size_px: tuple[int, int],
    sampling: SamplingDefaults,
) -> NDArray[np.uint8]:
    """Take every step for a whole batch, then decode it."""
    arrays = model.arrays
    shape = model.spec.latent.shape(*size_px)
    table = model.compile_solver(sampling.scheduler, sampling.num_inference_steps)
    embeds = arrays.concat([model.encode_prompt(order.prompt) for order in orders])
    empty = arrays.concat([model.encode_prompt("")] * len(orders))
    noise = np.stack([initial_noise(order.seed, shape) for order in orders])
    x = arrays.from_numpy(noise * np.float32(table.init_noise_scale))
    history = arrays.zeros(x.shape) if table.uses_history else None
    for index, row in enumerate(table.coefficients.astype(np.float32)):
        scale, _, *update = [_column(model, value, len(orders)) for value in row]
        times = np.full(len(orders), row[Column.T], np.float32)
        output = _predict(model, scale * x, times, (embeds, empty), sampling)
        fresh = None
        if row[Column.D] != 0:
            draws = [step_noise(order.seed, index, shape) for order in orders]
            fresh = arrays.from_numpy(np.stack(draws))
        x, history = advance(x, output, history, fresh, update)
    if not np.isfinite(arrays.to_numpy(x)).all():
        raise FloatingPointError("latents are not finite")
    return model.decode(x)


def _predict(
    model: DiffusionModel,
    scaled: Array,
    times: NDArray[np.float32],
    embeds: tuple[Array, Array],
    sampling: SamplingDefaults,
) -> Array:
    """Return the prediction, guided when the scale is above 1 as in diffusers."""
    arrays, count = model.arrays, len(times)
    if sampling.guidance_scale <= 1:
        return model.denoise(scaled, times, embeds[0])
    both = model.denoise(
        arrays.concat([scaled, scaled]), np.concatenate([times, times]), arrays.concat(embeds)
    )
    rescale = _column(model, sampling.guidance_rescale, count)
    return apply_guidance(
        both[:count],
        both[count:],
        _column(model, sampling.guidance_scale, count),
        rescale if sampling.guidance_rescale else None,
        arrays.row_std,
    )


def _column(model: DiffusionModel, value: float, count: int) -> Array:
    """Return one value for every row, (count, 1, 1, 1), on the device."""
    return model.arrays.from_numpy(np.full((count, 1, 1, 1), value, np.float32))
