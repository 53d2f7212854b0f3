"""What an edit adds to the engine: a start state, a mask per step, pixels put back (stops 5-8).

All of it follows diffusers' image-to-image and inpainting pipelines, except that a picture has one
set of latents (the mean of the encoder's distribution, not a draw from it), and that pixels outside
the mask are put back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import InvalidRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.interface import Array, DiffusionModel
    from models.schedules.solvers import SolverTable
    from service.domain.request import EditSource, GenerationRequest
    from service.domain.result import Pixels

# From here on a mask value means "redraw" in the latents, where there are no soft edges.
_REDRAW_FROM = 128


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSource:
    """A request's picture as latents, native arrays, shared by all images of the request.

    `clean`: (1, C, h, w), None if there is no picture. `redraw`: (1, 1, h, w), 1 = redraw, 0 =
    keep, for blending after each step; None if nothing is kept or the network does it itself.
    `inpainting`: (1, 1 + C, h, w), what an inpainting network reads beside the latents, else None.
    """

    clean: Array | None
    redraw: Array | None
    inpainting: Array | None


def solver_table(model: DiffusionModel, request: GenerationRequest) -> SolverTable:
    """Return the steps that `request` takes: an edit starts later, by its strength.

    Raises InvalidRequest, naming the parameter, for a step count that the scheduler refuses, an
    edit that leaves no step, or a model that cannot start from a picture.
    """
    sampling, source = request.sampling, request.source
    try:
        table = model.compile_solver(sampling.scheduler, sampling.num_inference_steps)
    except ValueError as exc:
        raise InvalidRequest(str(exc), param="num_inference_steps") from exc
    if source is None:
        return table
    if not model.can_encode_image:
        raise InvalidRequest(f"Model {request.model_id!r} cannot edit pictures.", param="image")
    steps = min(int(table.num_steps * source.strength), table.num_steps)
    if steps == 0:
        raise InvalidRequest("This strength leaves no step to take.", param="strength")
    return table if steps == table.num_steps else table.starting_at(table.num_steps - steps)


def encode_source(model: DiffusionModel, request: GenerationRequest) -> EncodedSource | None:
    """Return the latents of the picture that `request` starts from; None if it needs none."""
    source, takes_mask = request.source, model.spec.takes_mask
    if source is None and not takes_mask:
        return None
    redraw = None
    if source is not None and source.mask is not None and not takes_mask:
        redraw = _latent_mask(model, source.mask >= _REDRAW_FROM)
    return EncodedSource(
        clean=None if source is None else model.encode_image(source.pixels[None]),
        redraw=redraw,
        inpainting=_inpainting(model, request) if takes_mask else None,
    )


def starting_latents(
    noise: Array, table: SolverTable, source: EditSource | None, encoded: EncodedSource | None
) -> Array:
    """Return the latents (1, C, h, w) before the first step of `table`.

    The picture at that step's noise level; pure noise without a picture, and, as in diffusers,
    with a mask at strength 1.
    """
    is_fresh = source is None or (source.mask is not None and source.strength == 1)
    if is_fresh or encoded is None or encoded.clean is None:
        return noise * table.init_noise_scale
    return noised(encoded.clean, noise, table, step_index=0)


def noised(clean: Array, noise: Array, table: SolverTable, step_index: int) -> Array:
    """Return `clean` with `noise` as it stands before step `step_index`; after the last, clean."""
    signal, level = table.levels[step_index].tolist()
    return signal * clean + level * noise


def keep_outside(x: Array, kept: Array, redraw: Array) -> Array:
    """Return `x` where `redraw` is 1 and `kept` where it is 0."""
    return (1.0 - redraw) * kept + redraw * x


def paste_kept(pixels: Pixels, source: EditSource | None) -> Pixels:
    """Return `pixels` with the source's own where its mask keeps them, to the bit.

    Soft edges mix the two in proportion; without a mask nothing is kept.
    """
    if source is None or source.mask is None:
        return pixels
    share = source.mask[:, :, np.newaxis].astype(np.uint16)
    mixed = share * pixels + (255 - share) * source.pixels + 127  # at most 65,152
    return (mixed // 255).astype(np.uint8)


def _inpainting(model: DiffusionModel, request: GenerationRequest) -> Array:
    """Return the mask and the latents of what is kept; nothing is, without a mask."""
    source = request.source
    shape = (request.height_px, request.width_px)
    if source is None or source.mask is None:
        pixels, is_redrawn = np.zeros((*shape, 3), np.uint8), np.ones(shape, np.bool_)
    else:
        pixels, is_redrawn = source.pixels, source.mask >= _REDRAW_FROM
    kept = model.encode_image(pixels[None], blank=is_redrawn[None])
    return model.arrays.concat([_latent_mask(model, is_redrawn), kept], axis=1)


def _latent_mask(model: DiffusionModel, is_redrawn: NDArray[np.bool_]) -> Array:
    """Return (1, 1, h, w): of each latent's block of pixels the first one decides, as in torch."""
    factor = model.spec.latent.factor
    mask = is_redrawn[::factor, ::factor].astype(np.float32)
    return model.arrays.from_numpy(mask[np.newaxis, np.newaxis])
