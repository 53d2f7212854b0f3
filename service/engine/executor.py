"""One denoising step of a mixed batch: gather, denoise, guide, advance, scatter (stop 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.guidance import apply_guidance
from models.noise import initial_noise, step_noise
from models.schedules.solvers import Column
from models.stepping import advance
from service.domain.events import Encoded
from service.engine.editing import (
    encode_source,
    keep_outside,
    noised,
    paste_kept,
    starting_latents,
)
from service.engine.previews import Preview, take_preview
from service.engine.request_state import ImageState
from service.engine.slots import SlotTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.interface import Array, DiffusionModel
    from service.domain.events import Observer
    from service.engine.batching import StepBatch
    from service.engine.request_state import BatchKey, Job


_HISTORY = [Column.C, Column.P, Column.Q]


class StepExecutor:
    """Runs the tensor work of one model. Used by the engine thread only.

    `max_rows`: rows of the largest call; `pin_rows`: pad every call to it, so that kernels chosen
    by batch size are always the same ones.
    """

    def __init__(
        self,
        model: DiffusionModel,
        max_rows: int,
        observer: Observer,
        clock: Callable[[], float],
        *,
        pin_rows: bool,
    ) -> None:
        self._model = model
        self._max_rows = max_rows
        self._observer = observer
        self._clock = clock
        self._pin_rows = pin_rows
        self._tables: dict[BatchKey, SlotTable] = {}

    def join(self, job: Job, image_index: int) -> ImageState:
        """Prepare one image: prompt embeddings, the picture it edits, a slot, its start.

        Whatever fails, no slot stays taken.
        """
        request = job.request
        began_s = self._clock()
        if job.source is None:  # one set of latents for all images of the request
            job.source = encode_source(self._model, request)
            if job.source is not None:
                self._observer.on_event(Encoded("picture", self._clock() - began_s))
                began_s = self._clock()
        prompt_embeds = self._model.encode_prompt(request.prompt)
        is_guided = job.is_guided
        negative = self._model.encode_prompt(request.negative_prompt) if is_guided else None
        self._observer.on_event(Encoded("prompt", self._clock() - began_s))
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
        job, arrays = state.job, self._model.arrays
        noise = arrays.from_numpy(initial_noise(state.seed, job.key.latent_shape)[None])
        row = arrays.index([state.slot])
        table.x[row] = starting_latents(noise, job.table, job.request.source, job.source)
        table.h[row] = arrays.zeros((1, *job.key.latent_shape))
        if job.source is not None and job.source.redraw is not None:
            state.noise = noise

    def leave(self, state: ImageState) -> None:
        """Free the slot of an image that is finished or given up."""
        table = self._tables[state.key]
        table.release(state.slot)
        if table.is_unused:  # sizes come and go: keep no buffers for one that nobody draws
            del self._tables[state.key]

    def run(self, batch: StepBatch) -> list[Preview]:
        """Take one step for every image of `batch`; return the previews that are due with it.

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
        due = [
            take_preview(state, latents[i : i + 1], output[i : i + 1])
            for i, state in enumerate(states)
        ]
        x_next, history = advance(latents, output, history, noise, update)
        for i, state in enumerate(states):
            if state.noise is not None:
                x_next[i : i + 1] = _with_kept(state, x_next[i : i + 1])
        table.x[rows] = x_next
        if history is not None:
            table.h[rows] = history
        for state in states:
            state.step_index += 1
            state.job.steps_done += 1
        return [preview for preview in due if preview is not None]

    def decode(self, state: ImageState) -> NDArray[np.uint8]:
        """Return the finished pixels (height, width, 3) of one image.

        Raises FloatingPointError when its latents are not finite: a broken picture is an error,
        not a black square.
        """
        table = self._tables[state.key]
        return self._decode(state, table.x[self._model.arrays.index([state.slot])])

    def decode_preview(self, preview: Preview) -> NDArray[np.uint8]:
        """Return the pixels (height, width, 3) of a preview. Raises FloatingPointError as well."""
        return self._decode(preview.state, preview.latents)

    def _decode(self, state: ImageState, latents: Array) -> NDArray[np.uint8]:
        if not np.isfinite(self._model.arrays.to_numpy(latents)).all():
            raise FloatingPointError("latents are not finite")
        pixels: NDArray[np.uint8] = self._model.decode(latents)[0]
        return paste_kept(pixels, state.job.request.source)

    def _predict(
        self, states: Sequence[ImageState], scaled: Array, timesteps: NDArray[np.float32]
    ) -> Array:
        """Call the denoiser once for all rows and combine guided pairs."""
        arrays = self._model.arrays
        guided = [i for i, state in enumerate(states) if state.job.is_guided]
        count = len(states) + len(guided)
        padding = max(0, self._max_rows - count) if self._pin_rows else 0
        # Whose row is whose: the images, once more those that are guided, fillers.
        order = [*range(len(states)), *guided, *[0] * padding]
        embeds = [state.prompt_embeds for state in states]
        embeds += [states[i].negative_embeds for i in guided]
        embeds += [embeds[0]] * padding
        rows = scaled[arrays.index(order)] if len(order) > len(states) else scaled
        output = self._model.denoise(
            rows, timesteps[order], arrays.concat(embeds), self._inpainting(states, order)
        )
        predicted = output[: len(states)]
        if guided:
            pairs = arrays.index(guided)
            uncond = output[len(states) : count]
            predicted[pairs] = self._guide(states, guided, predicted[pairs], uncond)
        return predicted

    def _inpainting(self, states: Sequence[ImageState], order: Sequence[int]) -> Array | None:
        """Return what an inpainting network reads beside each row; None for other networks."""
        if not self._model.spec.takes_mask:
            return None
        beside = [state.source.inpainting for state in states if state.source is not None]
        return self._model.arrays.concat([beside[i] for i in order])

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


def _with_kept(state: ImageState, x: Array) -> Array:
    """Return `x` with what is kept put back at the level of the next step."""
    source = state.source
    assert source is not None
    kept = noised(source.clean, state.noise, state.job.table, state.step_index + 1)
    return keep_outside(x, kept, source.redraw)


def _column(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape one value per row so that it multiplies latents."""
    return values[:, None, None, None]


def _coefficients(state: ImageState) -> NDArray[np.float64]:
    row: NDArray[np.float64] = state.job.table.coefficients[state.step_index]
    return row
