"""Uploaded pictures: bounded in number while they are decoded or examined (stop 1)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY_AFTER_S = 2.0


class UploadSlots:
    """Bounds how many uploads are decoded or examined, or wait for it, at once."""

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._pending = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot while the block runs; raises QueueFull if there is none."""
        if self._pending >= self._max_pending:
            raise QueueFull("Too many pictures are being examined.", retry_after_s=_RETRY_AFTER_S)
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1
