"""A rate-1/4 convolutional code with a soft Viterbi decoder for many words at once (stop 9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONSTRAINT_LENGTH = 7
TAIL_BITS = CONSTRAINT_LENGTH - 1
OUTPUTS_PER_BIT = 4

# Octal generators of the best K=7 rate-1/4 code, free distance 20.
# Source: Proakis, Digital Communications, table of maximum-free-distance codes of rate 1/4.
_GENERATORS = (0o135, 0o135, 0o147, 0o163)
_STATES = 1 << TAIL_BITS
_HALF = _STATES // 2


def coded_length(num_bits: int) -> int:
    """Return how many coded bits `num_bits` message bits become, the zero tail included."""
    return (num_bits + TAIL_BITS) * OUTPUTS_PER_BIT


class ConvolutionalCode:
    """Encoder and maximum-likelihood decoder. Holds only read-only tables: thread-safe.

    A state is the last six input bits, the newest in the lowest place. State `s` is reached by
    input `s & 1` from `s >> 1` or from `(s >> 1) + 32`; the decoder's arrays follow that shape.
    """

    def __init__(self) -> None:
        registers = np.arange(2 * _STATES)  # the six state bits and the new bit below them
        parity = np.stack([_parity(registers & g) for g in _GENERATORS], axis=-1)
        self._signs = (1.0 - 2.0 * parity).astype(np.float32)  # (128, 4), bit 0 is sent as +1

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the coded word as signs, (coded_length(n),), each +1 or -1.

        bits: (n,), each 0 or 1. The encoder starts at, and is driven back to, state 0.
        """
        driven = np.concatenate([bits, np.zeros(TAIL_BITS, bits.dtype)])
        state = 0
        words = np.empty((driven.size, OUTPUTS_PER_BIT), np.float32)
        for step, bit in enumerate(driven):
            register = (state << 1) | int(bit)
            words[step] = self._signs[register]
            state = register & (_STATES - 1)
        return words.reshape(-1)

    def decode(self, soft: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the most likely messages and how well each fits.

        soft: (words, coded_length(n)), any real numbers, positive where a 0 is likelier.
        Returns bits (words, n) and scores (words,): the correlation of `soft` with the codeword.
        """
        words, length = soft.shape
        steps = length // OUTPUTS_PER_BIT
        blocks = soft.reshape(words, steps, OUTPUTS_PER_BIT)  # a small product per word
        gains = (blocks @ self._signs.T).reshape(words, steps, 2, _HALF, 2)
        score = np.full((words, _STATES), -np.inf, np.float32)
        score[:, 0] = 0.0
        came_from_high = np.empty((steps, words, _STATES), np.bool_)
        for step in range(steps):
            low = score[:, :_HALF, None] + gains[:, step, 0]
            high = score[:, _HALF:, None] + gains[:, step, 1]
            np.greater(high, low, out=came_from_high[step].reshape(words, _HALF, 2))
            score = np.maximum(low, high).reshape(words, _STATES)
        return self._trace_back(came_from_high)[:, : steps - TAIL_BITS], score[:, 0]

    @staticmethod
    def _trace_back(came_from_high: NDArray[np.bool_]) -> NDArray[np.uint8]:
        steps, words, _ = came_from_high.shape
        rows = np.arange(words)
        state = np.zeros(words, np.intp)
        bits = np.empty((words, steps), np.uint8)
        for step in range(steps - 1, -1, -1):
            bits[:, step] = state & 1
            state = (state >> 1) + _HALF * came_from_high[step, rows, state]
        return bits


def _parity(values: NDArray[np.intp]) -> NDArray[np.intp]:
    folded = values ^ (values >> 4)
    folded ^= folded >> 2
    folded ^= folded >> 1
    return folded & 1
