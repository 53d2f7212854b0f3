"""Where the latents of running images live on the device (stop 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.interface import Array, DiffusionModel
    from service.engine.request_state import BatchKey


class SlotTable:
    """Latents `x` and solver history `h` of the running images of one key, on the device.

    Both are (capacity, C, height, width) float32; an image keeps its row from admission to decode.
    """

    def __init__(self, model: DiffusionModel, key: BatchKey, capacity: int) -> None:
        self.x: Array = model.arrays.zeros((capacity, *key.latent_shape))
        self.h: Array = model.arrays.zeros((capacity, *key.latent_shape))
        self._free = list(range(capacity - 1, -1, -1))
        self._capacity = capacity

    @property
    def is_unused(self) -> bool:
        """Tell whether no image holds a slot."""
        return len(self._free) == self._capacity

    def acquire(self) -> int:
        """Return a free slot. Raises IndexError when there is none."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._free.append(slot)
