"""Makes a mark no stronger than it must be to come back out of the finished file (stop 9)."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import EncodingFailed, InvalidRequest, PayloadTooLarge, WatermarkFailed
from service.provenance.decode import DecodeLimits, decode_pixels
from service.provenance.encode import encode_pixels, recompressed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.domain.request import OutputOptions
    from service.domain.result import Pixels
    from service.errors import ServiceError
    from service.provenance.interface import Watermarker, WatermarkReading


@dataclass(frozen=True, slots=True)
class MarkMargin:
    """What a mark should survive beyond its own file, as long as that is cheap to the eye.

    `jpeg_quality`: of the copy it should be readable from, 1 to 95. `max_strength`: where to stop
    asking for it; a picture that needs more than this is handed out with less margin.
    """

    jpeg_quality: int
    max_strength: int = 3


@dataclass(frozen=True, slots=True)
class MarkedFile:
    """An encoded picture, what it decodes to, and the mark read from exactly that."""

    content: bytes
    decoded: Pixels
    reading: WatermarkReading


class ClosedLoop:
    """Embeds, encodes, decodes and reads, ever stronger, until the mark is there. Thread-safe.

    `margin` None stops at the least strength that can be read.
    """

    def __init__(self, watermarker: Watermarker, margin: MarkMargin | None = None) -> None:
        self._watermarker = watermarker
        self._margin = margin

    def mark(
        self,
        pixels: Pixels,
        watermark_id: int,
        options: OutputOptions,
        spent_s: dict[str, float] | None = None,
        *,
        is_altered: bool = False,
    ) -> MarkedFile:
        """Return the file with the faintest mark that is enough.

        `spent_s`: seconds are added to its "watermark" and "encode". `is_altered`: what mark and
        file say of the picture: altered, or else created. Raises WatermarkFailed when no strength
        can be read back, EncodingFailed when the file cannot be made or decoded.
        """
        spent_s = {} if spent_s is None else spent_s
        for strength in range(self._watermarker.max_strength + 1):
            with _adding_to(spent_s, "watermark"):
                marked = self._embedded(pixels, watermark_id, strength, is_altered=is_altered)
            with _adding_to(spent_s, "encode"):
                content = encode_pixels(marked, options, is_altered=is_altered)
                decoded = decoded_like(content, marked, EncodingFailed)
            with _adding_to(spent_s, "watermark"):
                reading = self._read(decoded, watermark_id)
                if reading is not None and self._has_margin(decoded, watermark_id, strength):
                    return MarkedFile(content, decoded, reading)
        raise WatermarkFailed("The watermark did not come back out of the encoded picture.")

    def _read(self, pixels: Pixels, watermark_id: int) -> WatermarkReading | None:
        reading = self._watermarker.detect(pixels)
        return reading if reading is not None and reading.watermark_id == watermark_id else None

    def _has_margin(self, decoded: Pixels, watermark_id: int, strength: int) -> bool:
        margin = self._margin
        if margin is None or strength >= margin.max_strength:
            return True
        copy = recompressed(decoded, margin.jpeg_quality)
        return self._read(copy, watermark_id) is not None

    def _embedded(
        self, pixels: Pixels, watermark_id: int, strength: int, *, is_altered: bool
    ) -> Pixels:
        try:
            return self._watermarker.embed(
                pixels, watermark_id, is_altered=is_altered, strength=strength
            )
        except ValueError as error:
            raise WatermarkFailed("The picture cannot carry a watermark.") from error


def decoded_like(content: bytes, like: Pixels, failure: type[ServiceError]) -> Pixels:
    """Return the pixels of `content`, a picture of `like`'s size; raise `failure` otherwise."""
    height_px, width_px, _ = like.shape
    try:
        return decode_pixels(content, DecodeLimits(len(content), height_px * width_px))
    except (InvalidRequest, PayloadTooLarge) as error:
        raise failure("The finished picture could not be read back.") from error


@contextmanager
def _adding_to(spent_s: dict[str, float], stage: str) -> Iterator[None]:
    start_s = time.perf_counter()
    try:
        yield
    finally:
        spent_s[stage] = spent_s.get(stage, 0.0) + time.perf_counter() - start_s
