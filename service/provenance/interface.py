"""The parts of marking, each replaceable: what a watermarker and a signer must do (stop 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from service.domain.identity import OutputId
    from service.domain.request import Original, OutputFormat
    from service.domain.result import Pixels


@dataclass(frozen=True, slots=True)
class WatermarkReading:
    """A payload found in a picture whose check bits agree.

    `watermark_id`: the id that was embedded. `profile`: the layout it was found in, e.g. `sst64`
    (full, 28 check bits) or `sst32-small` (hint only). `is_weak`: the check alone is not evidence.
    `false_positive_rate`: probability that an unmarked picture yields any reading.
    """

    watermark_id: int
    is_altered: bool
    profile: str
    is_weak: bool
    false_positive_rate: float
    rotation_degrees: int
    is_mirrored: bool
    scale: float
    score: float


class Watermarker(Protocol):
    """An invisible mark in the pixels. Thread-safe."""

    def id_bits(self, width_px: int, height_px: int) -> int:
        """Return how many bits of id a picture of this size carries."""

    def embed(
        self, pixels: Pixels, watermark_id: int, *, is_altered: bool = False, strength: int = 0
    ) -> Pixels:
        """Return marked pixels, same shape.

        `strength`: 0 is the least visible, up to `max_strength` more robust. Raises ValueError
        for a picture too small or an id too large.
        """

    @property
    def max_strength(self) -> int:
        """Return the highest step of `strength`."""

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        """Return the payload found in `pixels`, or None."""


@dataclass(frozen=True, slots=True)
class GenerationFacts:
    """What the manifest says about how the picture came to be. Holds no prompt.

    `originals`: the pictures it was made from, the edited one first; none if it was made from text.
    `is_preview`: it shows an image that was not finished yet.
    """

    output_id: OutputId
    model_id: str
    model_revision: str
    created_at: datetime
    watermark_id: int
    watermark_profile: str
    originals: tuple[Original, ...] = ()
    is_preview: bool = False

    @property
    def is_altered(self) -> bool:
        """Tell whether it is a picture altered, not one created."""
        return bool(self.originals)


@dataclass(frozen=True, slots=True)
class SignedContent:
    """Signed bytes and the active manifest's id (a `urn:c2pa:` label), already read back."""

    content: bytes
    manifest_id: str


class Signer(Protocol):
    """Puts C2PA credentials into encoded pictures. Thread-safe."""

    def sign(self, content: bytes, fmt: OutputFormat, facts: GenerationFacts) -> SignedContent:
        """Sign, read back and return; raises SigningFailed unless the result reads Trusted."""
