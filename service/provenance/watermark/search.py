"""Where a mark could lie in a picture, best guess first: scale, pose and offset (stop 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.provenance.watermark.carrier import POSES
from service.provenance.watermark.spectrum import analyse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.provenance.watermark.carrier import Carrier

_GRID = 64  # offsets per axis that are tried; more than twice the highest harmonic
_CARRIER_CLIP = 2.5  # ring levels: a line in the picture is one strong point in its spectrum
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Placement:
    """One hypothesis. `score`: the pilots' correlation in standard deviations of noise.

    `scale`: short side of the whole marked picture over that of the one seen. `pose`: index into
    `POSES`. `offset`: (x, y) of the pattern, in tiles. `soft`: (coded bits,), positive for 0.
    """

    score: float
    scale: float
    pose: int
    offset: tuple[float, float]
    soft: NDArray[np.float32]


class PlacementFinder:
    """Finds placements of one carrier by its pilots. Read-only after construction: thread-safe."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        is_pilot = carrier.is_pilot
        self._pilots = np.flatnonzero(is_pilot)
        self._coded = np.flatnonzero(~is_pilot)
        self._ring_sizes = np.bincount(carrier.ring)
        # The real transform adds each point's mirror itself, except on the axis it halves.
        pilot_u, pilot_v = carrier.u[is_pilot], carrier.v[is_pilot]
        self._pilot_cells = (pilot_u % _GRID) * (_GRID // 2 + 1) + pilot_v
        self._pilot_weights = np.where(pilot_v == 0, 1.0, 0.5).astype(np.float32)

    def find_whole(self, whitened: NDArray[np.float32], keep: int) -> list[Placement]:
        """Return the `keep` likeliest poses of a picture that shows all of the marked one.

        whitened: (height, width). Where the pattern starts then follows from the pose, so eight
        hypotheses compete and not thousands: the pilots may be far fainter than `find` needs.
        """
        height, width = whitened.shape
        tile_px = min(height, width) / self._carrier.profile.tiles
        seen = self._normalised(analyse(whitened, tile_px, self._carrier.limit))
        values = self._in_pose(seen, slice(None), self._pilots)
        offsets = [_whole_offset(pose, width / tile_px, height / tile_px) for pose in POSES]
        turns = np.stack([self._turn(self._pilots, offset) for offset in offsets])
        energy = np.sum(np.abs(values) ** 2, axis=1) / 2.0
        heights = np.sum((values * turns).real, axis=1) / np.sqrt(energy + _TINY)
        return [
            self._placement(float(heights[pose]), 1.0, int(pose), offsets[pose], seen)
            for pose in np.argsort(-heights)[:keep]
        ]

    def find(
        self, whitened: NDArray[np.float32], scales: Iterable[float], keep: int
    ) -> list[Placement]:
        """Return the `keep` best placements over all `scales` and offsets, best first.

        whitened: (height, width). scales: as in `Placement`. Of one scale the two best poses
        are considered.
        """
        short_px = min(whitened.shape)
        found: list[_Peak] = []
        for scale in scales:
            tile_px = short_px * scale / self._carrier.profile.tiles
            seen = self._normalised(analyse(whitened, tile_px, self._carrier.limit))
            surface = self._correlate(seen)
            peaks = surface.reshape(len(POSES), -1).argmax(axis=1)
            heights = surface.reshape(len(POSES), -1)[np.arange(len(POSES)), peaks]
            found += [
                _Peak(
                    float(heights[pose]),
                    scale,
                    int(pose),
                    _vertex(surface[pose], peaks[pose]),
                    seen,
                )
                for pose in np.argsort(heights)[:-3:-1]
            ]
        found.sort(key=lambda peak: -peak.score)
        return [self._placement(*peak) for peak in found[:keep]]

    def _normalised(self, spectrum: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the flat spectrum with each ring at unit level and its outliers clipped.

        A ring's level is the squared mean root of its magnitudes: a line or an edge in the
        picture is a few strong points, which hardly move it.
        """
        flat = spectrum.reshape(-1)[self._carrier.plane_index]
        magnitude = np.abs(flat)
        ring = self._carrier.ring
        roots = np.bincount(ring, np.sqrt(magnitude)) / self._ring_sizes
        relative = magnitude / np.maximum(roots * roots, _TINY).astype(np.float32)[ring]
        level = np.minimum(relative, _CARRIER_CLIP)
        normal = np.zeros(spectrum.size, np.complex64)
        normal[self._carrier.plane_index] = flat * (level / np.maximum(magnitude, _TINY))
        return normal

    def _in_pose(
        self, seen: NDArray[np.complex64], poses: slice | int, carriers: NDArray[np.intp]
    ) -> NDArray[np.complex64]:
        values = seen[self._carrier.pose_index[poses, ...][..., carriers]]
        is_conjugate = self._carrier.pose_conjugate[poses, ...][..., carriers]
        upright = np.where(is_conjugate, values.conj(), values)
        return upright * self._carrier.phasors[carriers].conj()

    def _correlate(self, seen: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Return how well the pilots fit at each offset, (poses, x, y), in deviations of noise."""
        values = self._in_pose(seen, slice(None), self._pilots)
        half = np.zeros((len(POSES), _GRID * (_GRID // 2 + 1)), np.complex64)
        half[:, self._pilot_cells] = values * self._pilot_weights
        surface = np.fft.irfft2(half.reshape(-1, _GRID, _GRID // 2 + 1), norm="forward")
        energy = np.sum(np.abs(values) ** 2, axis=1) / 2.0
        return np.asarray(surface / np.sqrt(energy + _TINY)[:, None, None], np.float32)

    def _placement(
        self,
        score: float,
        scale: float,
        pose: int,
        offset: tuple[float, float],
        seen: NDArray[np.complex64],
    ) -> Placement:
        values = self._in_pose(seen, pose, self._coded) * self._turn(self._coded, offset)
        coded_bit = self._carrier.coded_bit[self._coded]
        soft = np.bincount(coded_bit, values.real, self._carrier.num_coded)
        return Placement(score, scale, pose, offset, soft.astype(np.float32))

    def _turn(
        self, carriers: NDArray[np.intp], offset: tuple[float, float]
    ) -> NDArray[np.complex128]:
        """Return the phase factors that undo an offset in tiles, (carriers,)."""
        u, v = self._carrier.u[carriers], self._carrier.v[carriers]
        return np.asarray(np.exp(2j * np.pi * (u * offset[0] + v * offset[1])))


class _Peak(NamedTuple):
    """A placement whose bits have not been collected yet."""

    score: float
    scale: float
    pose: int
    offset: tuple[float, float]
    seen: NDArray[np.complex64]


def _whole_offset(
    pose: tuple[bool, bool, bool], width_tiles: float, height_tiles: float
) -> tuple[float, float]:
    """Return the offset of an uncropped picture: mirroring starts the pattern at its far end."""
    is_transposed, is_flipped_x, is_flipped_y = pose
    if is_transposed:
        width_tiles, height_tiles = height_tiles, width_tiles
    return -width_tiles if is_flipped_x else 0.0, -height_tiles if is_flipped_y else 0.0


def _vertex(surface: NDArray[np.float32], peak: int) -> tuple[float, float]:
    """Return the offset, in tiles, of the paraboloid's top around a flat peak index."""
    column, row = divmod(int(peak), _GRID)
    x = column + _line_vertex(surface[:, row], column)
    y = row + _line_vertex(surface[column], row)
    return x / _GRID, y / _GRID


def _line_vertex(line: NDArray[np.float32], peak: int) -> float:
    """Return how far beside `peak` the parabola through it and its neighbours peaks, +-0.5."""
    before, at, after = line[peak - 1], line[peak], line[(peak + 1) % line.size]
    bend = float(before - 2.0 * at + after)
    return 0.5 * float(before - after) / bend if bend < -_TINY else 0.0
