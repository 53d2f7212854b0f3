"""The array backend of runners that keep latents in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.interface import Array


class NumpyArrays:
    """Implements models.interface.ArrayBackend on the host."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Return float32 zeros."""
        return np.zeros(shape, np.float32)

    def from_numpy(self, values: NDArray[np.float32]) -> Array:
        """Return a copy, so that device and host values never alias, as on a GPU."""
        return np.array(values, np.float32)

    def to_numpy(self, values: Array) -> NDArray[np.float32]:
        """Return a copy, for the same reason."""
        return np.array(values, np.float32)

    def index(self, indices: Sequence[int]) -> Array:
        """Return an integer array, which gathers copies and scatters rows."""
        return np.array(indices, np.intp)

    def concat(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """Join along `axis`."""
        return np.concatenate(parts, axis)

    def row_std(self, values: Array) -> Array:
        """Return the standard deviation of each row with Bessel's correction, (rows, 1, 1, 1).

        values: (rows, C, h, w) with at least two elements a row. Summed in float64. Each row is
        reduced alone and contiguous, because numpy orders its sums by shape and strides: reducing
        all rows at once could give a row other bits beside other neighbours.
        """
        spread = [np.ascontiguousarray(row).std(ddof=1, dtype=np.float64) for row in values]
        return np.array(spread, np.float32).reshape(-1, 1, 1, 1)
