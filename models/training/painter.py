"""Paints planned scenes: drawings recoloured, placed and laid over plain backgrounds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812

from models.training.recolour import MainColours, find_main_colours, recolour, target_colours
from models.training.vocabulary import BACKGROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.training.art import Art

_PREPARE_CHUNK = 64
# Pictures painted at once on a CPU: more would fall out of its caches.
_CPU_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What was drawn by lot for n pictures, on the CPU; indices (n,) unless said otherwise.

    second: a picture, or -1. place: (n, 2, 4) per object: scale, x and y of its centre from the
    middle in shares of the side, and 1 or -1 for mirrored.
    """

    first: torch.Tensor
    second: torch.Tensor
    is_above: torch.Tensor
    colour: torch.Tensor
    background: torch.Tensor
    place: torch.Tensor


class Painter:
    """Holds some of the art on a device, ready to be painted at size_px.

    rows: the drawings of `art` it holds, in order; a plan's indices are positions in it.
    scale_max: the largest an object gets, as a share of the side; drawings are kept at that size.
    main: their main colours, on the device.
    """

    def __init__(
        self,
        art: Art,
        rows: Sequence[int],
        size_px: int,
        scale_max: float,
        device: torch.device,
    ) -> None:
        side_px = min(art.pixels.shape[1], math.ceil(size_px * scale_max))
        self._drawings, self.main = _prepare(art, rows, side_px, device)
        self._size_px, self._device = size_px, device
        self._targets = target_colours(device)
        rgb = torch.tensor([background.rgb for background in BACKGROUNDS], device=device)
        self._background_rgb = rgb / 255

    def paint(self, plan: Plan) -> torch.Tensor:
        """Return the pictures of a plan, (n, 3, size_px, size_px) float32, -1 to 1."""
        n, side = len(plan.first), self._size_px
        pixels = torch.empty(n, 3, side, side, device=self._device)
        chunk = _CPU_CHUNK if self._device.type == "cpu" else n
        for start in range(0, n, max(chunk, 1)):
            part = slice(start, start + chunk)
            canvas = self._background_rgb[plan.background[part].to(self._device)]
            canvas = canvas[:, :, None, None].expand(-1, -1, side, side)
            drawings = self._coloured(plan.first[part], plan.colour[part])
            canvas = self._lay(canvas, drawings, plan.place[part, 0])
            pairs = plan.second[part] >= 0
            if pairs.any():
                others = self._drawings[plan.second[part][pairs].to(self._device)].float() / 255
                at = pairs.to(self._device)
                canvas[at] = self._lay(canvas[at], others, plan.place[part, 1][pairs])
            pixels[part] = canvas.mul_(2).sub_(1)
        return pixels

    def _coloured(self, picture: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
        """Return premultiplied drawings (n, 4, r, r), 0 to 1, recoloured if `colour` is not 0."""
        rows, targets = picture.to(self._device), colour.to(self._device)
        drawings = self._drawings[rows].float() / 255
        if colour.any():
            some = targets > 0
            drawings[some] = recolour(
                drawings[some],
                self.main.direction[rows[some]],
                self.main.luma[rows[some]],
                self._targets[targets[some] - 1],
            )
        return drawings

    def _lay(
        self, canvas: torch.Tensor, drawings: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Return the canvas (n, 3, side, side), 0 to 1, with premultiplied drawings over it."""
        scale, x, y, mirror = place.to(self._device).unbind(1)
        zero = torch.zeros_like(scale)
        # From the canvas, -1 to 1, to the drawing.
        theta = torch.stack(
            [mirror / scale, zero, -2 * x * mirror / scale, zero, 1 / scale, -2 * y / scale], dim=1
        ).view(-1, 2, 3)
        shape = [len(drawings), 4, self._size_px, self._size_px]
        grid = F.affine_grid(theta, shape, align_corners=False)
        placed = F.grid_sample(drawings, grid, align_corners=False)
        return placed[:, :3] + canvas * (1 - placed[:, 3:])


def _prepare(
    art: Art, rows: Sequence[int], side_px: int, device: torch.device
) -> tuple[torch.Tensor, MainColours]:
    """Return the drawings (N, 4, side, side) uint8, premultiplied, and their main colours.

    Computed on the CPU, so that what can be recoloured is the same for every device.
    """
    drawings = torch.empty(len(rows), 4, side_px, side_px, dtype=torch.uint8)
    found: list[MainColours] = []
    for start in range(0, len(rows), _PREPARE_CHUNK):
        part = rows[start : start + _PREPARE_CHUNK]
        rgba = torch.from_numpy(art.pixels[part]).permute(0, 3, 1, 2).float() / 255
        rgba[:, :3] *= rgba[:, 3:]
        if rgba.shape[-1] > side_px:
            rgba = F.interpolate(rgba, (side_px, side_px), mode="bilinear", antialias=True)
        drawings[start : start + len(part)] = (rgba * 255).round().to(torch.uint8)
        found.append(find_main_colours(rgba))
    main = MainColours(
        *(
            torch.cat([getattr(colours, field.name) for colours in found]).to(device)
            for field in dataclasses.fields(MainColours)
        )
    )
    return drawings.to(device), main
