"""The keyed set of frequencies that a mark is written on (stop 9)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.provenance.watermark.convolutional import coded_length

if TYPE_CHECKING:
    from service.provenance.watermark.profiles import MarkProfile

_RING_WIDTH = 2.0  # cycles per tile; wide enough that each ring's level is a steady estimate
_PILOT = -1

# (is_transposed, is_flipped_x, is_flipped_y): the picture seen is the marked one, flipped, then
# transposed. POSE_ORIENTATIONS says the same as (is_mirrored, counter-clockwise degrees).
POSES = tuple((t, x, y) for t in (False, True) for x in (False, True) for y in (False, True))
POSE_ORIENTATIONS = (
    (False, 0),
    (True, 180),
    (True, 0),
    (False, 180),
    (True, 90),
    (False, 270),
    (False, 90),
    (True, 270),
)


@dataclass(frozen=True, slots=True)
class Carrier:
    """The carriers of one profile under one key: points of the tile's Fourier plane.

    `u`, `v`: cycles per tile along x and y, (carriers,), one of each conjugate pair (v >= 0).
    `phasors`: the keyed unit phase of each. `coded_bit`: which coded bit it carries, -1 for a
    pilot. `plane_index`: flat index of each in a half spectrum; `ring`: which ring it lies in.
    `pose_index` and `pose_conjugate`, (8, carriers): where a spectrum of the picture as seen
    holds each carrier.
    """

    profile: MarkProfile
    u: NDArray[np.intp]
    v: NDArray[np.intp]
    phasors: NDArray[np.complex64]
    coded_bit: NDArray[np.intp]
    num_coded: int
    plane_index: NDArray[np.intp]
    ring: NDArray[np.intp]
    pose_index: NDArray[np.intp]
    pose_conjugate: NDArray[np.bool_]

    @property
    def limit(self) -> int:
        """Return the highest cycles per tile on either axis."""
        return int(self.profile.max_radius)

    @property
    def is_pilot(self) -> NDArray[np.bool_]:
        """Return which carriers are pilots, (carriers,)."""
        return np.asarray(self.coded_bit == _PILOT)

    def coefficients(self, signs: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Return the tile's half spectrum carrying a coded word of +1 and -1, (limit+1, 2*limit+1).

        Row v, column u + limit. Pilots are always +1; every carrier has magnitude 1.
        """
        sent = np.where(self.is_pilot, np.float32(1.0), signs[self.coded_bit])
        spectrum = np.zeros((self.limit + 1, 2 * self.limit + 1), np.complex64)
        spectrum[self.v, self.u + self.limit] = sent * self.phasors
        return spectrum


def build_carrier(profile: MarkProfile, key: bytes) -> Carrier:
    """Return the carriers of `profile` under `key`; the same on every machine and version.

    All keyed choices come from SHAKE-256, not from a random generator whose stream a library
    may change: a mark must still be readable years after it was made.
    """
    limit = int(profile.max_radius)
    u, v = (
        axis.ravel() for axis in np.meshgrid(np.arange(-limit, limit + 1), np.arange(limit + 1))
    )
    radius = np.hypot(u, v)
    is_used = (radius >= profile.min_radius) & (radius <= profile.max_radius) & ((v > 0) | (u > 0))
    u, v, radius = u[is_used], v[is_used], radius[is_used]
    stream = _KeyStream(profile, key)
    phases = stream.uniform(u.size) * 2.0 * np.pi
    coded_bit = _assign_bits(profile, radius, stream)
    index, conjugate = _poses(u, v, limit)
    return Carrier(
        profile=profile,
        u=u,
        v=v,
        phasors=np.exp(1j * phases).astype(np.complex64),
        coded_bit=coded_bit,
        num_coded=coded_length(profile.layout.total_bits),
        plane_index=index[0],
        ring=((radius - profile.min_radius) / _RING_WIDTH).astype(np.intp),
        pose_index=index,
        pose_conjugate=conjugate,
    )


class _KeyStream:
    """Numbers that the key and the profile determine, drawn one after the other."""

    def __init__(self, profile: MarkProfile, key: bytes) -> None:
        name = f"{profile.name}/{profile.geometry}".encode()
        seed = b"mintmark watermark 1" + bytes([len(name)]) + name + key
        self._words = np.frombuffer(hashlib.shake_256(seed).digest(1 << 17), ">u8")
        self._used = 0

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return `count` numbers in [0, 1), multiples of 2**-53."""
        words = self._words[self._used : self._used + count]
        assert words.size == count, "the stream is sized for every profile"
        self._used += count
        return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)


def _assign_bits(
    profile: MarkProfile, radius: NDArray[np.float64], stream: _KeyStream
) -> NDArray[np.intp]:
    """Return which coded bit each carrier holds, pilots marked.

    From the centre outwards every n-th carrier is a pilot; the rest take all coded bits in keyed
    order, again and again, so that each bit has low and high frequencies.
    """
    num_coded = coded_length(profile.layout.total_bits)
    outwards = np.lexsort((stream.uniform(radius.size), np.rint(radius)))
    is_pilot = np.arange(radius.size) % profile.pilot_every == 0
    rounds = -(-radius.size // num_coded)
    order = np.concatenate([np.argsort(stream.uniform(num_coded)) for _ in range(rounds)])
    coded_bit = np.full(radius.size, _PILOT, np.intp)
    coded = outwards[~is_pilot]
    coded_bit[coded] = order[: coded.size]
    return coded_bit


def _poses(
    u: NDArray[np.intp], v: NDArray[np.intp], limit: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    indices, conjugates = [], []
    for is_transposed, is_flipped_x, is_flipped_y in POSES:
        seen_u = -u if is_flipped_x else u
        seen_v = -v if is_flipped_y else v
        if is_transposed:
            seen_u, seen_v = seen_v, seen_u
        # The spectrum of a real picture: a point in the lower half is its mirror's conjugate.
        is_below = seen_v < 0
        seen_u, seen_v = np.where(is_below, -seen_u, seen_u), np.abs(seen_v)
        indices.append(seen_v * (2 * limit + 1) + seen_u + limit)
        conjugates.append(is_below)
    return np.stack(indices), np.stack(conjugates)
