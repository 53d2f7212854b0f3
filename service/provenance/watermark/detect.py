"""Reading a mark blind: no original, unknown scale, pose and crop (stop 9)."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from service.provenance.interface import WatermarkReading
from service.provenance.watermark.carrier import POSE_ORIENTATIONS, Carrier
from service.provenance.watermark.profiles import MAX_ASPECT, PROFILES, SINGLE, TILED, MarkProfile
from service.provenance.watermark.search import Placement, PlacementFinder
from service.provenance.watermark.spectrum import luma_of, whiten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.domain.result import Pixels
    from service.provenance.watermark.convolutional import ConvolutionalCode

_CHANNELS = 3
_MIN_SIDE_PX = 28  # below it too few of any layout's frequencies are left
_WORK_SIDE_PX = 256  # every layout's frequencies are held by a short side of 256 px

# How many placements of each search are decoded. Each decoding is a chance for noise to pass the
# check, so these numbers, not the time they take, are the false-positive rate.
_WHOLE_TRIALS = 2
_RESCALED_TRIALS = 4
_ROTATED_TRIALS = 4

# Whole pictures have scale 1; cropping to a share of the short side makes it 1 / share, and
# standing on a larger canvas makes it smaller. A step may put the farthest repeat off by no more
# than a fraction of the finest period.
_OTHER_SCALES = (
    (TILED, tuple(np.geomspace(0.5, 2.4, 131).tolist())),
    (SINGLE, tuple(np.geomspace(0.5, 2.05, 86).tolist())),
)
_LEAST_PX_PER_CYCLE = 1.5  # a pattern scaled below it (Nyquist is 2) is past reading

_ANGLES_DEGREES = tuple(sign * step / 2.0 for step in range(1, 11) for sign in (1, -1))


class Effort(enum.Enum):
    """How far `detect` searches.

    WHOLE reads whole pictures only, in milliseconds also when there is no mark: enough to check
    one's own work. STANDARD adds crops, canvases and scales; whatever WHOLE finds, it finds first.
    THOROUGH also tries rotations up to 5 degrees.
    """

    WHOLE = "whole"
    STANDARD = "standard"
    THOROUGH = "thorough"


class MarkDetector:
    """Finds and decodes marks of every layout under one key. Thread-safe."""

    def __init__(
        self, carriers: Mapping[MarkProfile, Carrier], code: ConvolutionalCode, effort: Effort
    ) -> None:
        self._finders = {profile: PlacementFinder(carriers[profile]) for profile in carriers}
        self._code = code
        self._effort = effort

    def false_positive_rate(self, profile: MarkProfile) -> float:
        """Return a bound on the chance that an unmarked picture reads at least this strongly.

        Every decoded placement is one random word, which passes its check by chance with
        readings_per_word / 2**check_bits, and the searches bound how many are decoded. A weak
        reading is one of a weak or a full layout, a full reading one of the full layouts only.
        """
        rate = 0.0
        for other in PROFILES:
            if profile.is_weak or not other.is_weak:
                chance = other.layout.readings_per_word * 2.0**-other.layout.check_bits
                rate += self._trials(other) * chance
        return rate

    def _trials(self, profile: MarkProfile) -> int:
        if profile.is_weak or self._effort is Effort.WHOLE:
            return _WHOLE_TRIALS
        is_thorough = self._effort is Effort.THOROUGH
        return _WHOLE_TRIALS + _RESCALED_TRIALS + (_ROTATED_TRIALS if is_thorough else 0)

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        """Return the mark's payload, or None. Bounded time and memory for any input size."""
        if pixels.shape[2:] != (_CHANNELS,) or min(pixels.shape[:2]) < _MIN_SIDE_PX:
            return None
        whitened = whiten(luma_of(_reduced(pixels)))
        for profile, placements in self._searches(whitened):
            reading = self._decode(profile, placements)
            if reading is not None:
                return reading
        return None

    def _searches(
        self, whitened: NDArray[np.float32]
    ) -> Iterator[tuple[MarkProfile, list[Placement]]]:
        """Yield each search's placements, the likely and cheap first."""
        for profile in PROFILES:
            yield profile, self._finders[profile].find_whole(whitened, _WHOLE_TRIALS)
        if self._effort is Effort.WHOLE:
            return
        for profile, scales in _OTHER_SCALES:
            least = _LEAST_PX_PER_CYCLE * profile.max_radius * profile.tiles / min(whitened.shape)
            held = [scale for scale in (1.0, *scales) if scale >= least]
            yield profile, self._finders[profile].find(whitened, held, _RESCALED_TRIALS)
        if self._effort is Effort.THOROUGH:
            yield from self._rotated_searches(whitened)

    def _rotated_searches(
        self, whitened: NDArray[np.float32]
    ) -> Iterator[tuple[MarkProfile, list[Placement]]]:
        turned = [_rotated(whitened, angle) for angle in _ANGLES_DEGREES]
        for profile in (TILED, SINGLE):
            finder = self._finders[profile]
            placements = [place for one in turned for place in finder.find(one, (1.0,), 1)]
            placements.sort(key=lambda placement: -placement.score)
            yield profile, placements[:_ROTATED_TRIALS]

    def _decode(self, profile: MarkProfile, placements: list[Placement]) -> WatermarkReading | None:
        if not placements:
            return None
        soft = np.stack([placement.soft for placement in placements])
        messages, fits = self._code.decode(soft)
        for placement, message, fit in zip(placements, messages, fits, strict=True):
            payload = profile.layout.unpack(message)
            if payload is None:
                continue
            is_mirrored, rotation_degrees = POSE_ORIENTATIONS[placement.pose]
            norm = math.sqrt(float(np.sum(placement.soft**2))) or 1.0
            return WatermarkReading(
                watermark_id=payload.watermark_id,
                is_altered=payload.is_altered,
                profile=profile.name,
                is_weak=profile.is_weak,
                false_positive_rate=self.false_positive_rate(profile),
                rotation_degrees=rotation_degrees,
                is_mirrored=is_mirrored,
                scale=placement.scale,
                score=float(fit) / norm,
            )
        return None


def _reduced(pixels: Pixels) -> Pixels:
    """Return the picture at working size: bounded aspect, short side at most 256 px."""
    height_px, width_px = pixels.shape[:2]
    longest_px = int(MAX_ASPECT * min(height_px, width_px))
    top, left = max(0, height_px - longest_px) // 2, max(0, width_px - longest_px) // 2
    middle = np.ascontiguousarray(pixels[top : top + longest_px, left : left + longest_px])
    factor = _WORK_SIDE_PX / min(height_px, width_px)
    if factor >= 1.0:
        return middle
    size = (round(middle.shape[1] * factor), round(middle.shape[0] * factor))
    return np.asarray(cv2.resize(middle, size, interpolation=cv2.INTER_AREA), np.uint8)


def _rotated(whitened: NDArray[np.float32], angle_degrees: float) -> NDArray[np.float32]:
    height, width = whitened.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2.0, (height - 1) / 2.0), angle_degrees, 1.0)
    return np.asarray(cv2.warpAffine(whitened, turn, (width, height)), np.float32)
