"""What is measured on pictures: colours, hues, blanks, distances, shares.

Pictures are (N, H, W, 3) uint8 RGB throughout.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]
    Floats = NDArray[np.float64]

# A pixel belongs to the object if it is this far from the background, in RGB steps of 0 to 255:
# above the noise of a reconstruction, below a pale object on white.
_OBJECT_DISTANCE: Final = 32.0
_BLANK_SHARE: Final = 0.05
# Under this chroma (max - min of RGB, 0 to 1) a pixel's hue is noise.
_MIN_CHROMA: Final = 0.12
# So few coloured pixels say nothing about the object's colour.
_MIN_COLOURED_SHARE: Final = 0.02
_HUE_BIN_DEG: Final = 10
_Z_95: Final = 1.959964


def psnr_db(pictures: Pictures, reference: Pictures) -> Floats:
    """Return the peak signal-to-noise ratio of each picture, (N,) in dB; 99 if they are equal."""
    difference = pictures.astype(np.float64) - reference
    mean_square = (difference**2).mean(axis=(1, 2, 3))
    floor = 255.0**2 / 10 ** (99 / 10)
    decibels: Floats = 10 * np.log10(255.0**2 / np.maximum(mean_square, floor))
    return decibels


def top_k_hits(
    scores: NDArray[np.floating], truth: NDArray[np.integer], k: int
) -> NDArray[np.bool_]:
    """Tell for each row of `scores` (N, classes) whether `truth` (N,) is among its k best.

    Ties count against the truth, so a constant score is never a hit unless k covers every class.
    """
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    not_worse = (scores >= own).sum(axis=1)  # the truth itself is one of them
    hits: NDArray[np.bool_] = not_worse <= k
    return hits


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share seen over `count` trials; (0, 1) for none.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if count == 0:
        return (0.0, 1.0)
    spread = _Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return (max(0.0, centre - half), min(1.0, centre + half))


def border_colours(pictures: Pictures) -> Floats:
    """Return the median RGB of each picture's outer 1/16, (N, 3): its background if it is plain."""
    height, width = pictures.shape[1:3]
    rim = max(1, min(height, width) // 16)
    is_border = np.ones((height, width), bool)
    is_border[rim:-rim, rim:-rim] = False
    colours: Floats = np.median(pictures[:, is_border], axis=1).astype(np.float64)
    return colours


def nearest_colours(colours: Floats, palette: Floats) -> NDArray[np.intp]:
    """Return the index of the palette colour (P, 3) next to each of `colours` (N, 3), in RGB."""
    distances = np.linalg.norm(colours[:, None] - palette[None], axis=2)
    nearest: NDArray[np.intp] = distances.argmin(axis=1)
    return nearest


def object_masks(pictures: Pictures) -> NDArray[np.bool_]:
    """Tell which pixels (N, H, W) differ clearly from their picture's border colour."""
    away = pictures.astype(np.float64) - border_colours(pictures)[:, None, None]
    masks: NDArray[np.bool_] = np.linalg.norm(away, axis=3) > _OBJECT_DISTANCE
    return masks


def are_blank(pictures: Pictures) -> NDArray[np.bool_]:
    """Tell which pictures (N,) show nothing: under 5 % of the pixels leave the background."""
    blank: NDArray[np.bool_] = object_masks(pictures).mean(axis=(1, 2)) < _BLANK_SHARE
    return blank


def object_hues(pictures: Pictures) -> Floats:
    """Return the dominant hue of each picture's object, (N,) in degrees; NaN if it is colourless.

    The peak of the chroma-weighted hue histogram, smoothed over neighbouring bins of 10 degrees,
    refined by the mean hue around the peak. Unlike a mean over all pixels it does not land between
    the colours of an object that has two.
    """
    hue_deg, chroma = _hue_and_chroma(pictures)
    weight = np.where(object_masks(pictures) & (chroma > _MIN_CHROMA), chroma, 0.0)
    hues = np.full(len(pictures), np.nan)
    for row in np.flatnonzero((weight > 0).mean(axis=(1, 2)) >= _MIN_COLOURED_SHARE):
        hues[row] = _dominant_hue(hue_deg[row], weight[row])
    return hues


def nearest_hues(hues_deg: Floats, palette_deg: Floats) -> NDArray[np.intp]:
    """Return the index of the palette hue (P,) next to each of `hues_deg` (N,) round the circle.

    -1 where the hue is NaN.
    """
    distance = np.abs((hues_deg[:, None] - palette_deg[None] + 180) % 360 - 180)
    return np.where(np.isnan(hues_deg), -1, np.nan_to_num(distance).argmin(axis=1))


def frechet_distance(features: Floats, reference: Floats) -> float:
    """Return the Fréchet distance of two sets of features (N, D) and (M, D), seen as Gaussians.

    Needs more rows than columns to mean anything. Source: Heusel et al. 2017, "GANs Trained by a
    Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", equation 6.
    """
    mean_gap = features.mean(axis=0) - reference.mean(axis=0)
    cov, reference_cov = np.cov(features, rowvar=False), np.cov(reference, rowvar=False)
    root = _matrix_root(cov)
    # tr((C1 C2)^1/2), by the symmetric matrix with the same eigenvalues.
    shared = np.linalg.eigvalsh(root @ reference_cov @ root)
    trace = np.trace(cov) + np.trace(reference_cov) - 2 * np.sqrt(np.maximum(shared, 0)).sum()
    return max(0.0, float(mean_gap @ mean_gap + trace))


def object_crops(pictures: Pictures, side_px: int = 32) -> NDArray[np.float32]:
    """Return each object cut out, stretched to a square, as unit vectors (N, 3 * side_px**2).

    The background becomes 0 and the object its colour minus mid-grey, so that neither placement nor
    background decides how alike two drawings are. A blank picture gives zeros.
    """
    masks = object_masks(pictures)
    rows = [
        _crop(picture, mask, side_px) if mask.any() else np.zeros(3 * side_px**2, np.float32)
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    return np.stack(rows)


def nearest_cosines(
    queries: NDArray[np.float32], bank: NDArray[np.float32], block: int = 512
) -> NDArray[np.float32]:
    """Return the largest cosine of each query (N, D) with any row of the bank (M, D), all unit."""
    parts = [
        (queries[start : start + block] @ bank.T).max(axis=1)
        for start in range(0, len(queries), block)
    ]
    return np.concatenate(parts)


def _hue_and_chroma(pictures: Pictures) -> tuple[Floats, Floats]:
    """Return HSV's hue in degrees and the chroma, 0 to 1, of every pixel, (N, H, W) each."""
    rgb = pictures.astype(np.float64) / 255
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    high, chroma = rgb.max(axis=3), np.ptp(rgb, axis=3)
    safe = np.where(chroma > 0, chroma, 1.0)
    sextant = np.select(
        [high == red, high == green],
        [((green - blue) / safe) % 6, (blue - red) / safe + 2],
        default=(red - green) / safe + 4,
    )
    return 60 * sextant, chroma


def _dominant_hue(hue_deg: Floats, weight: Floats) -> float:
    """Return the hue where most of the weight is, in degrees from 0 to 360."""
    bins = (hue_deg // _HUE_BIN_DEG).astype(np.intp) % (360 // _HUE_BIN_DEG)
    histogram = np.bincount(bins.ravel(), weight.ravel(), minlength=360 // _HUE_BIN_DEG)
    smooth = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
    peak_deg = (smooth.argmax() + 0.5) * _HUE_BIN_DEG
    offset = (hue_deg - peak_deg + 180) % 360 - 180
    near = np.where(np.abs(offset) <= 1.5 * _HUE_BIN_DEG, weight, 0.0)
    return float((peak_deg + (offset * near).sum() / near.sum()) % 360)


def _matrix_root(matrix: Floats) -> Floats:
    """Return the symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def _crop(picture: Pictures, mask: NDArray[np.bool_], side_px: int) -> NDArray[np.float32]:
    """Return one object's bounding box, resampled by area, as a unit vector."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colour = (picture[box].astype(np.float32) - np.float32(127.5)) * mask[box][..., None]
    flat = cv2.resize(colour, (side_px, side_px), interpolation=cv2.INTER_AREA).ravel()
    unit: NDArray[np.float32] = (flat / max(float(np.linalg.norm(flat)), 1e-6)).astype(np.float32)
    return unit
