"""A data set of plain shapes, for tests of what is measured on renders."""

from __future__ import annotations

import dataclasses

import numpy as np

from models.training.art import Art, Picture, Split
from models.training.recipe import (
    SMOKE_RECIPE_FILE,
    Recipe,
    load_recipe,
)
from models.training.vocabulary import STYLES, Subject

SIDE_PX = 32
# Two of each colour, so that colour alone does not tell a subject.
_COLOURS = {
    "apple": (210, 40, 40),
    "cat": (210, 40, 40),
    "star": (230, 200, 40),
    "moon": (230, 200, 40),
    "tree": (40, 150, 60),
    "car": (40, 150, 60),
}


def shapes_art(held_out: tuple[tuple[str, str], ...] = ()) -> Art:
    """Return six shapes in two styles, "flat" filled and "3d" with a dark rim.

    They bear names that the embedded model knows. held_out: (subject, style) pairs.
    """
    styles = tuple(style for style in STYLES if style.name in ("flat", "3d"))
    subjects = tuple(Subject(name, "object", f"1f{i:03x}") for i, name in enumerate(_COLOURS))
    pixels: list[np.ndarray] = []
    pictures: list[Picture] = []
    for subject in subjects:
        for style in styles:
            pixels.append(_draw(subject.name, has_rim=style.name == "3d"))
            split: Split = "held_out_pair" if (subject.name, style.name) in held_out else "train"
            digest = f"{len(pictures):064x}"
            pictures.append(Picture(subject.name, style.name, "shapes", digest, split))
    return Art(np.stack(pixels), tuple(pictures), subjects, styles)


def smoke_recipe(**evaluation: int) -> Recipe:
    """Return the smoke recipe with other settings of its evaluation."""
    recipe = load_recipe(SMOKE_RECIPE_FILE)
    changed = dataclasses.replace(recipe.evaluation, **evaluation)
    return dataclasses.replace(recipe, evaluation=changed)


def _draw(name: str, *, has_rim: bool) -> np.ndarray:
    centre = SIDE_PX / 2 - 0.5
    y, x = (np.mgrid[:SIDE_PX, :SIDE_PX] - centre) / (SIDE_PX * 0.45)
    radius = np.hypot(x, y)
    inside = (
        {
            "apple": radius < 1,
            "cat": (np.abs(x) < 0.9) & (np.abs(y) < 0.9),
            "star": (np.abs(x) < 0.3) | (np.abs(y) < 0.3),
            "moon": (radius < 1) & (radius > 0.55),
            "tree": (y > -0.9) & (np.abs(x) < (y + 0.9) / 2),
            "car": (np.abs(y) < 0.4) & (np.abs(x) < 0.95),
        }[name]
        & (np.abs(x) < 1)
        & (np.abs(y) < 1)
    )
    rgba = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    rgba[inside] = (*_COLOURS[name], 255)
    if has_rim:
        core = inside.copy()
        for axis in (0, 1):
            for step in (-2, 2):
                core &= np.roll(inside, step, axis)
        rgba[inside & ~core] = (30, 20, 20, 255)
    return rgba
