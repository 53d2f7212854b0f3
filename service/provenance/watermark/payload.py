"""What the mark says: the bits of an id with the check that tells a mark from noise (stop 9)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAYLOAD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Payload:
    """The message of a mark. `is_altered`: our service altered the picture, else it created it."""

    watermark_id: int
    is_altered: bool = False


@dataclass(frozen=True, slots=True)
class FullLayout:
    """64 bits, most significant first: 3 version | 1 altered | 32 id | 28 check."""

    id_bits: int = 32
    check_bits: int = 28
    total_bits: int = 64
    # The chance that a random word passes is readings_per_word / 2**check_bits. (The version
    # makes it 8 times smaller still; that is left out, so that later versions may use the room.)
    readings_per_word: int = 1

    def pack(self, payload: Payload) -> NDArray[np.uint8]:
        """Return the bits, (64,). Raises ValueError if the id does not fit in 32 bits."""
        _require_id_fits(payload.watermark_id, self.id_bits)
        head = (PAYLOAD_VERSION << 1 | payload.is_altered) << self.id_bits | payload.watermark_id
        return _to_bits(head << self.check_bits | self._check(head), self.total_bits)

    def unpack(self, bits: NDArray[np.uint8]) -> Payload | None:
        """Return the message of (64,) bits, or None if check or version say it is not ours."""
        word = _from_bits(bits)
        head, check = word >> self.check_bits, word & ((1 << self.check_bits) - 1)
        if check != self._check(head) or head >> (self.id_bits + 1) != PAYLOAD_VERSION:
            return None
        return Payload(head & ((1 << self.id_bits) - 1), bool(head >> self.id_bits & 1))

    def _check(self, head: int) -> int:
        return _digest(b"full", head, self.check_bits)


@dataclass(frozen=True, slots=True)
class HintLayout:
    """32 bits: 16 id | 16 check. The check also covers the altered flag, which is not sent.

    The reader tries both flags. That costs one bit of the check's strength and saves one of the
    few bits that a small picture can carry.
    """

    id_bits: int = 16
    check_bits: int = 16
    total_bits: int = 32
    readings_per_word: int = 2

    def pack(self, payload: Payload) -> NDArray[np.uint8]:
        """Return the bits, (32,). Raises ValueError if the id does not fit in 16 bits."""
        _require_id_fits(payload.watermark_id, self.id_bits)
        check = self._check(payload)
        return _to_bits(payload.watermark_id << self.check_bits | check, self.total_bits)

    def unpack(self, bits: NDArray[np.uint8]) -> Payload | None:
        """Return the message of (32,) bits, or None if the check says it is not ours."""
        word = _from_bits(bits)
        watermark_id, check = word >> self.check_bits, word & ((1 << self.check_bits) - 1)
        for is_altered in (False, True):
            payload = Payload(watermark_id, is_altered)
            if check == self._check(payload):
                return payload
        return None

    def _check(self, payload: Payload) -> int:
        head = PAYLOAD_VERSION << 17 | payload.is_altered << 16 | payload.watermark_id
        return _digest(b"hint", head, self.check_bits)


def _digest(domain: bytes, head: int, num_bits: int) -> int:
    # A public hash, not a keyed one: anybody holding a picture can then check a mark without
    # asking us, which is what makes detection open to third parties. It is no protection against
    # forgery, and none is claimed. Not a CRC: a CRC of zeros is zero and sums of codewords pass,
    # so the structure of the code and of flat pictures would raise the false-positive rate.
    digest = hashlib.blake2b(head.to_bytes(8, "big"), digest_size=8, person=b"mintmark." + domain)
    return int.from_bytes(digest.digest(), "big") >> (64 - num_bits)


def _require_id_fits(watermark_id: int, id_bits: int) -> None:
    if not 0 <= watermark_id < 1 << id_bits:
        raise ValueError(f"a watermark id must lie in [0, 2**{id_bits}), not {watermark_id}")


def _to_bits(word: int, num_bits: int) -> NDArray[np.uint8]:
    return np.array([word >> place & 1 for place in range(num_bits - 1, -1, -1)], np.uint8)


def _from_bits(bits: NDArray[np.uint8]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)
