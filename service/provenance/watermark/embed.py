"""Writing a mark into pixels at a chosen visibility (stop 9)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from service.provenance.watermark.spectrum import luma_of, synthesise

if TYPE_CHECKING:
    from service.domain.result import Pixels
    from service.provenance.watermark.carrier import Carrier

# Texture hides more than a plain area does. The cap is low on purpose: what is hidden in texture
# is also what the detector trusts least, and a flat picture has nowhere else to put its mark.
_MASK_SIGMA_PX = 2.0
_MASK_UNIT = 6.0  # grey levels of local deviation that let the mark grow beyond its base
_MASK_CAP = 1.5

_FIT_PASSES = 6
_FIT_TOLERANCE_DB = 0.05


def embed_mark(
    pixels: Pixels, carrier: Carrier, signs: NDArray[np.float32], psnr_db: float
) -> Pixels:
    """Return `pixels` with the coded word in them, at `psnr_db` after rounding and clipping.

    signs: (carrier.num_coded,), +1 or -1. All three channels move together, so only luma changes
    where nothing clips. In a picture at the edge of the range (pure white, pure black) half of
    the pattern clips; the other half grows until the same PSNR is reached.
    """
    height_px, width_px = pixels.shape[:2]
    tile_px = min(height_px, width_px) / carrier.profile.tiles
    pattern = synthesise(carrier.coefficients(signs), height_px, width_px, tile_px)
    pattern *= _visibility_mask(luma_of(pixels))
    wanted_rms = 255.0 * 10.0 ** (-psnr_db / 20.0)
    gain = wanted_rms / max(float(np.sqrt(np.mean(pattern * pattern))), 1e-6)
    return _fit(pixels, pattern, gain, wanted_rms)


def _fit(pixels: Pixels, pattern: NDArray[np.float32], gain: float, wanted_rms: float) -> Pixels:
    """Return the marked picture whose root-mean-square change is as wanted.

    Rounding and clipping make the change a slightly bent function of the gain, so the gain is
    corrected by the ratio missed until the miss is too small to matter.
    """
    marked = pixels
    for _ in range(_FIT_PASSES):
        marked = _add(pixels, pattern, gain)
        rms = math.sqrt(float(cv2.norm(marked, pixels, cv2.NORM_L2SQR)) / pixels.size)
        miss = wanted_rms / max(rms, 0.05)
        if abs(20.0 * math.log10(miss)) < _FIT_TOLERANCE_DB:
            break
        gain *= miss
    return marked


def _add(pixels: Pixels, pattern: NDArray[np.float32], gain: float) -> Pixels:
    change = np.rint(pattern * np.float32(gain)).astype(np.int16)
    return np.asarray(cv2.add(pixels, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


def _visibility_mask(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    high = luma - cv2.GaussianBlur(luma, (0, 0), _MASK_SIGMA_PX)
    power = cv2.GaussianBlur(high * high, (0, 0), _MASK_SIGMA_PX)
    return np.clip(np.sqrt(np.maximum(power, 0.0)) / _MASK_UNIT, 1.0, _MASK_CAP)
