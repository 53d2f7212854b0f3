"""The service's own invisible mark: a spread-spectrum pattern in the luma (stop 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.provenance.watermark.carrier import build_carrier
from service.provenance.watermark.convolutional import ConvolutionalCode
from service.provenance.watermark.detect import Effort, MarkDetector
from service.provenance.watermark.embed import embed_mark
from service.provenance.watermark.payload import Payload
from service.provenance.watermark.profiles import (
    MAX_STRENGTH,
    PROFILES,
    can_carry,
    profile_for,
    psnr_db_for,
)

if TYPE_CHECKING:
    from service.domain.result import Pixels
    from service.provenance.interface import WatermarkReading

# Public on purpose: whoever has it can read our marks without asking us, and whoever has it can
# also write or remove them. The mark is a pointer to a record, never a proof.
PUBLIC_KEY = b"mintmark public watermark key 1"


class SpreadSpectrumWatermarker:
    """A `Watermarker` that needs no weights. Immutable after construction: thread-safe.

    key: selects the carriers; the default is public, so that anybody can detect. An int counts
    as its shortest big-endian bytes. effort: how far `detect` searches. full_from_px: pictures
    with a shorter short side carry the weak 16-bit hint instead of the full payload.
    """

    def __init__(
        self,
        key: int | bytes = PUBLIC_KEY,
        *,
        effort: Effort = Effort.STANDARD,
        full_from_px: int = 64,
    ) -> None:
        key_bytes = key if isinstance(key, bytes) else _int_to_bytes(key)
        self._full_from_px = full_from_px
        self._code = ConvolutionalCode()
        self._carriers = {profile: build_carrier(profile, key_bytes) for profile in PROFILES}
        self._detector = MarkDetector(self._carriers, self._code, effort)

    @property
    def max_strength(self) -> int:
        """Return the highest step of `strength`, the same for every size."""
        return MAX_STRENGTH

    def id_bits(self, width_px: int, height_px: int) -> int:
        """Return how many bits of id a picture of this size carries.

        32 from `full_from_px` on the short side, 16 below, 0 if too small or too long to be marked.
        """
        if not can_carry(width_px, height_px):
            return 0
        return profile_for(width_px, height_px, self._full_from_px).layout.id_bits

    def embed(
        self, pixels: Pixels, watermark_id: int, *, is_altered: bool = False, strength: int = 0
    ) -> Pixels:
        """Return a marked copy of `pixels`, same shape and type.

        pixels: uint8 RGB, (height, width, 3), short side at least MIN_SIDE_PX, the other at most
        four times as long. watermark_id: in
        [0, 2**id_bits). strength: 0 (least visible) to `max_strength`; each step is a fixed PSNR
        of the rounded result. Raises ValueError outside these ranges.
        """
        height_px, width_px = pixels.shape[:2]
        profile = profile_for(width_px, height_px, self._full_from_px)
        psnr_db = psnr_db_for(min(height_px, width_px), strength)
        signs = self._code.encode(profile.layout.pack(Payload(watermark_id, is_altered)))
        return embed_mark(pixels, self._carriers[profile], signs, psnr_db)

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        """Return the payload found in `pixels` (uint8 RGB of any size), or None.

        The picture may have been rescaled, cropped, mirrored, turned by quarter turns and
        recompressed. `scale` of the reading is the short side of the whole marked picture over
        that of `pixels`: 1 if nothing was cropped. `rotation_degrees` is counter-clockwise and
        applies after the left-right mirroring, if any.
        """
        return self._detector.detect(pixels)


def _int_to_bytes(key: int) -> bytes:
    if key < 0:
        raise ValueError("the watermark key must not be negative")
    return key.to_bytes((key.bit_length() + 7) // 8 or 1, "big")
