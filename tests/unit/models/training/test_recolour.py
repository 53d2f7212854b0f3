from __future__ import annotations

import colorsys

import pytest
import torch

from models.training.recolour import find_main_colours, recolour, target_colours
from models.training.vocabulary import COLOURS

SIDE_PX = 16


def drawing(*patches: tuple[int, int, int]) -> torch.Tensor:
    """Equal horizontal bands of the colours, opaque, on a half transparent canvas: (1, 4, s, s)."""
    rgba = torch.zeros(1, 4, SIDE_PX, SIDE_PX)
    height = SIDE_PX // 2 // len(patches)
    for index, rgb in enumerate(patches):
        band = slice(index * height, (index + 1) * height)
        rgba[0, :3, band] = torch.tensor(rgb).view(3, 1, 1) / 255
        rgba[0, 3, band] = 1
    return rgba


def repainted(picture: torch.Tensor, colour: int) -> torch.Tensor:
    main = find_main_colours(picture)
    return recolour(picture, main.direction, main.luma, target_colours("cpu")[colour][None])


@pytest.mark.parametrize("colour", range(len(COLOURS)))
@pytest.mark.parametrize("rgb", [(220, 40, 40), (60, 30, 90), (250, 220, 80), (20, 90, 30)])
def test_a_plain_drawing_takes_the_hue_it_is_given(rgb: tuple[int, int, int], colour: int) -> None:
    red, green, blue = repainted(drawing(rgb), colour)[0, :3, 0, 0].tolist()

    hue_deg = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
    assert abs((hue_deg - COLOURS[colour].hue_deg + 180) % 360 - 180) < 8


def test_a_grey_drawing_takes_the_hue_too() -> None:
    red, green, blue = repainted(drawing((220, 220, 222)), 5)[0, :3, 0, 0].tolist()

    assert blue > red + 0.3
    assert blue > green + 0.2


def test_other_colours_of_a_drawing_stay() -> None:
    # A strawberry: three parts red, one part green.
    berry = drawing((220, 40, 40), (210, 50, 40), (220, 40, 50), (40, 160, 60))
    before, after = berry[0, :3, 7, 0], repainted(berry, 5)[0, :3, 7, 0]

    torch.testing.assert_close(after, before, atol=0.02, rtol=0)


def test_black_outlines_stay() -> None:
    picture = drawing((220, 40, 40), (220, 40, 40), (220, 40, 40), (8, 8, 8))

    assert repainted(picture, 2)[0, :3, 7, 0].max() < 0.1


def test_shading_is_kept() -> None:
    shaded = repainted(drawing((120, 20, 20), (240, 60, 60)), 3)
    luma = torch.tensor([0.299, 0.587, 0.114])

    dark, light = luma @ shaded[0, :3, 1, 0], luma @ shaded[0, :3, 6, 0]
    assert light > 1.4 * dark


def test_transparency_is_kept_and_empty_parts_stay_empty() -> None:
    picture = drawing((220, 40, 40)) * 0.5
    after = repainted(picture, 5)

    assert torch.equal(after[:, 3], picture[:, 3])
    assert after[0, :, SIDE_PX - 1].abs().max() == 0


def test_a_drawing_of_many_colours_is_not_recoloured() -> None:
    parrot = drawing((230, 40, 40), (40, 200, 60), (40, 80, 230), (240, 220, 40))

    assert not find_main_colours(parrot).can_recolour.item()
    assert find_main_colours(drawing((230, 40, 40))).can_recolour.item()
