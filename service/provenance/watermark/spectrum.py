"""Between pixels and the mark's frequencies: whitening, analysis, synthesis (stop 9)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, what JPEG and WebP use.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_HIGH_PASS_SIGMA_PX = 2.0
_DEVIATION_SIGMA_PX = 1.5
_DEVIATION_FLOOR = 3.0  # grey levels; about the mark's own deviation
_CLIP = 1.5  # local deviations
_DISTRUST = 0.6  # how fast busy areas lose weight; 1 would be the inverse variance

_UNSPLIT_PRODUCT = 1 << 17  # multiplications; OpenBLAS starts to split at twice as many


def luma_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the luma of RGB pixels, (height, width), 0 to 255."""
    return np.asarray(cv2.transform(pixels.astype(np.float32), _LUMA[None]))


def whiten(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is left of a picture when its own content is held down, same shape.

    A mark is faint and everywhere, content is strong and in places. So: high-pass, divide by the
    local deviation, clip (an edge counts no more than a few levels of noise), and trust flat
    areas more than busy ones.
    """
    high = luma - cv2.GaussianBlur(luma, (0, 0), _HIGH_PASS_SIGMA_PX)
    power = cv2.GaussianBlur(high * high, (0, 0), _DEVIATION_SIGMA_PX)
    deviation = np.sqrt(np.maximum(power, 0.0) + _DEVIATION_FLOOR**2)
    whitened = np.clip(high / deviation, -_CLIP, _CLIP)
    return np.asarray(whitened * deviation**-_DISTRUST, np.float32)


def analyse(whitened: NDArray[np.float32], tile_px: float, limit: int) -> NDArray[np.complex64]:
    """Return the picture's content at the tile's harmonics, (limit+1, 2*limit+1).

    tile_px: length of a tile, any positive number: no resampling, the harmonics are evaluated
    where they lie. Row v, column u + limit. In a picture scaled down so far that some harmonics
    pass Nyquist, these are read where they alias to: faint, but measured to be worth reading.
    """
    height, width = whitened.shape
    along_x = _harmonics(width, tile_px, limit)
    along_y = along_x if height == width else _harmonics(height, tile_px, limit)
    rows = _product(whitened, np.concatenate([along_x.real, -along_x.imag], axis=1))
    cosines = _product(np.ascontiguousarray(along_y.real.T), rows)
    sines = _product(np.ascontiguousarray(along_y.imag.T), rows)
    split = limit + 1
    upright = cosines[:, :split] + 1j * cosines[:, split:]
    turned = sines[:, split:] - 1j * sines[:, :split]
    mirrored = cosines[:, :split] - 1j * cosines[:, split:]
    mirrored -= sines[:, split:] + 1j * sines[:, :split]  # a row of a real picture: u < 0 is u > 0
    return np.concatenate([mirrored[:, :0:-1], upright + turned], axis=1)


def synthesise(
    spectrum: NDArray[np.complex64], height_px: int, width_px: int, tile_px: float
) -> NDArray[np.float32]:
    """Return the periodic pattern with this half spectrum, (height_px, width_px).

    spectrum: (limit+1, 2*limit+1) as from `analyse`.
    """
    limit = spectrum.shape[0] - 1
    right = _harmonics(width_px, tile_px, limit)
    along_x = np.concatenate([right[:, :0:-1].conj(), right], axis=1)
    down = _harmonics(height_px, tile_px, limit)
    real, imag = spectrum.real, spectrum.imag
    rows = _product(
        np.concatenate([down.real, down.imag], axis=1), np.block([[real, -imag], [-imag, -real]])
    )
    return _product(rows, np.concatenate([along_x.real, along_x.imag], axis=1).T)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return left @ right, (rows, columns), computed on the calling thread alone.

    BLAS hands larger products to its own threads. For matrices of this size that gains little on
    an idle machine, and on a busy one the threads wait for each other: the slowest 5 % of calls
    then take a hundred times the median. So the rows go in blocks that it does not split.
    """
    rows, inner = left.shape
    block = max(1, min(rows, _UNSPLIT_PRODUCT // (inner * right.shape[1])))
    whole = rows - rows % block
    product = np.empty((rows, right.shape[1]), np.float32)
    np.matmul(
        left[:whole].reshape(-1, block, inner),
        right,
        out=product[:whole].reshape(-1, block, right.shape[1]),
    )
    np.matmul(left[whole:], right, out=product[whole:])
    return product


def _harmonics(length_px: int, tile_px: float, limit: int) -> NDArray[np.complex64]:
    # Pixel centres lie at half-integers: scaling a picture then scales the pattern exactly, and
    # mirroring it mirrors the pattern.
    position = (np.arange(length_px) + 0.5) * (2.0 * np.pi / tile_px)
    powers = np.ones((length_px, limit + 1), np.complex64)
    powers[:, 1:] = np.exp(1j * position)[:, None]
    return np.cumprod(powers, axis=1)  # far cheaper than an exponential each; error below 1e-5
