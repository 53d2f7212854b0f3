"""The layouts of the mark: which one a picture of a given size carries (stop 9)."""

from __future__ import annotations

from dataclasses import dataclass

from service.provenance.watermark.payload import FullLayout, HintLayout

MIN_SIDE_PX = 48
# Longer strips are read in their middle only, where a whole picture's mark does not begin.
MAX_ASPECT = 4.0
_TILED_FROM_PX = 200

# The strength ladder: what each step costs in PSNR after rounding. A large picture averages more
# pixels per bit, so it starts fainter; its coarser grain is also the easier one to see.
# The last steps are for small pictures that are all texture (grass, gravel): there the texture
# that drowns the mark also hides it.
_LADDER_DB = (42.0, 40.0, 38.0, 36.0, 34.0, 32.0, 30.0, 28.0)
_LARGE_LADDER_DB = (44.0, 42.0, 40.0, 38.0, 36.0, 34.0, 32.0, 30.0)
_LARGE_FROM_PX = 448
MAX_STRENGTH = len(_LADDER_DB) - 1


@dataclass(frozen=True, slots=True)
class MarkProfile:
    """One layout of the mark. Lengths are relative, so a rescaled picture keeps its layout.

    `name`: the layout as readings report it; it says what the payload is. `geometry`: how the
    payload is laid out; name and geometry together select the carriers.
    `tiles`: how often the pattern repeats along the short side. `min_radius`, `max_radius`:
    the band it occupies, in cycles per tile. `pilot_every`: one carrier in so many is a pilot.
    """

    name: str
    geometry: str
    layout: FullLayout | HintLayout
    tiles: int
    min_radius: float
    max_radius: float
    pilot_every: int
    is_weak: bool = False


# Short sides from 200 px. Repeats average the picture out and survive a crop to half the side.
TILED = MarkProfile("sst64", "tiled", FullLayout(), 3, 4.0, 20.0, 4)

# Short sides of 64 to 199 px: one pattern over the whole side. Repeats would push its
# frequencies to where JPEG and WebP quantise flat areas to nothing.
SINGLE = MarkProfile("sst64", "single", FullLayout(), 1, 5.0, 25.0, 6)

# Below that: a hint. Half the message, a narrower band (25 cycles would pass Nyquist at 48 px).
SMALL = MarkProfile("sst32-small", "single", HintLayout(), 1, 5.0, 20.0, 6, is_weak=True)

PROFILES = (TILED, SINGLE, SMALL)


def can_carry(width_px: int, height_px: int) -> bool:
    """Tell whether a picture of this size is large and square enough to carry a mark."""
    short, long = sorted((width_px, height_px))
    return short >= MIN_SIDE_PX and long <= MAX_ASPECT * short


def profile_for(width_px: int, height_px: int, full_from_px: int) -> MarkProfile:
    """Return the layout for a picture of this size.

    full_from_px: shorter short sides get the hint. Raises ValueError unless `can_carry`.
    """
    if not can_carry(width_px, height_px):
        raise ValueError(
            f"a picture needs {MIN_SIDE_PX} px on its short side and at most {MAX_ASPECT:g} times"
            f" that on the other to carry a mark, not {width_px}x{height_px} px"
        )
    short_side_px = min(width_px, height_px)
    if short_side_px < full_from_px:
        return SMALL
    return TILED if short_side_px >= _TILED_FROM_PX else SINGLE


def psnr_db_for(short_side_px: int, strength: int) -> float:
    """Return the PSNR, in dB, of a mark of this strength. Raises ValueError for no such step."""
    if not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"strength must lie in [0, {MAX_STRENGTH}], not {strength}")
    return (_LARGE_LADDER_DB if short_side_px >= _LARGE_FROM_PX else _LADDER_DB)[strength]
