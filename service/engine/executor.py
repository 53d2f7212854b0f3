"""One denoising step of a mixed batch: gather, denoise, guide, advance, scatter (stop 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.guidance import apply_guidance
from models.noise import initial_noise, step_noise
from models.schedules.solvers import Column
from models.stepping import advance
from service.engine.request_state import ImageState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.interface import Array, DiffusionModel
    from service.engine.batching import StepBatch
    from service.engine.request_state import BatchKey, Job


_HISTORY = [Column.C, Column.P, Column.Q]


class SlotTable:
    """Latents `x` and solver history `h` of the running images of one key, on the device.

    Both are (capacity, C, height, width) float32; an image keeps its row from admission to decode.
    """

    def __init__(self, model: DiffusionModel, key: BatchKey, capacity: int) -> None:
        self.x: Array = model.arrays.zeros((capacity, *key.latent_shape))
        self.h: Array = model.arrays.zeros((capacity, *key.latent_shape))
        self._free = list(range(capacity - 1, -1, -1))
        self._capacity = capacity

    @property
    def is_unused(self) -> bool:
        """Tell whether no image holds a slot."""
        return len(self._free) == self._capacity

    def acquire(self) -> int:
        """Return a free slot. Raises IndexError when there is none."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._free.append(slot)


class StepExecutor:
    """Runs the tensor work of one model. Used by the engine thread only.

    `max_rows`: rows of the largest call; `pin_rows`: pad every call to it, so that kernels chosen
    by batch size are always the same ones.
    """

    def __init__(self, model: DiffusionModel, max_rows: int, *, pin_rows: bool) -> None:
        self._model = model
        self._max_rows = max_rows
        self._pin_rows = pin_rows
        self._tables: dict[BatchKey, SlotTable] = {}

    def join(self, job: Job, image_index: int) -> ImageState:
        """Prepare one image: prompt embeddings, a slot, its starting noise.

        Whatever fails, no slot stays taken.
        """
        request = job.request
        prompt_embeds = self._model.encode_prompt(request.prompt)
        is_guided = job.is_guided
        negative = self._model.encode_prompt(request.negative_prompt) if is_guided else None
        table = self._tables.get(job.key)
        if table is None:
            table = self._tables[job.key] = SlotTable(self._model, job.key, self._max_rows)
        state = ImageState(job, image_index, table.acquire(), prompt_embeds, negative)
        try:
            self._fill(table, state)
        except BaseException:
            self.leave(state)
            raise
        return state

    def _fill(self, table: SlotTable, state: ImageState) -> None:
        job = state.job
        noise = initial_noise(state.seed, job.key.latent_shape)
        start = noise * np.float32(job.table.init_noise_scale)
        row = self._model.arrays.index([state.slot])
        table.x[row] = self._model.arrays.from_numpy(start[None])
        table.h[row] = self._model.arrays.zeros((1, *job.key.latent_shape))

    def leave(self, state: ImageState) -> None:
        """Free the slot of an image that is finished or given up."""
        table = self._tables[state.key]
        table.release(state.slot)
        if table.is_unused:  # sizes come and go: keep no buffers for one that nobody draws
            del self._tables[state.key]

    def run(self, batch: StepBatch) -> None:
        """Take one step for every image of `batch`.

        Nothing is written before the denoiser has answered, so after an exception every image
        still stands before this step and can be run again.
        """
        arrays = self._model.arrays
        table = self._tables[batch.key]
        states = batch.states
        rows = arrays.index([state.slot for state in states])
        latents = table.x[rows]
        steps = np.stack([_coefficients(state) for state in states]).astype(np.float32)
        scale, _, *update = [arrays.from_numpy(_column(steps[:, i])) for i in range(steps.shape[1])]
        output = self._predict(states, scale * latents, steps[:, Column.T])
        history = table.h[rows] if steps[:, _HISTORY].any() else None
        noise = self._noise(states) if steps[:, Column.D].any() else None
        table.x[rows], history = advance(latents, output, history, noise, update)
        if history is not None:
            table.h[rows] = history
        for state in states:
            state.step_index += 1
            state.job.steps_done += 1

    def decode(self, state: ImageState) -> NDArray[np.uint8]:
        """Return the finished pixels (height, width, 3) of one image.

        Raises FloatingPointError when its latents are not finite: a broken picture is an error,
        not a black square.
        """
        table = self._tables[state.key]
        latents = table.x[self._model.arrays.index([state.slot])]
        if not np.isfinite(self._model.arrays.to_numpy(latents)).all():
            raise FloatingPointError("latents are not finite")
        pixels: NDArray[np.uint8] = self._model.decode(latents)[0]
        return pixels

    def _predict(
        self, states: Sequence[ImageState], scaled: Array, timesteps: NDArray[np.float32]
    ) -> Array:
        """Call the denoiser once for all rows and combine guided pairs."""
        arrays = self._model.arrays
        guided = [i for i, state in enumerate(states) if state.job.is_guided]
        embeds = [state.prompt_embeds for state in states]
        embeds += [states[i].negative_embeds for i in guided]
        inputs = [scaled, scaled[arrays.index(guided)]] if guided else [scaled]
        times = np.concatenate([timesteps, timesteps[guided]]) if guided else timesteps
        count = len(embeds)
        if self._pin_rows and count < self._max_rows:
            padding = self._max_rows - count
            embeds += [embeds[-1]] * padding
            inputs += [inputs[0][:1]] * padding
            times = np.concatenate([times, np.full(padding, times[0], np.float32)])
        rows = inputs[0] if len(inputs) == 1 else arrays.concat(inputs)
        output = self._model.denoise(rows, times, arrays.concat(embeds))
        predicted = output[: len(states)]
        if guided:
            pairs = arrays.index(guided)
            uncond = output[len(states) : count]
            predicted[pairs] = self._guide(states, guided, predicted[pairs], uncond)
        return predicted

    def _guide(
        self, states: Sequence[ImageState], guided: Sequence[int], cond: Array, uncond: Array
    ) -> Array:
        sampling = [states[i].job.request.sampling for i in guided]
        arrays = self._model.arrays
        scale = np.array([params.guidance_scale for params in sampling], np.float32)
        rescale = np.array([params.guidance_rescale for params in sampling], np.float32)
        return apply_guidance(
            cond,
            uncond,
            arrays.from_numpy(_column(scale)),
            arrays.from_numpy(_column(rescale)) if rescale.any() else None,
            arrays.row_std,
        )

    def _noise(self, states: Sequence[ImageState]) -> Array:
        """Return fresh noise for stochastic rows and zeros for the others."""
        draws = np.zeros((len(states), *states[0].key.latent_shape), np.float32)
        for row, state in enumerate(states):
            if _coefficients(state)[Column.D] != 0:
                draws[row] = step_noise(state.seed, state.step_index, state.key.latent_shape)
        return self._model.arrays.from_numpy(draws)


def _column(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape one value per row so that it multiplies latents."""
    return values[:, None, None, None]


def _coefficients(state: ImageState) -> NDArray[np.float64]:
    row: NDArray[np.float64] = state.job.table.coefficients[state.step_index]
    return row
