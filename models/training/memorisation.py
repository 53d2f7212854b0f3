"""How near generated pictures come to the drawings that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  (its usual name)

from models.training.measurements import Memorisation
from models.training.metrics import nearest_cosines, object_crops
from models.training.vocabulary import BACKGROUNDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.training.art import Art
    from models.training.reference import Renders

_COPY_QUANTILE = 0.99


def compare_with_art(
    art: Art,
    held_out: Renders,
    generated_held_out: NDArray[np.uint8],
    trained: Renders,
    generated_trained: NDArray[np.uint8],
) -> Memorisation:
    """Return how near the pictures of held-out and of trained facts come to the training art.

    The generated pictures are (N, H, W, 3), row by row of the same facts as the renders.
    """
    real = nearest_drawing(art, held_out.pictures, held_out.facts.background)
    generated = nearest_drawing(art, generated_held_out, held_out.facts.background)
    copies = nearest_drawing(art, generated_trained, trained.facts.background)
    threshold = np.quantile(real, _COPY_QUANTILE)
    return Memorisation(
        generated_median=float(np.median(generated)),
        real_median=float(np.median(real)),
        copy_share=float((generated > threshold).mean()),
        trained_median=float(np.median(copies)),
    )


def nearest_drawing(
    art: Art, pictures: NDArray[np.uint8], background: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return each picture's cosine with the most similar training drawing, (N,).

    Drawings are put on the picture's own background, both ways round, so that what the background
    swallows of an object is missing on both sides.
    """
    cosines = np.zeros(len(pictures), np.float32)
    drawings = _premultiplied(art, side_px=pictures.shape[1])
    for label in np.unique(background):
        rows = np.flatnonzero(background == label)
        bank = object_crops(_composited(drawings, BACKGROUNDS[label].rgb))
        mirrored = object_crops(_composited(drawings[:, :, ::-1], BACKGROUNDS[label].rgb))
        crops = object_crops(pictures[rows])
        cosines[rows] = np.maximum(nearest_cosines(crops, bank), nearest_cosines(crops, mirrored))
    return cosines


def _premultiplied(art: Art, side_px: int) -> NDArray[np.float32]:
    """Return the training drawings as premultiplied RGBA (M, side, side, 4), 0 to 255."""
    rows = [row for row, picture in enumerate(art.pictures) if picture.split == "train"]
    rgba = torch.from_numpy(np.asarray(art.pixels[rows])).permute(0, 3, 1, 2).float()
    rgba[:, :3] *= rgba[:, 3:] / 255
    small = F.interpolate(rgba, (side_px, side_px), mode="area")
    drawings: NDArray[np.float32] = small.permute(0, 2, 3, 1).numpy()
    return drawings


def _composited(
    drawings: NDArray[np.float32], background_rgb: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return the drawings on a plain background, with a rim of it all round."""
    shine = 1 - drawings[..., 3:] / 255
    pictures = drawings[..., :3] + shine * np.array(background_rgb, np.float32)
    rim = max(1, drawings.shape[1] // 8)
    framed = np.full(
        (len(pictures), *(side + 2 * rim for side in pictures.shape[1:3]), 3),
        background_rgb,
        np.uint8,
    )
    framed[:, rim:-rim, rim:-rim] = np.rint(pictures)
    return framed
