"""When an image is shown before it is finished, and what it looks like by then (stop 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.engine.editing import keep_outside

if TYPE_CHECKING:
    from models.interface import Array
    from service.engine.request_state import ImageState


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """The denoised sample as one step estimated it: `latents` (1, C, h, w), ready to decode."""

    state: ImageState
    partial_index: int
    latents: Array


def preview_steps(num_steps: int, num_previews: int) -> tuple[int, ...]:
    """Return after how many steps each preview is taken, spread evenly; fewer if steps are few."""
    planned = {round(num_steps * (i + 1) / (num_previews + 1)) for i in range(num_previews)}
    return tuple(step for step in sorted(planned) if 0 < step < num_steps)


def take_preview(state: ImageState, x: Array, out: Array) -> Preview | None:
    """Return the preview that is due with the step that `state` is about to finish, if one is.

    x, out: what the step started from and the network's guided output, (1, C, h, w) each. Neither
    is changed, so a finished picture has the same bits with and without previews.
    """
    taken = state.step_index + 1
    if taken not in state.job.preview_steps:
        return None
    weight, out_weight = state.job.table.estimates[state.step_index].tolist()
    estimate = weight * x + out_weight * out
    source = state.source
    if source is not None and source.redraw is not None:
        estimate = keep_outside(estimate, source.clean, source.redraw)
    return Preview(state, state.job.preview_steps.index(taken), estimate)
