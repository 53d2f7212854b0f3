"""What a caller asks for, checked and free of any wire format (stop 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from service.domain.result import Pixels

MAX_PREVIEWS = 3


class OutputFormat(StrEnum):
    """Picture formats that can carry C2PA credentials and that every client reads."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def mime_type(self) -> str:
        """Return the IANA media type."""
        return f"image/{self.value}"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the picture is encoded. `compression`: 0-100, OpenAI's meaning, ignored for PNG."""

    format: OutputFormat = OutputFormat.PNG
    compression: int = 100


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """diffusers' meaning exactly. `seed`: 0 .. 2**63-1 and belongs to one image.

    `guidance_scale` <= 1 means no guidance (one row); `guidance_rescale`: 0 .. 1.
    """

    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    guidance_rescale: float = 0.0


class Original(NamedTuple):
    """A picture as the caller sent it, credentials and all; `mime_type` is that of `content`."""

    content: bytes
    mime_type: str


@dataclass(frozen=True, slots=True, eq=False)
class EditSource:
    """The picture that an edit starts from.

    `pixels`: uint8 RGB at the output size, (height_px, width_px, 3). `mask`: uint8 (height_px,
    width_px), 255 = redraw, 0 = keep, in between a soft edge; None redraws everything.
    `strength`: 0 < s <= 1, diffusers' meaning: the share of the steps that is taken, and so how far
    the result may leave the picture. `originals`: the pictures it was made from, as uploaded, for
    the credentials: the edited one first, at least one.

    Compares and hashes by identity (`eq=False`), because arrays have no single truth value; a
    request that holds one stays hashable, and two uploads of one picture are two sources. Both
    arrays become read-only: hand over arrays that nobody else writes to.
    Raises ValueError for a wrong type, shape or range.
    """

    pixels: Pixels
    strength: float
    originals: tuple[Original, ...]
    mask: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check what the types cannot say and protect the arrays against writes."""
        shape = self.pixels.shape
        if self.pixels.dtype.name != "uint8" or len(shape) != 3 or shape[2] != 3:  # noqa: PLR2004
            raise ValueError(f"pixels must be uint8 (height, width, 3), not {shape}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, not {self.strength}")
        if not self.originals:
            raise ValueError("an edit has at least one original")
        self.pixels.setflags(write=False)
        if self.mask is not None:
            if self.mask.dtype.name != "uint8" or self.mask.shape != shape[:2]:
                raise ValueError(f"mask must be uint8 {shape[:2]}, not {self.mask.shape}")
            self.mask.setflags(write=False)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call for `num_images` pictures; image `i` is sampled with seed `sampling.seed + i`.

    `source`: the picture to edit; None draws from nothing. `num_previews`: 0 .. MAX_PREVIEWS, how
    many unfinished states of each image a caller who watches wants to see.
    """

    model_id: str
    prompt: str
    negative_prompt: str
    width_px: int
    height_px: int
    num_images: int
    sampling: SamplingParams
    output: OutputOptions = OutputOptions()
    source: EditSource | None = None
    num_previews: int = 0
