"""Gives drawings another colour: their main colour moves to a named hue, the rest stays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812

from models.training.vocabulary import COLOURS

_LUMA = (0.299, 0.587, 0.114)
# Within about 50 degrees of the main hue a pixel belongs to the main colour; beyond 75 it does not.
_SAME_HUE_COSINE = (math.cos(math.radians(75)), math.cos(math.radians(50)))
_GREY_CHROMA = (0.06, 0.16)
# Below this mean chroma a drawing counts as grey, and all of it is coloured.
_GREY_DRAWING_CHROMA = 0.12
# A drawing in many colours ("parrot") has no colour to change, nor has one with a little of it.
_MIN_MAIN_SHARE = 0.6
_MIN_MAIN_AREA = 0.25
# The reference is a little darker than the mean, so that the target is not mixed with black.
_REFERENCE_LUMA = 0.95
# Found on reduced drawings: a hue needs no detail.
_ANALYSIS_SIDE_PX = 48
_HUE_BINS = 36
_WINDOW_BINS = 5
_MAX_HIGHLIGHT = 1.2


@dataclass(frozen=True, slots=True)
class MainColours:
    """What recolouring needs to know of N drawings.

    direction: (N, 2) unit vector of the main hue in the chroma plane; zero for grey drawings.
    luma: (N,) what becomes the target colour, 0 to 1. can_recolour: (N,) bool.
    mean_rgb: (N, 3) of the whole drawing, 0 to 1.
    """

    direction: torch.Tensor
    luma: torch.Tensor
    can_recolour: torch.Tensor
    mean_rgb: torch.Tensor


def target_colours(device: torch.device | str) -> torch.Tensor:
    """Return COLOURS as (8, 3) RGB, 0 to 1."""
    return torch.tensor([colour.rgb for colour in COLOURS], device=device) / 255


def find_main_colours(drawings: torch.Tensor) -> MainColours:
    """Return the main colours of premultiplied drawings (N, 4, R, R), 0 to 1."""
    if drawings.shape[-1] > _ANALYSIS_SIDE_PX:
        drawings = F.adaptive_avg_pool2d(drawings, _ANALYSIS_SIDE_PX)
    rgb, alpha = _straight(drawings)
    chroma_plane = _chroma_plane(rgb)
    weight = _chroma(chroma_plane) * alpha
    area = alpha.sum((1, 2)).clamp_min(1e-6)
    direction, main_share = _main_direction(chroma_plane, weight)
    is_grey = weight.sum((1, 2)) / area < _GREY_DRAWING_CHROMA
    direction = torch.where(is_grey[:, None], torch.zeros_like(direction), direction)
    belongs = _belonging(chroma_plane, direction) * alpha
    main_area = belongs.sum((1, 2))
    luma = _REFERENCE_LUMA * (_luma(rgb) * belongs).sum((1, 2)) / main_area.clamp_min(1e-6)
    has_main = (main_share > _MIN_MAIN_SHARE) & (main_area > _MIN_MAIN_AREA * area)
    return MainColours(
        direction=direction,
        luma=luma.clamp(0.05, 0.95),
        can_recolour=is_grey | has_main,
        mean_rgb=(rgb * alpha[:, None]).sum((2, 3)) / area[:, None],
    )


def recolour(
    drawings: torch.Tensor, direction: torch.Tensor, luma: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Return drawings (n, 4, R, R), premultiplied, with their main colour replaced by `target`.

    direction, luma: of MainColours, (n, 2) and (n,). target: (n, 3) RGB. Shading is kept: parts
    of `luma` become the target, darker ones go towards black and lighter ones towards white.
    """
    rgb, alpha = _straight(drawings)
    belongs = _belonging(_chroma_plane(rgb), direction)[:, None]
    relative = (_luma(rgb) / luma[:, None, None])[:, None]
    colour = target[:, :, None, None]
    highlight = (luma / (1 - luma)).clamp_max(_MAX_HIGHLIGHT)[:, None, None, None]
    light = ((relative - 1) * highlight).clamp(0, 1)
    painted = colour * relative.clamp_max(1) + (1 - colour) * light
    mixed = rgb + belongs * (painted - rgb)
    return torch.cat([mixed * alpha[:, None], alpha[:, None]], dim=1)


def _straight(drawings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return colours (n, 3, R, R) not multiplied by alpha, and alpha (n, R, R)."""
    alpha = drawings[:, 3]
    return (drawings[:, :3] / alpha[:, None].clamp_min(1e-3)).clamp(0, 1), alpha


def _luma(rgb: torch.Tensor) -> torch.Tensor:
    red, green, blue = rgb.unbind(1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _chroma_plane(rgb: torch.Tensor) -> torch.Tensor:
    """Return (n, 2, R, R): the hexagon's plane, whose angle is the hue and whose length chroma."""
    red, green, blue = rgb.unbind(1)
    return torch.stack([red - 0.5 * (green + blue), (math.sqrt(3) / 2) * (green - blue)], dim=1)


def _chroma(chroma_plane: torch.Tensor) -> torch.Tensor:
    # Several times as fast as a norm over a dimension of two.
    return torch.hypot(chroma_plane[:, 0], chroma_plane[:, 1])


def _belonging(chroma_plane: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Return how far each pixel is of the main colour, (n, R, R), 0 to 1; 1 for grey drawings."""
    chroma = _chroma(chroma_plane)
    along = (chroma_plane * direction[:, :, None, None]).sum(1)
    same_hue = _ramp(along / chroma.clamp_min(1e-4), *_SAME_HUE_COSINE)
    belongs = same_hue * _ramp(chroma, *_GREY_CHROMA)
    is_grey = (direction == 0).all(1)[:, None, None]
    return torch.where(is_grey, torch.ones_like(belongs), belongs)


def _ramp(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return ((x - low) / (high - low)).clamp(0, 1)


def _main_direction(
    chroma_plane: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the heaviest hue (n, 2) and its share of all chroma (n,), by a histogram of hues."""
    hue = torch.atan2(chroma_plane[:, 1], chroma_plane[:, 0]) / (2 * math.pi) % 1.0
    bins = (hue * _HUE_BINS).long().clamp_max(_HUE_BINS - 1).flatten(1)
    histogram = torch.zeros(len(bins), _HUE_BINS, device=bins.device)
    histogram.scatter_add_(1, bins, weight.flatten(1))
    window = sum(histogram.roll(shift, 1) for shift in range(-_WINDOW_BINS, _WINDOW_BINS + 1))
    assert isinstance(window, torch.Tensor)
    mass, best = window.max(1)
    angle = (best + 0.5) * (2 * math.pi / _HUE_BINS)
    # The window's own mean is finer than its centre bin.
    centre = torch.stack([angle.cos(), angle.sin()], dim=1)
    near = _belonging(chroma_plane, centre) * weight / _chroma(chroma_plane).clamp_min(1e-4)
    mean = (chroma_plane * near[:, None]).sum((2, 3))
    direction = mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-6)
    share = mass / histogram.sum(1).clamp_min(1e-6)
    return torch.where(mean.norm(dim=1, keepdim=True) > 0, direction, centre), share
