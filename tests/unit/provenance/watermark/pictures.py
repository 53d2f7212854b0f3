"""Pictures to mark and the ways they are re-encoded: flat icons, textures, codecs."""

from __future__ import annotations

import cv2
import numpy as np

from service.domain.result import Pixels

BACKGROUNDS = (
    (255, 255, 255),
    (0, 0, 0),
    (255, 0, 0),
    (255, 220, 0),
    (0, 0, 255),
    (135, 206, 235),
    (0, 255, 255),
    (128, 128, 128),
)


def plain(width_px: int, height_px: int, colour: tuple[int, int, int]) -> Pixels:
    """Return a picture of one single colour."""
    return np.full((height_px, width_px, 3), colour, np.uint8)


def icon(width_px: int, height_px: int, seed: int) -> Pixels:
    """Return a few flat shapes with smooth edges on a plain background."""
    draw = np.random.default_rng(seed)
    scale = 4
    canvas = plain(width_px * scale, height_px * scale, BACKGROUNDS[seed % len(BACKGROUNDS)])
    size = np.array([width_px, height_px]) * scale
    for _ in range(int(draw.integers(1, 6))):
        x, y = (draw.uniform(0.25, 0.75, 2) * size).astype(int).tolist()
        axes = (draw.uniform(0.08, 0.3, 2) * size.min()).astype(int).tolist()
        colour = tuple(draw.integers(0, 256, 3).tolist())
        cv2.ellipse(canvas, (x, y), axes, float(draw.uniform(0, 180)), 0, 360, colour, -1)
    shrunk = cv2.resize(canvas, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8)


def texture(width_px: int, height_px: int, seed: int) -> Pixels:
    """Return coloured noise with strong low frequencies, about as busy as a photograph."""
    noise = np.random.default_rng(seed).normal(size=(height_px, width_px, 3)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (0.7, 2.0, 6.0, 16.0)]
    return np.asarray(np.clip(128.0 + 40.0 * np.sum(layers, axis=0), 0, 255), np.uint8)


def recoded(pixels: Pixels, extension: str, quality: int) -> Pixels:
    """Return `pixels` after encoding as `.jpg` or `.webp` and decoding again."""
    flag = cv2.IMWRITE_JPEG_QUALITY if extension == ".jpg" else cv2.IMWRITE_WEBP_QUALITY
    is_ok, encoded = cv2.imencode(extension, pixels[..., ::-1], [flag, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if is_ok else None
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)


def resized(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """Return `pixels` at another size."""
    area, cubic = cv2.INTER_AREA, cv2.INTER_CUBIC
    kind = area if width_px < pixels.shape[1] else cubic
    return np.asarray(cv2.resize(pixels, (width_px, height_px), interpolation=kind), np.uint8)


def psnr_db(changed: Pixels, original: Pixels) -> float:
    """Return the peak signal-to-noise ratio over all three channels."""
    error = np.mean((changed.astype(np.float64) - original) ** 2)
    return float(10.0 * np.log10(255.0**2 / error))
